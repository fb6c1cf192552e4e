import { describe, expect, it } from 'vitest';
import { decodeIp, decodeUdp, encodeIp, encodeUdp, type UdpDatagram } from '../../src/net/datagram.ts';
import fc from '../support/property.ts';
import { hex } from '../vectors/read.ts';
import { address4Arbitrary, address6Arbitrary, decoded, toHex, truncations } from './support/link.ts';

/** UDP 192.0.2.1:5000 → 192.0.2.2:53 with the payload "hi". */
const sample = hex('4500001e000040004011b6cbc0000201c000020213880035000affaf6869');
const datagram: UdpDatagram = {
  source: '192.0.2.1',
  destination: '192.0.2.2',
  sourcePort: 5000,
  destinationPort: 53,
  payload: Uint8Array.from(Buffer.from('hi')),
};

const endpoints = fc.oneof(
  fc.record({ source: address4Arbitrary, destination: address4Arbitrary }),
  fc.record({ source: address6Arbitrary, destination: address6Arbitrary }),
);
const arbitrary = fc
  .record({
    addresses: endpoints,
    sourcePort: fc.nat(65535),
    destinationPort: fc.nat(65535),
    payload: fc.uint8Array({ maxLength: 80 }),
  })
  .map(({ addresses, ...rest }): UdpDatagram => ({ ...addresses, ...rest }));

describe('a UDP datagram', () => {
  it('is written and read octet for octet', () => {
    expect(toHex(encodeUdp(datagram))).toBe(toHex(sample));
    expect(decodeUdp(decoded(decodeIp(sample)))).toEqual(datagram);
  });

  it('comes back from its octets, whatever the link padded; any damage shows', () => {
    fc.assert(
      fc.property(arbitrary, fc.nat(20), fc.nat(), (it, padding, damage) => {
        const octets = encodeUdp(it);
        const padded = Uint8Array.from([...octets, ...new Uint8Array(padding)]);
        expect(decodeUdp(decoded(decodeIp(padded)))).toEqual(it);
        const at = octets.length - 1 - (damage % (octets.length - (octets[0]! >> 4 === 4 ? 20 : 40)));
        octets[at]! ^= 1 << (damage & 7);
        expect(decodeUdp(decoded(decodeIp(octets)))).toMatch(/^udp-/);
      }),
    );
  });

  it('may have no checksum over IPv4, but not over IPv6', () => {
    const four = encodeUdp(datagram);
    four.fill(0, 26, 28);
    expect(decodeUdp(decoded(decodeIp(four)))).toEqual(datagram);
    const six = encodeUdp({ ...datagram, source: 'fe80::1', destination: 'fe80::2' });
    six.fill(0, 46, 48);
    expect(decodeUdp(decoded(decodeIp(six)))).toBe('udp-checksum');
  });

  it('with a wrong length, or of another protocol, is dropped', () => {
    const packet = decoded(decodeIp(sample));
    const other = encodeIp({ ...packet, payload: Uint8Array.from([...packet.payload, 0]) });
    expect(decodeUdp(decoded(decodeIp(other)))).toBe('udp-malformed');
    expect(decodeUdp({ ...packet, protocol: 6 })).toBe('udp-malformed');
    expect(decodeUdp({ ...packet, payload: packet.payload.subarray(0, 7) })).toBe('udp-malformed');
  });
});

describe('an IP packet', () => {
  const changed = (at: number, value: number): Uint8Array => {
    const octets = Uint8Array.from(sample);
    octets[at] = value;
    return octets;
  };

  it.each([
    ['of another version', changed(0, 0x55), 'packet-malformed'],
    ['with a broken header', changed(8, 9), 'packet-malformed'],
    ['longer than its frame', changed(3, 0xff), 'packet-malformed'],
    ['with header options', changed(0, 0x46), 'packet-not-plain'],
    ['in fragments', changed(6, 0x20), 'packet-not-plain'],
    [
      'between IPv4-mapped addresses',
      encodeIp({
        source: 'fe80::1',
        destination: 'fe80::2',
        protocol: 17,
        hopLimit: 1,
        payload: new Uint8Array(8),
      }).map((octet, i) => (i < 8 || i > 23 ? octet : i < 18 ? 0 : 0xff)),
      'packet-address',
    ],
  ])('%s is dropped', (_, octets, reason) => {
    expect(decodeIp(octets)).toBe(reason);
  });

  it('that is cut short is dropped', () => {
    for (const octets of truncations(sample)) expect(decodeIp(octets)).toBe('packet-malformed');
    const six = encodeUdp({ ...datagram, source: 'fe80::1', destination: 'fe80::2' });
    for (const octets of truncations(six)) expect(decodeIp(octets)).toBe('packet-malformed');
  });

  it('is any octets, and nothing is thrown', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 90 }), fc.constantFrom(0x45, 0x60), (octets, first) => {
        octets[0] = first;
        const packet = decodeIp(octets);
        if (typeof packet !== 'string') decodeUdp(packet);
      }),
    );
  });
});
