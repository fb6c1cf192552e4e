/** What devices of the inner link may try, through the adapter's machine. */

import { describe, expect, it } from 'vitest';
import { formatMac } from '../../../src/lib/mac.ts';
import { encodeArp } from '../../../src/net/arp.ts';
import { encodeIp, encodeUdp } from '../../../src/net/datagram.ts';
import { decodeDhcp4, encodeDhcp4 } from '../../../src/net/dhcp4.ts';
import { encodeEapol } from '../../../src/net/eapol.ts';
import { EtherType } from '../../../src/net/ethernet.ts';
import { encodeNdp } from '../../../src/net/ndp.ts';
import { advertisement } from '../../../src/net/router-advertiser.ts';
import { camera, cameraMac, decoded, gateway4, gateway6, plc, plcMac, range6, remote } from '../../net/support/link.ts';
import { AdapterBench } from './bench.ts';

const NONE = '0.0.0.0';
const EVERYBODY = '255.255.255.255';
const message = {
  transactionId: 7,
  broadcast: false,
  clientAddress: NONE,
  yourAddress: NONE,
  relayAddress: NONE,
  mac: cameraMac,
  options: {},
};

/** Two devices that are in. */
function activeBench(): AdapterBench {
  const bench = new AdapterBench('mac');
  for (const [source, senderAddress] of [
    [cameraMac, camera.vip4],
    [plcMac, plc.vip4],
  ] as const) {
    bench.frame({ source, ...arp(source, senderAddress) });
    bench.decide('accepted');
  }
  bench.sent = [];
  return bench;
}

function arp(
  senderMac: string,
  senderAddress: string,
  targetAddress = gateway4,
  operation: 'request' | 'reply' = 'request',
) {
  const payload = encodeArp({ operation, senderMac, senderAddress, targetMac: '00:00:00:00:00:00', targetAddress });
  return { etherType: EtherType.arp, payload };
}

function dhcp4(source: string, sent: Partial<Parameters<typeof encodeDhcp4>[0]>, toServer = true) {
  const ports = toServer ? { sourcePort: 68, destinationPort: 67 } : { sourcePort: 67, destinationPort: 68 };
  const payload = encodeDhcp4({ ...message, type: 'discover', mac: source, ...sent });
  const packet = encodeUdp({ source: NONE, destination: EVERYBODY, ...ports, payload });
  return { source, etherType: EtherType.ipv4, payload: packet };
}

describe('the adapter', () => {
  it.each([
    [EtherType.ipv4, camera.vip4, gateway4, 1, 8],
    [EtherType.ipv6, camera.vip6, gateway6, 58, 128],
  ])(
    'has no answer to the torso of an echo request (EtherType %i)',
    (etherType, source, destination, protocol, type) => {
      const bench = activeBench();
      for (let length = 0; length <= 8; length++) {
        const payload = new Uint8Array(length).fill(type, 0, 1);
        bench.frame({ etherType, payload: encodeIp({ source, destination, protocol, hopLimit: 64, payload }) });
        expect(bench.sent).toHaveLength(length === 8 ? 1 : 0);
      }
      expect(bench.count('link-drop-packet-malformed')).toBe(7);
    },
  );

  it('answers on a VLAN only there, also what goes to all', () => {
    const bench = new AdapterBench('mac');
    bench.frame({ ...arp(cameraMac, camera.vip4), tag: 10 });
    bench.decide('accepted');
    bench.sent = [];
    bench.frame({ ...dhcp4(cameraMac, { broadcast: true }), tag: 10 });
    expect(bench.sent).toMatchObject([{ destination: 'ff:ff:ff:ff:ff:ff', tag: 10 }]);
  });

  it('gives nothing to ten thousand MAC addresses that ask for an address, and goes on for others', () => {
    const bench = activeBench();
    for (let i = 0; i < 10_000; i++) {
      const source = formatMac(Uint8Array.of(6, 0, 0, 0, i >> 8, i & 255));
      bench.frame(dhcp4(source, {}));
    }
    expect(bench.sent).toEqual([]);
    expect(bench.logins).toHaveLength(2);
    expect(bench.count('link-unregistered')).toBe(10_000);
    expect(bench.logs.filter((line) => line.startsWith('unregistered'))).toHaveLength(20);
    // The latest are listed, and no more.
    expect(bench.machine.snapshot().filter(({ deviceId }) => deviceId === null)).toHaveLength(256);
    bench.frame(dhcp4(cameraMac, {}));
    expect(bench.sent).toMatchObject([{ destination: cameraMac }]);
  });

  it('fills no log for who logs a device off without end', () => {
    const bench = new AdapterBench();
    for (let i = 0; i < 1_000; i++) {
      bench.eapol(encodeEapol('start'));
      bench.eapol(encodeEapol('logoff'));
    }
    expect(bench.count('dot1x-failed-logoff')).toBeGreaterThan(100);
    expect(bench.logs.filter((line) => line === 'not authenticated').length).toBeLessThanOrEqual(20);
  });

  it('gives one device one address, however many it asks for', () => {
    const bench = activeBench();
    for (let i = 0; i < 1_000; i++) {
      const mac = formatMac(Uint8Array.of(6, 0, 0, 0, i >> 8, i & 255));
      bench.frame({ ...dhcp4(cameraMac, { mac }) });
    }
    expect(bench.sent).toEqual([]);
    expect(bench.count('link-drop-dhcp4-hardware-address')).toBe(1_000);
  });

  it('knows a device that plays the DHCP server or the router, and says so', () => {
    const bench = activeBench();
    bench.frame(dhcp4(plcMac, { type: 'offer', yourAddress: camera.vip4 }, false));
    expect(bench.count('link-drop-dhcp4-rogue-server')).toBe(1);
    const fake = { mac: plcMac, gateway: plc.vip6, range: range6, domain: 'evil.example', mtu: 1_400 };
    const payload = encodeNdp(advertisement(fake, false), 'fe80::6', 'ff02::1');
    bench.frame({ source: plcMac, etherType: EtherType.ipv6, payload });
    expect(bench.count('link-drop-rogue-router')).toBe(1);
    expect(bench.logs.slice(-2)).toEqual([
      'dropped on the inner link: dhcp4-rogue-server',
      'dropped on the inner link: rogue-router',
    ]);
    expect(bench.sent).toEqual([]);
  });

  it('believes nobody who claims the address of the gateway, of a neighbour or of a peer', () => {
    const bench = activeBench();
    for (const claimed of [gateway4, camera.vip4, remote.vip4]) {
      bench.frame({ source: plcMac, ...arp(plcMac, claimed, claimed, 'reply') });
      bench.frame({ source: plcMac, ...arp(plcMac, claimed) });
    }
    // In the name of another MAC address, too.
    bench.frame({ source: plcMac, ...arp(cameraMac, camera.vip4) });
    expect(bench.count('link-drop-neighbour-spoofed')).toBe(7);
    expect(bench.sent).toEqual([]);
    expect(bench.machine.hosts).toMatchObject([
      { mac: cameraMac, vip4: camera.vip4 },
      { mac: plcMac, vip4: plc.vip4 },
    ]);
  });

  it('keeps the VLAN of each device, and takes no frame with two tags', () => {
    const bench = new AdapterBench('mac');
    bench.frame({ ...dhcp4(cameraMac, {}), tag: 0x6007 });
    bench.decide('accepted');
    const offer = bench.sent.find(({ etherType }) => etherType === EtherType.ipv4)!;
    expect(offer).toMatchObject({ destination: cameraMac, tag: 0x6007 });
    expect(decoded(decodeDhcp4(offer.payload.subarray(28)))).toMatchObject({ type: 'offer', yourAddress: camera.vip4 });
    bench.sent = [];
    bench.frame({ tag: 7, etherType: 0x8100, payload: Uint8Array.of(0, 8, 8, 0, ...new Uint8Array(60)) });
    bench.frame({ tag: null, etherType: 0x88a8, payload: Uint8Array.of(0, 8, 8, 0, ...new Uint8Array(60)) });
    expect(bench.count('link-drop-frame-tag')).toBe(2);
    expect(bench.sent).toEqual([]);
  });
});
