import { describe, expect, it } from 'vitest';
import { Channel } from '../../src/core/channel.ts';
import { Answers, Exchanges, retransmitDelay } from '../../src/core/exchange.ts';
import type { Endpoint } from '../../src/lib/ip.ts';
import type { Now } from '../../src/lib/time.ts';
import { type Message, readEnvelope } from '../../src/proto/codec.ts';
import { Suite } from '../../src/proto/constants.ts';
import { SenderKind } from '../../src/proto/options.ts';
import { World } from '../support/primitives.ts';

const ID = 'a'.repeat(32);
const server: Endpoint = { address: '192.0.2.1', port: 7441 };
const at = (ms: number): Now => ({ ms, wall: ms });

function setup() {
  const primitives = new World(3).primitives();
  const channel = new Channel({
    primitives,
    suite: Suite.aes256Gcm,
    baseKey: new Uint8Array(32),
    id: ID,
    own: { kind: SenderKind.node, instance: 'c'.repeat(32) },
    accept: new Map(),
    proveAddress: false,
    freshKey: false,
  });
  const exchanges = new Exchanges<string>(primitives);
  const start = (tag: string, ms = 0, tries?: number) =>
    exchanges.start(channel, { type: 'keepAlive', id: ID, body: {} }, server, tag, at(ms), { tries });
  return { exchanges, start };
}

function envelopeOf(actions: readonly { readonly do: string }[]) {
  const sent = actions.find((a): a is { do: 'send'; datagram: Uint8Array } => a.do === 'send');
  const envelope = sent === undefined ? 'short' : readEnvelope(sent.datagram);
  if (typeof envelope === 'string') throw new RangeError(envelope);
  return envelope;
}

function answerTo(transactionId: number, challenge?: string): Message {
  const options = challenge === undefined ? {} : { challenge: { value: challenge } };
  return { type: 'ack', id: ID, transactionId, flags: 4, sequence: 1, epoch: 0, body: {}, options };
}

describe('exchanges', () => {
  it('repeats with backoff under one Transaction ID and new numbers, then gives up', () => {
    const { exchanges, start } = setup();
    const first = envelopeOf(start('x'));
    const times: number[] = [];
    let failed: string[] = [];
    const numbers = new Set([first.sequence]);
    for (let ms = 0; failed.length === 0; ms += 50) {
      const ticked = exchanges.tick(at(ms));
      if (ticked.actions.length > 0) {
        times.push(ms);
        expect(envelopeOf(ticked.actions).transactionId).toBe(first.transactionId);
        numbers.add(envelopeOf(ticked.actions).sequence);
      }
      failed = ticked.failed;
    }
    expect(times).toEqual([200, 600, 1400, 3000, 6200]);
    expect(numbers.size).toBe(6);
    expect(failed).toEqual(['x']);
    expect(exchanges.due).toBe(Number.POSITIVE_INFINITY);
  });

  it('says when it is due', () => {
    const { exchanges, start } = setup();
    expect(exchanges.due).toBe(Number.POSITIVE_INFINITY);
    start('x', 1_000);
    start('y', 900);
    expect(exchanges.due).toBe(900 + retransmitDelay(1));
    exchanges.tick(at(1_100));
    expect(exchanges.due).toBe(1_000 + retransmitDelay(1));
  });

  it('settles once, and only for an answer from where it asked', () => {
    const { exchanges, start } = setup();
    const { transactionId } = envelopeOf(start('x'));
    const elsewhere = { ...server, port: 1 };
    expect(exchanges.expects(transactionId, elsewhere)).toBe(false);
    expect(exchanges.answer(answerTo(transactionId), elsewhere, at(1))).toBeNull();
    expect(exchanges.answer(answerTo(transactionId ^ 1), server, at(1))).toBeNull();
    expect(exchanges.answer(answerTo(transactionId), server, at(1))).toMatchObject({ settled: 'x' });
    expect(exchanges.answer(answerTo(transactionId), server, at(1))).toBeNull();
    expect(exchanges.tick(at(60_000))).toEqual({ actions: [], failed: [] });
  });

  it('echoes a challenge at once, a repeated one not again, and keeps the tries it had', () => {
    const { exchanges, start } = setup();
    const { transactionId } = envelopeOf(start('x', 0, 2));
    const challenged = exchanges.answer(answerTo(transactionId, 'd'.repeat(32)), server, at(10));
    expect(challenged).not.toBeNull();
    const repeated = envelopeOf((challenged as { actions: { do: string }[] }).actions);
    expect(repeated).toMatchObject({ transactionId, options: { echo: { value: 'd'.repeat(32) } } });
    expect(exchanges.answer(answerTo(transactionId, 'd'.repeat(32)), server, at(11))).toEqual({ actions: [] });
    const second = exchanges.tick(at(210));
    expect(envelopeOf(second.actions).options.echo).toEqual({ value: 'd'.repeat(32) });
    expect(exchanges.tick(at(2_000)).failed).toEqual(['x']);
  });

  it('does not answer challenges without end', () => {
    const { exchanges, start } = setup();
    const { transactionId } = envelopeOf(start('x'));
    let sent = 0;
    for (let i = 0; i < 100; i++) {
      const value = i.toString(16).padStart(32, '0');
      const answer = exchanges.answer(answerTo(transactionId, value), server, at(1));
      sent += (answer as { actions: unknown[] }).actions.length;
    }
    expect(sent).toBeLessThanOrEqual(3);
  });

  it('cancels by tag', () => {
    const { exchanges, start } = setup();
    start('x');
    start('y');
    exchanges.cancel((tag) => tag === 'x');
    expect(exchanges.has((tag) => tag === 'x')).toBe(false);
    expect(exchanges.has((tag) => tag === 'y')).toBe(true);
  });
});

describe('answers', () => {
  const sender = { kind: SenderKind.node, instance: 'c'.repeat(32) };
  const answer = { type: 'ack', id: ID, transactionId: 5, body: {} } as const;

  it('remember what was said to whom', () => {
    const answers = new Answers();
    expect(answers.find(sender, 5)).toBeUndefined();
    answers.remember(sender, 5, 'pending', at(0));
    expect(answers.find(sender, 5)).toBe('pending');
    answers.remember(sender, 5, answer, at(1));
    expect(answers.find(sender, 5)).toBe(answer);
    expect(answers.find({ ...sender, instance: 'd'.repeat(32) }, 5)).toBeUndefined();
  });

  it('forget the oldest beyond their bound, and what is too old to be asked again', () => {
    const answers = new Answers();
    for (let i = 0; i < 600; i++) answers.remember(sender, i, answer, at(i));
    expect(answers.find(sender, 0)).toBeUndefined();
    expect(answers.find(sender, 599)).toBe(answer);
    answers.remember(sender, 1_000, answer, at(100_000));
    expect(answers.find(sender, 599)).toBeUndefined();
  });
});
