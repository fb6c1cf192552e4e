import { describe, expect, it } from 'vitest';
import { clampMss } from '../../src/net/mss.ts';
import { buildPacket, type Flow, ordinaryFlow } from '../pipeline/packets.ts';
import fc from '../support/property.ts';

const SYN = 2;
const viewOf = (packet: Uint8Array): DataView => new DataView(packet.buffer, packet.byteOffset, packet.byteLength);

function tcp(flow: Flow, flags: number, options: readonly number[], partial = false): Uint8Array {
  const padded = [...options, ...new Array<number>((4 - (options.length % 4)) % 4).fill(0)];
  const piece = { id: 1, sequence: 5, flags, payload: new Uint8Array(0) };
  return buildPacket({ ...flow, options: Uint8Array.from(padded) }, piece, partial);
}

function clamped(packet: Uint8Array, mtu: number, partial = false): Uint8Array {
  const copy = packet.slice();
  clampMss(viewOf(copy), 0, copy.length, mtu, partial);
  return copy;
}

const mssOption = (mss: number): number[] => [2, 4, mss >> 8, mss & 255];
/** Options that may stand before the one that counts. */
const others = fc.array(fc.constantFrom([1], [1, 1], [4, 2], [3, 3, 7], [8, 10, 0, 1, 2, 3, 4, 5, 6, 7]), {
  maxLength: 3,
});

describe('clamping the MSS', () => {
  it('makes the packet that a host with that MTU would have sent, wherever the option stands', () => {
    fc.assert(
      fc.property(
        fc.boolean(),
        others,
        fc.integer({ min: 536, max: 9_000 }),
        fc.integer({ min: 1_180, max: 9_000 }),
        fc.boolean(),
        fc.boolean(),
        (v6, before, mss, mtu, ack, partial) => {
          const flow = { ...ordinaryFlow, v6 };
          const flags = SYN | (ack ? 16 : 0);
          const made = (value: number): Uint8Array =>
            tcp(flow, flags, [...before.flat(), ...mssOption(value)], partial);
          const most = Math.min(mss, mtu - (v6 ? 60 : 40));
          expect(clamped(made(mss), mtu, partial)).toEqual(made(most));
        },
      ),
    );
  });

  it.each([
    ['no SYN', tcp(ordinaryFlow, 16, mssOption(1_460))],
    ['no such option', tcp(ordinaryFlow, SYN, [1, 1, 1])],
    ['options that end before', tcp(ordinaryFlow, SYN, [0, ...mssOption(1_460)])],
    ['an option of length 0', tcp(ordinaryFlow, SYN, [3, 0, 0, 1, ...mssOption(1_460)])],
    ['an option of another length', tcp(ordinaryFlow, SYN, [2, 5, 5, 180, 1])],
    [
      'UDP',
      buildPacket(
        { ...ordinaryFlow, udp: true },
        { id: 1, sequence: 1, flags: 0, payload: new Uint8Array(40).fill(2) },
      ),
    ],
  ])('leaves alone: %s', (_, packet) => {
    expect(clamped(packet, 1_200)).toEqual(packet);
  });

  it('leaves alone later fragments, and a wrong checksum wrong', () => {
    const syn = tcp(ordinaryFlow, SYN, mssOption(1_460));
    const fragment = syn.slice();
    viewOf(fragment).setUint16(6, 100);
    expect(clamped(fragment, 1_200)).toEqual(fragment);
    const wrong = syn.slice();
    wrong[20 + 17]! ^= 1;
    const right = clamped(syn, 1_200);
    right[20 + 17]! ^= 1;
    expect(viewOf(clamped(wrong, 1_200)).getUint16(20 + 20 + 2)).toBe(1_160);
    expect(clamped(wrong, 1_200)).not.toEqual(clamped(syn, 1_200));
  });

  it('never reads or writes outside of any packet', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 40, maxLength: 90 }), fc.boolean(), (octets, v6) => {
        octets[0] = v6 ? 0x60 : 0x40 | (octets[0]! & 15);
        octets[v6 ? 6 : 9] = 6;
        clampMss(viewOf(octets), 0, octets.length, 1_200, false);
      }),
      { numRuns: 2_000 },
    );
  });
});
