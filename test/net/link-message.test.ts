import { describe, expect, it } from 'vitest';
import { encodeArp } from '../../src/net/arp.ts';
import { decodeIp, encodeIp, encodeUdp, type UdpDatagram } from '../../src/net/datagram.ts';
import { EtherType, type Frame } from '../../src/net/ethernet.ts';
import { readFrame } from '../../src/net/link-message.ts';
import { ALL_NODES, ALL_ROUTERS, encodeNdp } from '../../src/net/ndp.ts';
import { noNdpOptions } from '../../src/net/ndp-options.ts';
import { advertisement } from '../../src/net/router-advertiser.ts';
import fc from '../support/property.ts';
import { adapterMac, camera, cameraMac, decoded, gateway4, gateway6, range6, remote } from './support/link.ts';

const read = (etherType: number, payload: Uint8Array) => {
  const frame: Frame = { destination: adapterMac, source: cameraMac, tag: null, etherType, payload };
  return readFrame(frame, gateway4);
};
const udp = (source: string, destination: string, sourcePort: number, destinationPort: number): UdpDatagram => ({
  source,
  destination,
  sourcePort,
  destinationPort,
  payload: Uint8Array.of(1),
});
const readUdp = (datagram: UdpDatagram) =>
  read(datagram.source.includes(':') ? EtherType.ipv6 : EtherType.ipv4, encodeUdp(datagram));

describe('a frame', () => {
  it('is EAPOL', () => {
    expect(read(EtherType.eapol, Uint8Array.of(1, 1, 0, 0))).toEqual({ is: 'eapol', pdu: Uint8Array.of(1, 1, 0, 0) });
  });

  it('is ARP', () => {
    const arp = {
      operation: 'request' as const,
      senderMac: cameraMac,
      senderAddress: camera.vip4,
      targetMac: '00:00:00:00:00:00',
      targetAddress: remote.vip4,
    };
    expect(read(EtherType.arp, encodeArp(arp))).toEqual({ is: 'arp', arp });
    expect(read(EtherType.arp, new Uint8Array(28))).toBe('arp-malformed');
  });

  it('is neighbour discovery, unless it would be a router', () => {
    const message = { type: 'routerSolicitation' as const, options: noNdpOptions };
    const octets = encodeNdp(message, 'fe80::5', ALL_ROUTERS);
    expect(read(EtherType.ipv6, octets)).toEqual({ is: 'ndp', packet: decoded(decodeIp(octets)), message });
    const settings = { mac: cameraMac, gateway: gateway6, range: range6, domain: 'evil.example', mtu: 1280 };
    expect(read(EtherType.ipv6, encodeNdp(advertisement(settings, false), 'fe80::5', ALL_NODES))).toBe('rogue-router');
    octets[7] = 64;
    expect(read(EtherType.ipv6, octets)).toBe('ndp-hop-limit');
  });

  it.each([
    ['dhcp4', udp('0.0.0.0', '255.255.255.255', 68, 67)],
    ['dhcp4', udp(camera.vip4, gateway4, 68, 67)],
    ['dhcp6', udp('fe80::5', 'ff02::1:2', 546, 547)],
  ])('is %s', (is, datagram) => {
    expect(readUdp(datagram)).toEqual({ is, datagram });
  });

  it.each([
    ['dhcp4-rogue-server', udp('192.0.2.1', '255.255.255.255', 67, 68)],
    ['dhcp4-rogue-server', udp(camera.vip4, remote.vip4, 67, 68)],
    ['dhcp6-rogue-server', udp('fe80::5', 'fe80::6', 547, 546)],
  ])('of a %s is dropped', (reason, datagram) => {
    expect(readUdp(datagram)).toBe(reason);
  });

  it.each([
    udp(camera.vip4, remote.vip4, 5000, 53),
    udp(camera.vip4, remote.vip4, 68, 67),
    udp(camera.vip6, remote.vip6, 546, 5000),
  ])('is a packet to carry', (datagram) => {
    expect(readUdp(datagram)).toEqual({ is: 'packet', octets: encodeUdp(datagram) });
  });

  it('is a packet to carry if it is an echo, a fragment, or has options', () => {
    const packet = { source: camera.vip6, destination: remote.vip6, hopLimit: 64 };
    const echo = encodeIp({ ...packet, protocol: 58, payload: Uint8Array.of(128, 0, 0, 0) });
    expect(read(EtherType.ipv6, echo)).toEqual({ is: 'packet', octets: echo });
    const tcp = encodeIp({ ...packet, protocol: 6, payload: new Uint8Array(20) });
    expect(read(EtherType.ipv6, tcp)).toEqual({ is: 'packet', octets: tcp });
    const fragment = encodeUdp(udp(camera.vip4, gateway4, 68, 67));
    fragment[7] = 1;
    expect(read(EtherType.ipv4, fragment)).toEqual({ is: 'packet', octets: fragment });
  });

  it('is nothing for the overlay', () => {
    expect(read(0x88cc, new Uint8Array(60))).toEqual({ is: 'other' });
  });

  it('of one version in a frame of the other is dropped', () => {
    const octets = encodeUdp(udp('fe80::5', 'ff02::1:2', 546, 547));
    expect(read(EtherType.ipv4, octets)).toBe('packet-malformed');
    expect(read(EtherType.ipv6, encodeUdp(udp(camera.vip4, gateway4, 68, 67)))).toBe('packet-malformed');
    expect(read(EtherType.ipv6, octets.subarray(0, 39))).toBe('packet-malformed');
  });

  it('is any octets, and nothing is thrown', () => {
    const etherType = fc.constantFrom(...Object.values(EtherType));
    fc.assert(
      fc.property(etherType, fc.uint8Array({ maxLength: 100 }), fc.constantFrom(0x45, 0x60), (type, octets, first) => {
        read(type, octets);
        octets[0] = first;
        if (first === 0x60) octets[6] = 58;
        else octets[9] = 17;
        read(type, octets);
      }),
    );
  });
});
