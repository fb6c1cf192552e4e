import { describe, expect, it } from 'vitest';
import {
  checksumValid,
  completeChecksum,
  foldSum,
  headerValid,
  isWholePacket,
  plainHeaderLength,
  pseudoSum,
  sumWords,
  writeIp4Checksum,
} from '../../src/net/packet.ts';
import { ACK, buildPacket, flowArbitrary, internetChecksum, ordinaryFlow } from '../pipeline/packets.ts';
import fc from '../support/property.ts';

const viewOf = (octets: Uint8Array): DataView => new DataView(octets.buffer, octets.byteOffset, octets.length);
const piece = { id: 5, sequence: 6, flags: ACK, payload: new Uint8Array(11).fill(0xee) };

describe('the Internet checksum', () => {
  it('is that of RFC 1071, at any offset and length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(7), (octets, shift) => {
        const buffer = Uint8Array.from([...new Uint8Array(shift).fill(0xff), ...octets, 0xff]);
        const sum = sumWords(viewOf(buffer), shift, octets.length);
        expect(0xffff - foldSum(sum)).toBe(internetChecksum([...octets]));
      }),
    );
    expect(foldSum(sumWords(viewOf(new Uint8Array(65_535).fill(0xff)), 0, 65_535))).toBe(0xffff ^ 0xff);
  });

  it('gives the example of RFC 1071 section 3', () => {
    const octets = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    expect(foldSum(sumWords(viewOf(octets), 0, 8))).toBe(0xddf2);
  });

  it('is completed and verified for any flow, and any damage shows', () => {
    fc.assert(
      fc.property(flowArbitrary, fc.uint8Array({ maxLength: 200 }), fc.nat(), (flow, payload, damage) => {
        const partial = buildPacket(flow, { ...piece, payload }, true);
        const packet = buildPacket(flow, { ...piece, payload });
        const view = viewOf(partial);
        const ip = flow.v6 ? 40 : 20;
        const protocol = flow.udp ? 17 : 6;
        completeChecksum(view, ip, flow.udp ? 6 : 16, partial.length, flow.udp);
        expect(partial).toEqual(packet);
        expect(checksumValid(view, 0, ip, packet.length, protocol)).toBe(true);
        partial[ip + (damage % (packet.length - ip))]! ^= 1 << (damage & 7);
        expect(checksumValid(view, 0, ip, packet.length, protocol)).toBe(false);
      }),
    );
  });

  it('of an IPv4 header is written and verified; IPv6 has none', () => {
    const packet = buildPacket(ordinaryFlow, piece);
    const view = viewOf(packet);
    packet[8] = 3;
    expect(headerValid(view, 0, 20)).toBe(false);
    writeIp4Checksum(view, 0, 20);
    expect(headerValid(view, 0, 20)).toBe(true);
    expect(headerValid(viewOf(buildPacket({ ...ordinaryFlow, v6: true }, piece)), 0, 40)).toBe(true);
  });

  it('covers the pseudo-header', () => {
    const view = viewOf(buildPacket(ordinaryFlow, piece));
    expect(pseudoSum(view, 0, 6)).toBe(6 + 2 * (100 * 256 + 80) + 1 + 2);
  });
});

describe('IP headers', () => {
  it('say whether octets are one whole packet', () => {
    for (const v6 of [false, true]) {
      const packet = buildPacket({ ...ordinaryFlow, v6 }, piece);
      const whole = (octets: Uint8Array): boolean => isWholePacket(viewOf(octets), 0, octets.length);
      expect(whole(packet)).toBe(true);
      for (let length = 0; length < packet.length; length++) expect(whole(packet.slice(0, length))).toBe(false);
      expect(whole(Uint8Array.from([...packet, 0]))).toBe(false);
      expect(whole(packet.with(0, 0x55))).toBe(false);
    }
    expect(isWholePacket(viewOf(buildPacket(ordinaryFlow, piece).with(0, 0x44)), 0, 51)).toBe(false);
  });

  it('say where a transport header begins at once', () => {
    const packet = buildPacket(ordinaryFlow, piece);
    expect(plainHeaderLength(viewOf(packet), 0)).toBe(20);
    expect(plainHeaderLength(viewOf(packet.with(0, 0x46)), 0)).toBe(0);
    expect(plainHeaderLength(viewOf(packet.with(6, 0x20)), 0)).toBe(0);
    expect(plainHeaderLength(viewOf(packet.with(7, 1)), 0)).toBe(0);
    expect(plainHeaderLength(viewOf(buildPacket({ ...ordinaryFlow, v6: true }, piece)), 0)).toBe(40);
  });
});
