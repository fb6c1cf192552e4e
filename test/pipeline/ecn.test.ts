/** ECN across the tunnel, against the table of RFC 6040 (figure 4). */

import { describe, expect, it } from 'vitest';
import { isSound } from './checksums.ts';
import { bare, buildPacket, ordinaryFlow } from './packets.ts';
import { type ConnectedPair, connectedPair } from './pair.ts';

const [notEct, ect1, ect0, ce] = [0, 1, 2, 3];
const DSCP = 0b101110 << 2;

const packet = (v6: boolean, tos: number): Uint8Array =>
  buildPacket({ ...ordinaryFlow, udp: true, v6, tos }, { id: 1, sequence: 1, flags: 0, payload: new Uint8Array(50) });
const tosOf = (read: Uint8Array): number => {
  const view = new DataView(read.buffer, read.byteOffset + 10);
  return view.getUint8(0) >> 4 === 6 ? (view.getUint16(0) >> 4) & 255 : view.getUint8(1);
};

/** Rows: inner; columns: outer Not-ECT, ECT(0), ECT(1), CE; null = dropped. */
const table = [
  [notEct, [notEct, notEct, notEct, null]],
  [ect0, [ect0, ect0, ect1, ce]],
  [ect1, [ect1, ect1, ect1, ce]],
  [ce, [ce, ce, ce, ce]],
] as const;

function send({ a, b }: ConnectedPair, v6: boolean, inner: number, outer: number) {
  const runs = a.send(bare(packet(v6, inner))).map((run) => ({ ...run, tos: outer }));
  return b.receive(runs);
}

describe.each([false, true])('ECN, IPv6 %s', (v6) => {
  it('comes out as RFC 6040 says, with the DSCP untouched and the checksum right', () => {
    for (const [inner, results] of table) {
      for (const [i, outer] of [notEct, ect0, ect1, ce].entries()) {
        const pair = connectedPair({ ecn: true });
        const [received] = send(pair, v6, DSCP | inner, outer);
        const expected = results[i];
        if (expected === null) {
          expect(received).toBeUndefined();
          expect(pair.b.drops['ecn-dropped']).toBe(1);
        } else {
          expect(received && tosOf(received)).toBe(DSCP | (expected ?? -1));
          expect(isSound(received!.subarray(10))).toBe(true);
        }
      }
    }
  });

  it('is on the outer header by agreement only, without the DSCP', () => {
    for (const inner of [notEct, ect0, ect1, ce]) {
      const read = bare(packet(v6, DSCP | inner));
      expect(
        connectedPair({ ecn: true })
          .a.send(read)
          .map(({ tos }) => tos),
      ).toEqual([inner]);
      expect(
        connectedPair()
          .a.send(read)
          .map(({ tos }) => tos),
      ).toEqual([0]);
    }
  });

  it('keeps packets of different marks in messages of their own', () => {
    const { a } = connectedPair({ ecn: true });
    const runs = a.send(...[ect0, ect0, ce, ect0].map((tos) => bare(packet(v6, tos))));
    expect(runs.map(({ tos, octets, segment }) => [tos, octets.length / segment])).toEqual([
      [ect0, 2],
      [ce, 1],
      [ect0, 1],
    ]);
  });
});
