import { describe, expect, it } from 'vitest';
import { concat } from '../../src/lib/bytes.ts';
import { FRAME_HEAD, FrameReader, MAX_FRAME, writeFrameHead } from '../../src/net/frames.ts';
import fc from '../support/property.ts';

function framed(datagrams: readonly Uint8Array[]): Uint8Array {
  return concat(
    ...datagrams.map((datagram) => {
      const frame = new Uint8Array(FRAME_HEAD + datagram.length);
      writeFrameHead(frame, 0, datagram.length);
      frame.set(datagram, FRAME_HEAD);
      return frame;
    }),
  );
}

/** What comes out of a stream that arrives in these pieces. */
function read(pieces: readonly Uint8Array[]): { datagrams: Uint8Array[]; whole: boolean } {
  const reader = new FrameReader();
  const datagrams: Uint8Array[] = [];
  const whole = pieces.every((piece) => reader.push(piece, (datagram) => datagrams.push(datagram.slice())));
  return { datagrams, whole };
}

const datagram = fc.oneof(
  { weight: 8, arbitrary: fc.uint8Array({ maxLength: 40 }) },
  { weight: 1, arbitrary: fc.constantFrom(MAX_FRAME - 1, MAX_FRAME).map((length) => new Uint8Array(length).fill(7)) },
);

describe('datagrams in a stream', () => {
  it('come out as they went in, cut at every octet', () => {
    const sent = [Uint8Array.of(1, 2, 3), new Uint8Array(0), Uint8Array.of(4), new Uint8Array(300).fill(5)];
    const octets = framed(sent);
    for (let cut = 0; cut <= octets.length; cut++) {
      expect(read([octets.subarray(0, cut), octets.subarray(cut)])).toEqual({ datagrams: sent, whole: true });
    }
    const single = Array.from(octets, (octet) => Uint8Array.of(octet));
    expect(read(single)).toEqual({ datagrams: sent, whole: true });
  });

  it('come out as they went in, whatever the pieces', () => {
    fc.assert(
      fc.property(fc.array(datagram, { maxLength: 12 }), fc.array(fc.nat(), { maxLength: 20 }), (sent, cuts) => {
        const octets = framed(sent);
        const at = [0, ...cuts.map((cut) => cut % (octets.length + 1)).sort((a, b) => a - b), octets.length];
        const pieces = at.slice(1).map((end, i) => octets.subarray(at[i], end));
        expect(read(pieces)).toEqual({ datagrams: sent, whole: true });
      }),
    );
  });

  it('end the stream that announces more than any has, wherever it is cut', () => {
    const octets = concat(framed([Uint8Array.of(1)]), Uint8Array.of((MAX_FRAME + 1) >> 8, (MAX_FRAME + 1) & 255, 0));
    for (let cut = 0; cut < octets.length; cut++) {
      const { datagrams, whole } = read([octets.subarray(0, cut), octets.subarray(cut)]);
      expect({ datagrams, whole }).toEqual({ datagrams: [Uint8Array.of(1)], whole: false });
    }
  });
});
