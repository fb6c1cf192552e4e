/**
 * What kind of NAT is in between, by the terms of RFC 4787 (sections 4.1 and 5), for one address family: asks mirrors
 * (docs/protocol.md) from two fresh sockets, so that no old mapping or filter state of the NAT has a say.
 *
 * 1. Socket `quiet` asks one mirror only and learns its mapped address there. Socket `loud` asks all of them: who answers,
 *    how fast, and which mapped address it has for each, which tells the mapping.
 * 2. `loud` asks the others to answer to the mapped address of `quiet`, which never sent them anything: what arrives tells
 *    the filtering.
 */

import type { Primitives } from '../../crypto/primitives.ts';
import { type Endpoint, sameEndpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import { readEnvelope } from '../../proto/codec.ts';
import { Suite } from '../../proto/constants.ts';
import { type Mirror, SenderKind } from '../../proto/options.ts';
import type { Action } from '../actions.ts';
import { Channel } from '../channel.ts';
import { Exchanges } from '../exchange.ts';

export type NatMapping = 'endpoint-independent' | 'address-dependent' | 'address-and-port-dependent';
export type NatFiltering = NatMapping;
export type NatType = { readonly mapping: NatMapping | null; readonly filtering: NatFiltering | null };

export type MirrorSight = {
  readonly mirror: Mirror;
  /** Where it saw us; null = it did not answer. */
  readonly mapped: Endpoint | null;
  readonly rttMs: number | null;
};

export type NatReport = { readonly type: NatType; readonly sights: readonly MirrorSight[] };

export type ProbeSocket = 'quiet' | 'loud';
export type ProbeSend = { readonly socket: ProbeSocket; readonly to: Endpoint; readonly datagram: Uint8Array };

type Question = { readonly mirror: Mirror; readonly about: 'quiet' | 'loud' | 'filtering' };

const TRIES = 4;
/** Answers that a NAT lets through come within a round trip; asked three times against loss. */
const FILTERING_TRIES = 3;
const FILTERING_WAIT_MS = 250;

export class NatCheck {
  readonly #primitives: Primitives;
  readonly #nodeId: string;
  readonly #mirrors: readonly Mirror[];
  readonly #channels = new Map<Mirror, Channel>();
  readonly #exchanges: { readonly [S in ProbeSocket]: Exchanges<Question> };
  readonly #sights = new Map<Mirror, { mapped: Endpoint; rttMs: number | null }>();
  /** Mirrors asked to answer to `quiet`, and whether that arrived. */
  readonly #arrived = new Map<Mirror, boolean>();
  #contacted: Mirror | null = null;
  #quiet: Endpoint | null = null;
  #phase: 'seeing' | 'filtering' | 'done' = 'seeing';

  constructor(primitives: Primitives, nodeId: string, mirrors: readonly Mirror[]) {
    this.#primitives = primitives;
    this.#nodeId = nodeId;
    // `quiet` speaks to one with another port at its address: otherwise nobody could tell address from port.
    const hasTwin = (mirror: Mirror): boolean =>
      mirrors.some(({ address, port }) => address === mirror.address && port !== mirror.port);
    this.#mirrors = mirrors.toSorted((a, b) => Number(hasTwin(b)) - Number(hasTwin(a)));
    this.#exchanges = { quiet: new Exchanges(primitives), loud: new Exchanges(primitives) };
  }

  begin(now: Now): ProbeSend[] {
    const asked = this.#mirrors.flatMap((mirror) => this.#ask('loud', { mirror, about: 'loud' }, now));
    return [...asked, ...this.#contact(this.#mirrors[0], now), ...this.#advance(now)];
  }

  receive(datagram: Uint8Array, from: Endpoint, now: Now): ProbeSend[] {
    const envelope = readEnvelope(datagram);
    if (typeof envelope === 'string') return [];
    for (const exchanges of Object.values(this.#exchanges)) {
      const question = exchanges.peek(envelope.transactionId);
      if (question === undefined || !exchanges.expects(envelope.transactionId, from)) continue;
      const opened = this.#channel(question.mirror).open(datagram, envelope, from, now, true);
      if (opened.kind !== 'message') return [];
      const answer = exchanges.answer(opened.message, from, now);
      const mapped = opened.message.options.mapped?.endpoint;
      if (answer === null || !('settled' in answer) || mapped === undefined) return [];
      this.#answered(question, mapped, answer.rttMs);
    }
    return this.#advance(now);
  }

  tick(now: Now): ProbeSend[] {
    const sends: ProbeSend[] = [];
    for (const socket of ['quiet', 'loud'] as const) {
      const { actions, failed } = this.#exchanges[socket].tick(now);
      sends.push(...sendsOf(socket, actions));
      for (const { mirror, about } of failed) {
        if (about === 'quiet') sends.push(...this.#contact(this.#mirrors[this.#mirrors.indexOf(mirror) + 1], now));
      }
    }
    return [...sends, ...this.#advance(now)];
  }

  /** When to call `tick` next (ms). */
  get due(): number {
    return Math.min(this.#exchanges.quiet.due, this.#exchanges.loud.due);
  }

  /** Null until it is done. */
  get report(): NatReport | null {
    if (this.#phase !== 'done') return null;
    const sights = this.#mirrors.map((mirror) => ({ mirror, mapped: null, rttMs: null, ...this.#sights.get(mirror) }));
    return { type: { mapping: mappingOf(sights), filtering: this.#filtering() }, sights };
  }

  close(): void {
    for (const channel of this.#channels.values()) channel.close();
  }

  /** `quiet` speaks to this one; to the next if it does not answer. */
  #contact(mirror: Mirror | undefined, now: Now): ProbeSend[] {
    this.#contacted = mirror ?? null;
    return mirror === undefined ? [] : this.#ask('quiet', { mirror, about: 'quiet' }, now);
  }

  #ask(socket: ProbeSocket, question: Question, now: Now): ProbeSend[] {
    const { mirror, about } = question;
    const filtering = about === 'filtering' && this.#quiet !== null;
    const options = filtering ? { answerTo: { endpoint: this.#quiet! } } : {};
    const request = { type: 'keepAlive', id: this.#nodeId, body: {}, options } as const;
    const channel = this.#channel(mirror);
    const pace = filtering ? { tries: FILTERING_TRIES, delay: () => FILTERING_WAIT_MS } : { tries: TRIES };
    return sendsOf(socket, this.#exchanges[socket].start(channel, request, mirror, question, now, pace));
  }

  #answered({ mirror, about }: Question, mapped: Endpoint, rttMs: number | null): void {
    if (about === 'quiet') this.#quiet = mapped;
    else if (about === 'filtering') this.#arrived.set(mirror, true);
    else this.#sights.set(mirror, { mapped, rttMs });
  }

  #advance(now: Now): ProbeSend[] {
    const busy = Object.values(this.#exchanges).some((exchanges) => exchanges.has(() => true));
    if (busy || this.#phase === 'done') return [];
    if (this.#phase === 'filtering' || this.#quiet === null) {
      this.#phase = 'done';
      return [];
    }
    this.#phase = 'filtering';
    const others = [...this.#sights.keys()].filter((mirror) => mirror !== this.#contacted);
    for (const mirror of others) this.#arrived.set(mirror, false);
    const sends = others.flatMap((mirror) => this.#ask('loud', { mirror, about: 'filtering' }, now));
    return others.length === 0 ? this.#advance(now) : sends;
  }

  /** Null where the mirrors' addresses cannot tell the terms apart. */
  #filtering(): NatFiltering | null {
    const of = (sameAddress: boolean): boolean | null => {
      const asked = [...this.#arrived].filter(
        ([{ address }]) => (address === this.#contacted?.address) === sameAddress,
      );
      return asked.length === 0 ? null : asked.some(([, arrived]) => arrived);
    };
    const [otherPort, otherAddress] = [of(true), of(false)];
    if (otherAddress === true) return 'endpoint-independent';
    if (otherPort === false) return 'address-and-port-dependent';
    return otherPort === true && otherAddress === false ? 'address-dependent' : null;
  }

  #channel(mirror: Mirror): Channel {
    let channel = this.#channels.get(mirror);
    if (channel === undefined) {
      channel = new Channel({
        primitives: this.#primitives,
        suite: Suite.aes256Gcm,
        baseKey: mirror.key,
        id: this.#nodeId,
        own: { kind: SenderKind.prober, instance: this.#primitives.random(16).toHex() },
        // Each answer is of a life of its own.
        accept: new Map([[mirror.role === 'nms' ? SenderKind.nms : SenderKind.trs, 1]]),
        proveAddress: false,
        freshKey: false,
      });
      this.#channels.set(mirror, channel);
    }
    return channel;
  }
}

/** Null if fewer than two mirrors answered, of which nothing can be told. Where it can't be told better, the worse is said. */
function mappingOf(sights: readonly MirrorSight[]): NatMapping | null {
  const seen = sights.flatMap(({ mirror, mapped }) => (mapped === null ? [] : [{ address: mirror.address, mapped }]));
  if (seen.length < 2) return null;
  const pairs = seen.flatMap((a, i) => seen.slice(i + 1).map((b) => [a, b] as const));
  if (pairs.every(([a, b]) => sameEndpoint(a.mapped, b.mapped))) return 'endpoint-independent';
  const ofOneAddress = pairs.filter(([a, b]) => a.address === b.address);
  const isByAddress = ofOneAddress.length > 0 && ofOneAddress.every(([a, b]) => sameEndpoint(a.mapped, b.mapped));
  return isByAddress ? 'address-dependent' : 'address-and-port-dependent';
}

function sendsOf(socket: ProbeSocket, actions: readonly Action[]): ProbeSend[] {
  return actions.flatMap((action) =>
    action.do === 'send' ? [{ socket, to: action.to, datagram: action.datagram }] : [],
  );
}
