import { describe, expect, it } from 'vitest';
import { Channel, type ChannelOptions } from '../../src/core/channel.ts';
import type { Endpoint } from '../../src/lib/ip.ts';
import type { Now } from '../../src/lib/time.ts';
import { type Draft, readEnvelope } from '../../src/proto/codec.ts';
import { Suite } from '../../src/proto/constants.ts';
import { SenderKind } from '../../src/proto/options.ts';
import { World } from '../support/primitives.ts';

const ID = 'a'.repeat(32);
const home: Endpoint = { address: '192.0.2.1', port: 7444 };
const away: Endpoint = { address: '198.51.100.9', port: 40_000 };
const at = (ms: number): Now => ({ ms, wall: ms });

class Pair {
  readonly world = new World(7);
  readonly baseKey = new Uint8Array(32).fill(9);
  service = this.channel(SenderKind.nms, SenderKind.node, 'b', { proveAddress: true });
  node = this.channel(SenderKind.node, SenderKind.nms, 'c');

  channel(own: SenderKind, peer: SenderKind, instance: string, more: Partial<ChannelOptions> = {}): Channel {
    return new Channel({
      primitives: this.world.primitives(instance),
      suite: Suite.aes256Gcm,
      baseKey: this.baseKey,
      id: ID,
      own: { kind: own, instance: instance.repeat(32) },
      accept: new Map([[peer, 1]]),
      proveAddress: false,
      freshKey: false,
      ...more,
    });
  }

  keepAlive(transactionId = 1, echo?: string): Uint8Array {
    const options = echo === undefined ? {} : { options: { echo: { value: echo } } };
    return this.node.seal({ type: 'keepAlive', id: ID, transactionId, body: {}, ...options })[0]!;
  }

  deliver(datagram: Uint8Array, from = home, ms = 0, answersUs = false, to = this.service) {
    const envelope = readEnvelope(datagram);
    if (typeof envelope === 'string') throw new RangeError(envelope);
    return to.open(datagram, envelope, from, at(ms), answersUs);
  }

  /** The challenge that this datagram from there earns. */
  challenge(datagram: Uint8Array, from = home, ms = 0): string {
    const opened = this.deliver(datagram, from, ms);
    if (opened.kind !== 'challenge') throw new RangeError(opened.kind);
    const answer = this.deliver(opened.datagrams[0]!, from, ms, true, this.node);
    if (answer.kind !== 'message') throw new RangeError(answer.kind);
    return answer.message.options.challenge!.value;
  }

  prove(from = home, ms = 0): void {
    const echoed = this.deliver(this.keepAlive(1, this.challenge(this.keepAlive(), from, ms)), from, ms);
    expect(echoed.kind).toBe('message');
  }
}

describe('a channel', () => {
  it('challenges an unknown instance and believes it after the echo', () => {
    const pair = new Pair();
    const challenge = pair.challenge(pair.keepAlive());
    expect(pair.deliver(pair.keepAlive(2, challenge))).toMatchObject({ kind: 'message', newest: true });
    expect(pair.deliver(pair.keepAlive(3)).kind).toBe('message');
  });

  it('gives a challenge no more than three times what it answers', () => {
    const pair = new Pair();
    const asked = pair.keepAlive();
    const opened = pair.deliver(asked);
    expect(opened.kind === 'challenge' && opened.datagrams[0]!.length).toBeLessThanOrEqual(3 * asked.length);
  });

  it('does not take an echo from another address', () => {
    const pair = new Pair();
    const challenge = pair.challenge(pair.keepAlive(), home);
    expect(pair.deliver(pair.keepAlive(2, challenge), away).kind).toBe('challenge');
    expect(pair.deliver(pair.keepAlive(3)).kind).toBe('challenge');
  });

  it('challenges a known sender at a new address', () => {
    const pair = new Pair();
    pair.prove(home);
    expect(pair.deliver(pair.keepAlive(), away).kind).toBe('challenge');
    pair.prove(away);
    expect(pair.deliver(pair.keepAlive(), away).kind).toBe('message');
  });

  it('drops a replay, also of the echo', () => {
    const pair = new Pair();
    const echo = pair.keepAlive(2, pair.challenge(pair.keepAlive()));
    expect(pair.deliver(echo).kind).toBe('message');
    expect(pair.deliver(echo)).toEqual({ kind: 'drop', reason: 'replayed' });
    const plain = pair.keepAlive(3);
    expect(pair.deliver(plain).kind).toBe('message');
    expect(pair.deliver(plain)).toEqual({ kind: 'drop', reason: 'replayed' });
  });

  it('tells a message that was overtaken on its way', () => {
    const pair = new Pair();
    pair.prove();
    const held = pair.keepAlive(5);
    expect(pair.deliver(pair.keepAlive(6))).toMatchObject({ newest: true });
    expect(pair.deliver(held)).toMatchObject({ kind: 'message', newest: false });
  });

  it('refuses every datagram of a life that ended, although both sides restarted', () => {
    const pair = new Pair();
    const recorded = [pair.keepAlive(1, pair.challenge(pair.keepAlive()))];
    pair.deliver(recorded[0]!);
    recorded.push(pair.keepAlive(2), pair.keepAlive(3));
    for (const datagram of recorded) pair.deliver(datagram);

    pair.node = pair.channel(SenderKind.node, SenderKind.nms, 'd');
    pair.service = pair.channel(SenderKind.nms, SenderKind.node, 'e', { proveAddress: true });
    pair.prove();
    for (const datagram of recorded) expect(pair.deliver(datagram).kind).not.toBe('message');
    expect(pair.deliver(pair.keepAlive(4)).kind).toBe('message');
  });

  it('refuses what a sender that lives on sent before we started anew', () => {
    const pair = new Pair();
    pair.prove();
    const before = pair.keepAlive();
    expect(pair.deliver(before).kind).toBe('message');
    pair.service = pair.channel(SenderKind.nms, SenderKind.node, 'd', { proveAddress: true });
    pair.prove();
    expect(pair.deliver(before)).toEqual({ kind: 'drop', reason: 'replayed' });
    expect(pair.deliver(pair.keepAlive()).kind).toBe('message');
  });

  it('ends an old life when a new one proved itself, echoes recorded from it included', () => {
    const pair = new Pair();
    const echo = pair.keepAlive(2, pair.challenge(pair.keepAlive()));
    pair.deliver(echo);
    const later = pair.keepAlive(3);
    pair.node = pair.channel(SenderKind.node, SenderKind.nms, 'd');
    pair.prove();
    expect(pair.deliver(echo).kind).not.toBe('message');
    expect(pair.deliver(later).kind).not.toBe('message');
  });

  it('drops what was altered anywhere, and knows whose key it was', () => {
    const pair = new Pair();
    pair.prove();
    const datagram = pair.keepAlive(7);
    for (const offset of [0, 3, 16, 40, 60, datagram.length - 1]) {
      const altered = datagram.slice();
      altered[offset]! ^= 1;
      const envelope = readEnvelope(altered);
      if (typeof envelope === 'string') continue;
      expect(pair.service.open(altered, envelope, home, at(0), false)).toEqual({ kind: 'drop', reason: 'tag' });
    }
  });

  it('does not let one kind of sender speak as another, nor to itself', () => {
    const pair = new Pair();
    expect(pair.deliver(pair.service.seal(ack())[0]!)).toEqual({ kind: 'drop', reason: 'sender-kind' });
    const trs = pair.channel(SenderKind.trs, SenderKind.node, 'f');
    expect(pair.deliver(trs.seal(ack())[0]!)).toEqual({ kind: 'drop', reason: 'sender-kind' });
  });

  it('puts a long message together again', () => {
    const pair = new Pair();
    pair.prove();
    const certificate = new Uint8Array(3000).fill(5);
    const body = { applicationId: '0'.repeat(32), pathId: 'b'.repeat(32), fqdn: 'b.lab.example', certificate };
    const parts = pair.node.seal({ type: 'directionRequest', id: ID, transactionId: 9, body });
    expect(parts.length).toBeGreaterThan(2);
    for (const part of parts) expect(part.length).toBeLessThanOrEqual(1232);
    const [last, ...others] = parts.reverse();
    for (const part of others) expect(pair.deliver(part)).toEqual({ kind: 'part' });
    expect(pair.deliver(last!)).toMatchObject({ kind: 'message', newest: true, message: { body: { certificate } } });
  });

  it('limits its challenges', () => {
    const pair = new Pair();
    const reasons = Array.from({ length: 500 }, (_, i) => pair.deliver(pair.keepAlive(i), away).kind);
    expect(reasons).toContain('challenge');
    expect(reasons.at(-1)).toBe('drop');
    expect(pair.deliver(pair.keepAlive(), home, 1_000).kind).toBe('challenge');
  });

  it('still challenges a new life while datagrams recorded from an old one are poured in', () => {
    const pair = new Pair();
    pair.prove();
    const recorded = pair.keepAlive();
    pair.node = pair.channel(SenderKind.node, SenderKind.nms, 'd');
    pair.service = pair.channel(SenderKind.nms, SenderKind.node, 'e', { proveAddress: true });
    const poured = Array.from({ length: 500 }, (_, i) => pair.deliver(recorded, { ...away, port: i + 1 }));
    expect(poured.at(-1)).toEqual({ kind: 'drop', reason: 'rate-limited' });
    expect(pair.deliver(pair.keepAlive()).kind).toBe('challenge');
  });

  it('believes the first instance of a fresh key where addresses are proven by others', () => {
    const pair = new Pair();
    pair.service = pair.channel(SenderKind.nms, SenderKind.node, 'b', { freshKey: true });
    expect(pair.deliver(pair.keepAlive()).kind).toBe('message');
    pair.node = pair.channel(SenderKind.node, SenderKind.nms, 'd');
    expect(pair.deliver(pair.keepAlive()).kind).toBe('challenge');
  });

  it('says nothing once closed', () => {
    const pair = new Pair();
    pair.prove();
    pair.service.close();
    expect(pair.service.seal(ack())).toEqual([]);
    expect(pair.deliver(pair.keepAlive()).kind).toBe('drop');
  });

  it('never uses a number twice under one key', () => {
    const pair = new Pair();
    for (let i = 0; i < 50; i++) pair.prove({ ...home, port: 1_000 + i }, i * 1_000);
    expect(pair.world.sealed).toBeGreaterThan(100);
    expect(pair.world.reused).toEqual([]);
  });
});

function ack(): Draft {
  return { type: 'ack', id: ID, transactionId: 1, body: {} };
}
