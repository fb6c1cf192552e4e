import { describe, expect, it } from 'vitest';
import { type Arp, decodeArp, encodeArp, isAnnouncement, isProbe } from '../../src/net/arp.ts';
import fc from '../support/property.ts';
import { hex } from '../vectors/read.ts';
import { address4Arbitrary, decoded, macArbitrary, toHex, truncations } from './support/link.ts';

const request = hex(`0001080006040001${'020000000001'}64500005${'000000000000'}64500309`);
const probe = hex(`0001080006040001${'020000000001'}00000000${'000000000000'}64500005`);
const announcement = hex(`0001080006040001${'020000000001'}64500005${'000000000000'}64500005`);

describe('ARP', () => {
  it('is read as RFC 826 draws it', () => {
    const arp = decoded(decodeArp(request));
    expect(arp).toEqual({
      operation: 'request',
      senderMac: '02:00:00:00:00:01',
      senderAddress: '100.80.0.5',
      targetMac: '00:00:00:00:00:00',
      targetAddress: '100.80.3.9',
    });
    expect(toHex(encodeArp(arp))).toBe(toHex(request));
  });

  it('tells probes and announcements from questions', () => {
    const kinds = [request, probe, announcement].map((octets) => {
      const arp = decoded(decodeArp(octets));
      return [isProbe(arp), isAnnouncement(arp)];
    });
    expect(kinds).toEqual([
      [false, false],
      [true, false],
      [false, true],
    ]);
    const reply = { ...decoded(decodeArp(announcement)), operation: 'reply' as const };
    expect([isProbe(reply), isAnnouncement(reply)]).toEqual([false, true]);
  });

  it('comes back from its octets, padded or not', () => {
    const arbitrary: fc.Arbitrary<Arp> = fc.record({
      operation: fc.constantFrom('request', 'reply'),
      senderMac: macArbitrary,
      senderAddress: address4Arbitrary,
      targetMac: macArbitrary,
      targetAddress: address4Arbitrary,
    });
    fc.assert(
      fc.property(arbitrary, fc.nat(18), (arp, padding) => {
        const octets = encodeArp(arp);
        expect(octets.length).toBe(28);
        expect(decodeArp(Uint8Array.from([...octets, ...new Uint8Array(padding)]))).toEqual(arp);
      }),
    );
  });

  it.each([
    ['another hardware', 1, 6],
    ['another protocol', 2, 0x86],
    ['another length of MAC addresses', 4, 8],
    ['another length of addresses', 5, 16],
    ['another operation', 7, 3],
    ['a group as its sender', 8, 3],
  ])('of %s is dropped', (_, at, value) => {
    const octets = Uint8Array.from(request);
    octets[at] = value;
    expect(decodeArp(octets)).toBe('arp-malformed');
  });

  it('that is cut short is dropped', () => {
    for (const octets of truncations(request)) expect(decodeArp(octets)).toBe('arp-malformed');
  });
});
