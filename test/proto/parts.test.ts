import { beforeEach, describe, expect, it } from 'vitest';
import { type Draft, type Envelope, layout, readEnvelope } from '../../src/proto/codec.ts';
import { MAX_SIGNALLING } from '../../src/proto/constants.ts';
import { PartBuffer, type PartLimits } from '../../src/proto/parts.ts';
import fc from '../support/property.ts';
import { aeadSizes, anyDraft, plainOf } from './arbitraries.ts';

type Part = { readonly envelope: Envelope; readonly plain: Uint8Array };

const id = '0'.repeat(32);
const at = (ms: number): { ms: number; wall: number } => ({ ms, wall: 0 });

function cut(draft: Draft, first: number, maximum = 200): Part[] {
  let sequence = first;
  return layout(draft, aeadSizes, () => sequence++, maximum).map((laid) => {
    const envelope = readEnvelope(laid.bytes);
    if (typeof envelope === 'string') return expect.fail(envelope);
    return { envelope, plain: plainOf(laid, aeadSizes) };
  });
}

function handshake(length: number, transactionId = 1): Draft {
  return { type: 'tunnelRequest', id, transactionId, body: { endKey: new Uint8Array(length).fill(length) } };
}

let buffer: PartBuffer;
beforeEach(() => {
  buffer = new PartBuffer();
});

function feed(part: Part, sender = 'a', ms = 0, into = buffer): unknown {
  return into.receive(sender, part.envelope, part.plain, at(ms));
}

describe('joining', () => {
  it('gives any message back from parts of any size in any order, mixed with others', () => {
    fc.assert(
      fc.property(
        fc.array(anyDraft, { minLength: 1, maxLength: 3 }),
        fc.integer({ min: 500, max: MAX_SIGNALLING }),
        fc.infiniteStream(fc.nat(0xffff)),
        (drafts, maximum, random) => {
          const parts = new PartBuffer();
          const queue = drafts
            .flatMap((draft, i) => cut(draft, 1000 * i, maximum).map((part) => ({ part, i })))
            .map((entry) => ({ ...entry, rank: random.next().value ?? 0 }))
            .sort((a, b) => a.rank - b.rank);
          const left = drafts.map((_, i) => queue.filter((entry) => entry.i === i).length);
          for (const { part, i } of queue) {
            const result = feed(part, 'a', 0, parts);
            left[i]!--;
            if (left[i]! > 0) expect(result).toBe(null);
            else expect(result).toEqual({ flags: 0, epoch: 0, options: {}, ...drafts[i], sequence: 1000 * i });
          }
          expect(parts.octets).toBe(0);
          expect(parts.abandoned).toBe(0);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('does not cut what fits exactly', () => {
    const fits = MAX_SIGNALLING - 32 - 4 - 16;
    expect(cut(handshake(fits), 1, MAX_SIGNALLING)).toHaveLength(1);
    expect(cut(handshake(fits + 1), 1, MAX_SIGNALLING)).toHaveLength(2);
  });

  it('takes a part once', () => {
    const [first, second, ...rest] = cut(handshake(400), 1);
    expect(rest).not.toEqual([]);
    expect(feed(first!)).toBe(null);
    expect(feed(first!)).toBe('replayed');
    expect(feed(second!)).toBe(null);
    expect(feed(second!)).toBe('replayed');
    expect(rest.map((part) => feed(part)).pop()).toMatchObject({ body: { endKey: { length: 400 } } });
  });

  it('never joins parts of two sendings, whose cuts may differ', () => {
    const before = cut(handshake(300), 1);
    const challenged = cut({ ...handshake(300), options: { echo: { value: id } } }, 10);
    expect(before).toHaveLength(3);
    expect([before[0]!, challenged[1]!, before[2]!].map((part) => feed(part))).toEqual([null, null, null]);
    expect(feed(before[1]!)).toMatchObject({ sequence: 1, options: {} });
  });

  it('keeps senders apart', () => {
    const parts = cut(handshake(200), 1);
    expect(parts).toHaveLength(2);
    expect(feed(parts[0]!, 'a')).toBe(null);
    expect(feed(parts[1]!, 'b')).toBe(null);
    expect(feed(parts[1]!, 'a')).toMatchObject({ type: 'tunnelRequest' });
  });

  it('does not mind that the receive buffer is used again', () => {
    const [first, second] = cut(handshake(200), 1);
    feed(first!);
    first!.plain.fill(0xff);
    expect(feed(second!)).toMatchObject({ body: { endKey: new Uint8Array(200).fill(200) } });
  });
});

describe('refusing', () => {
  const [first, second] = cut(handshake(200), 1) as [Part, Part];
  const altered = (changes: Partial<Envelope>): Part => ({ ...second, envelope: { ...second.envelope, ...changes } });
  const numbered = (number: number, count: number): Part => altered({ options: { part: { number, count } } });

  it.each([
    ['a count of 0', numbered(0, 0)],
    ['a count of 1', numbered(0, 1)],
    ['a number as large as the count', numbered(2, 2)],
    ['an empty part', { ...second, plain: new Uint8Array(0) }],
  ])('%s', (_, part) => {
    expect(feed(part)).toBe('part-malformed');
    expect(buffer.octets).toBe(0);
  });

  it.each([
    ['another transaction', altered({ transactionId: 2 })],
    ['another type', altered({ type: 'tunnelResponse' })],
    ['another id', altered({ id: '1'.repeat(32) })],
    ['other flags', altered({ flags: 4 })],
    ['another epoch', altered({ epoch: 1 })],
    ['another chain', altered({ nextSealed: 0x43 })],
    ['another count', numbered(1, 3)],
  ])('%s in a message that has begun, which stays whole', (_, part) => {
    expect(feed(first)).toBe(null);
    expect(feed(part)).toBe('part-malformed');
    expect(feed(second)).toMatchObject({ type: 'tunnelRequest' });
  });

  it('a whole that is no message', () => {
    expect(feed(first)).toBe(null);
    expect(feed({ ...second, plain: second.plain.subarray(1) })).toBe('body-malformed');
    expect(buffer.octets).toBe(0);
  });
});

describe('bounds', () => {
  function bounded(limits: Partial<PartLimits>): void {
    buffer = new PartBuffer(limits);
  }
  const begun = (first: number): Part => cut(handshake(200), first)[0]!;
  const ended = (first: number): Part => cut(handshake(200), first)[1]!;

  it('displaces the oldest message of a sender', () => {
    bounded({ messages: 2 });
    for (const first of [10, 20, 30]) expect(feed(begun(first))).toBe(null);
    expect(feed(begun(40), 'b')).toBe(null);
    expect(buffer.abandoned).toBe(1);
    expect(feed(ended(20))).toMatchObject({ sequence: 20 });
    expect(feed(ended(30))).toMatchObject({ sequence: 30 });
    expect(feed(ended(40), 'b')).toMatchObject({ sequence: 40 });
    expect(feed(ended(10))).toBe(null);
  });

  it('holds no more octets of a sender, and gives up the message that has too many', () => {
    const parts = cut(handshake(1000), 1);
    bounded({ octets: 500 });
    expect(parts.map((part) => feed(part))).toContain('part-overflow');
    expect(buffer.octets).toBeLessThanOrEqual(500);
    expect(buffer.abandoned).toBeGreaterThan(0);
  });

  it('holds no more octets of all senders', () => {
    bounded({ total: 1000 });
    const results = Array.from({ length: 100 }, (_, i) => feed(begun(1), `sender ${i}`));
    expect(results.filter((result) => result === null)).toHaveLength(Math.floor(1000 / begun(1).plain.length));
    expect(results.filter((result) => result === 'part-overflow')).not.toEqual([]);
    expect(buffer.octets).toBeLessThanOrEqual(1000);
  });

  it('gives up after the deadline, also for senders that are silent', () => {
    bounded({ lifetime: 100 });
    feed(begun(1), 'a', 0);
    feed(begun(1), 'b', 50);
    feed(begun(1), 'c', 60);
    expect(feed(ended(1), 'a', 100)).toBe(null);
    expect(buffer.abandoned).toBe(1);
    expect(feed(ended(1), 'b', 149)).toMatchObject({ sequence: 1 });
    feed(begun(7), 'd', 500);
    expect(buffer.abandoned).toBe(3);
    expect(buffer.octets).toBe(begun(7).plain.length);
  });

  it('keeps deadlines of a sender that stays busy', () => {
    bounded({ lifetime: 100 });
    feed(begun(1), 'b', 0);
    feed(begun(1), 'a', 10);
    feed(begun(20), 'b', 90);
    expect(feed(ended(1), 'b', 101)).toBe(null);
    expect(feed(ended(20), 'b', 102)).toMatchObject({ sequence: 20 });
  });

  it('gives up what a silent sender left behind a busy one', () => {
    bounded({ lifetime: 100 });
    feed(begun(1), 'busy', 0);
    feed(begun(1), 'silent', 10);
    feed(begun(20), 'busy', 90);
    feed(begun(1), 'other', 120);
    expect(buffer.abandoned).toBe(2);
    expect(feed(ended(1), 'silent', 121)).toBe(null);
    expect(feed(ended(20), 'busy', 121)).toMatchObject({ sequence: 20 });
  });

  it('forgets a sender', () => {
    feed(begun(1), 'a');
    feed(begun(9), 'a');
    feed(begun(1), 'b');
    buffer.forget('a');
    buffer.forget('nobody');
    expect(buffer.octets).toBe(begun(1).plain.length);
    expect(feed(ended(1), 'a')).toBe(null);
    expect(feed(ended(1), 'b')).toMatchObject({ sequence: 1 });
  });

  it('stays within every bound whatever comes', () => {
    const limits = { messages: 3, octets: 600, lifetime: 50, total: 1500 };
    const part = fc.record({
      sender: fc.nat(5).map(String),
      ms: fc.nat(20),
      sequence: fc.nat(30),
      number: fc.nat(4),
      count: fc.nat(4),
      length: fc.nat(300),
    });
    fc.assert(
      fc.property(fc.array(part, { maxLength: 60 }), (parts) => {
        bounded(limits);
        let ms = 0;
        for (const { sender, ms: later, sequence, number, count, length } of parts) {
          ms += later;
          const envelope = { ...first, sequence, options: { part: { number, count } } };
          buffer.receive(sender, envelope, new Uint8Array(length), at(ms));
          expect(buffer.octets).toBeLessThanOrEqual(limits.total);
          expect(buffer.octets).toBeGreaterThanOrEqual(0);
        }
        for (let i = 0; i <= 5; i++) buffer.forget(String(i));
        expect(buffer.octets).toBe(0);
      }),
    );
  });
  const first = begun(1).envelope;
});
