import { describe, expect, it } from 'vitest';
import {
  type Draft,
  decodePlain,
  encodePlain,
  layout,
  loginFrameLength,
  plainSizes,
  readBody,
  readEnvelope,
} from '../../src/proto/codec.ts';
import { HEADER_LENGTH, MAX_SIGNALLING } from '../../src/proto/constants.ts';
import { HeaderOffset, plausible } from '../../src/proto/header.ts';
import { optionTable } from '../../src/proto/options.ts';
import { PartBuffer } from '../../src/proto/parts.ts';
import fc from '../support/property.ts';
import { aeadSizes, anyDraft, cbcSizes, draftOf, messageNames, optionNames, plainOf } from './arbitraries.ts';
import { brokenPromise, decode } from './reencode.ts';

const now = { ms: 0, wall: 0 };
const whole = 0xffff;

/** What the receiver must get of a draft. */
function received(draft: Draft, sequence: number): unknown {
  return { flags: 0, epoch: 0, options: {}, ...draft, sequence };
}

function bytesOf(draft: Draft): Uint8Array {
  return layout(draft, plainSizes, () => 5, whole)[0]!.bytes;
}

describe.each(messageNames)('%s', (name) => {
  it.each([
    ['AEAD', aeadSizes],
    ['CBC', cbcSizes],
  ])('comes back as it was sent, whole or in parts, sized for %s', (_, sizes) => {
    fc.assert(
      fc.property(draftOf(name), fc.nat(0xfffffff), (draft, start) => {
        const parts = new PartBuffer();
        let sequence = start;
        const laid = layout(draft, sizes, () => sequence++);
        const results = laid.map((datagram) => {
          expect(datagram.bytes.length).toBeLessThanOrEqual(MAX_SIGNALLING);
          expect(datagram.bytes.length).toBe(datagram.bodyStart + sizes.sealedSize(datagram.plainLength));
          const envelope = readEnvelope(datagram.bytes);
          if (typeof envelope === 'string') return envelope;
          expect(envelope.bodyStart).toBe(datagram.bodyStart);
          expect(envelope.sequence).toBe(datagram.sequence);
          return parts.receive('peer', envelope, plainOf(datagram, sizes), now);
        });
        expect(results.pop()).toEqual(received(draft, start));
        expect(results).toEqual(results.map(() => null));
      }),
      { numRuns: 60 },
    );
  });

  it('comes back through TLS', () => {
    fc.assert(
      fc.property(draftOf(name), (draft) => {
        const bytes = encodePlain(draft);
        expect(loginFrameLength(bytes)).toBe(bytes.length);
        expect(decodePlain(bytes)).toEqual(received(draft, 0));
      }),
      { numRuns: 30 },
    );
  });

  it('is refused when cut at any length', () => {
    fc.assert(
      fc.property(draftOf(name), (draft) => {
        const bytes = bytesOf(draft);
        for (let length = 0; length < bytes.length; length++) {
          const cut = bytes.slice(0, length);
          expect(decode(cut)).toBe(length < HEADER_LENGTH ? 'short' : 'length');
          // The same with a Message Length that agrees: now the fields themselves must notice.
          if (length < HEADER_LENGTH) continue;
          cut[HeaderOffset.length] = length >> 8;
          cut[HeaderOffset.length + 1] = length & 255;
          expect(decode(cut)).toMatch(/^(body|option)-malformed$/);
        }
      }),
      { numRuns: 2 },
    );
  });

  it('gives a message or a reason whichever bit is flipped', () => {
    fc.assert(
      fc.property(draftOf(name), (draft) => {
        const bytes = bytesOf(draft);
        for (let bit = 0; bit < 8 * bytes.length; bit++) {
          bytes[bit >> 3]! ^= 0x80 >> (bit & 7);
          const broken = brokenPromise(bytes, decode(bytes));
          if (broken !== null) expect.fail(`bit ${bit}: ${broken} in ${bytes.toHex()}`);
          bytes[bit >> 3]! ^= 0x80 >> (bit & 7);
        }
      }),
      { numRuns: 2 },
    );
  });
});

it('writes options in one order, whatever the order in the draft', () => {
  fc.assert(
    fc.property(anyDraft, (draft) => {
      const reversed = Object.fromEntries(Object.entries(draft.options ?? {}).reverse());
      expect(bytesOf({ ...draft, options: reversed })).toEqual(bytesOf(draft));
    }),
  );
});

it('does not mind that the receive buffer is used again', () => {
  fc.assert(
    fc.property(anyDraft, (draft) => {
      // A Buffer, whose own slice() would not copy.
      const bytes = Buffer.from(bytesOf(draft));
      const message = decode(bytes);
      bytes.fill(0xff);
      expect(message).toEqual(received(draft, 5));
    }),
    { numRuns: 50 },
  );
});

it('looks at a header inside a larger buffer', () => {
  fc.assert(
    fc.property(anyDraft, fc.nat(40), fc.nat(40), (draft, before, behind) => {
      const bytes = bytesOf(draft);
      const buffer = new Uint8Array(before + bytes.length + behind).fill(0xff);
      buffer.set(bytes, before);
      expect(plausible(buffer, before, bytes.length)).toBe(null);
      expect(plausible(buffer, before, bytes.length - 1)).toMatch(/short|length/);
      expect(plausible(buffer, before, buffer.length - before + 1)).toBe('short');
    }),
  );
});

it('takes any octets', () => {
  const body = readEnvelope(bytesOf({ type: 'keepAlive', id: '0'.repeat(32), transactionId: 1, body: {} }));
  if (typeof body === 'string') return expect.fail(body);
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 1500 }),
      fc.constantFrom(...messageNames),
      fc.constantFrom(0, ...optionNames.map((name) => optionTable[name].type)),
      (octets, type, nextSealed) => {
        expect(brokenPromise(octets, decode(octets))).toBe(null);
        const message = readBody({ ...body, type, nextSealed }, octets);
        expect(['string', 'object']).toContain(typeof message);
      },
    ),
    { numRuns: 2000 },
  );
});

describe('TLS framing', () => {
  it('waits for the length', () => {
    expect(loginFrameLength(new Uint8Array(0))).toBe(null);
    expect(loginFrameLength(new Uint8Array(13))).toBe(null);
  });

  it('always advances by a header, and what is too short is refused then', () => {
    const zeroes = new Uint8Array(HEADER_LENGTH);
    zeroes[HeaderOffset.version] = 1;
    zeroes[HeaderOffset.type] = 2;
    expect(loginFrameLength(zeroes)).toBe(HEADER_LENGTH);
    expect(decodePlain(zeroes)).toBe('length');
  });

  it('refuses a sequence number', () => {
    const bytes = encodePlain({ type: 'ack', id: '0'.repeat(32), transactionId: 1, body: {} });
    bytes[HeaderOffset.sequence + 3] = 1;
    expect(decodePlain(bytes)).toBe('unexpected');
  });
});
