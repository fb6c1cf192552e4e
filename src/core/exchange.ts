/**
 * Requests that cross UDP and the answers to them: retransmission with backoff (protocol section 3.3), the echo of a
 * challenge, and on the other side a memory of answers, so that a duplicate is answered the same and acted on once.
 */

import type { Primitives } from '../crypto/primitives.ts';
import { type Endpoint, sameEndpoint } from '../lib/ip.ts';
import type { Now } from '../lib/time.ts';
import type { Draft, Message } from '../proto/codec.ts';
import { RETRANSMIT_FIRST_MS, RETRANSMIT_MAX_MS, RETRANSMIT_TRIES } from '../proto/constants.ts';
import type { Action } from './actions.ts';
import type { Channel, Sender } from './channel.ts';

/** A request before its Transaction ID is drawn. */
export type Request = Draft extends infer D ? (D extends Draft ? Omit<D, 'transactionId'> : never) : never;

/** How often, when and under which condition a request is sent. */
export type Pace = {
  readonly tries?: number | undefined;
  /** Delay after the n-th transmission, n from 1 (ms). */
  readonly delay?: ((tries: number) => number) | undefined;
  /** Whether so many octets may go there now; if not, this one transmission is left out. */
  readonly allows?: ((to: Endpoint, octets: number, now: Now) => boolean) | undefined;
};

type Outstanding<Tag> = {
  readonly tag: Tag;
  readonly channel: Channel;
  draft: Draft;
  to: Endpoint;
  /** Where it went before it was redirected: an answer may still come from there. */
  readonly before: Endpoint[];
  echo: string | null;
  echoes: number;
  tries: number;
  readonly pace: Pace;
  /** Time of the one transmission that an answer can belong to (ms), null if there are several. */
  sentAt: number | null;
  /** When the next transmission, or after the last one the failure, is due (ms). */
  due: number;
};

/** How long after its last transmission a request may still be repeated by its sender, with room to spare (ms). */
export const ANSWER_MEMORY_MS = 20_000;
const ANSWER_MEMORY_MAX = 512;
/** Challenges that one request answers at once; what is repeated after that goes by the clock. */
const MAX_ECHOES = 3;

export function sendAll(datagrams: readonly Uint8Array[], to: Endpoint): Action[] {
  return datagrams.map((datagram) => ({ do: 'send', to, datagram }));
}

/** Delay after the n-th transmission, n from 1 (ms). */
export function retransmitDelay(tries: number): number {
  return Math.min(RETRANSMIT_MAX_MS, RETRANSMIT_FIRST_MS * 2 ** (tries - 1));
}

/** Outstanding requests of one machine. `Tag` says what a request was for. */
export class Exchanges<Tag> {
  readonly #primitives: Primitives;
  readonly #replica: (() => number) | null;
  readonly #outstanding = new Map<number, Outstanding<Tag>>();
  /** No request is due before this (ms); may be too early after one was settled. */
  #earliest = Number.POSITIVE_INFINITY;

  /** `replica`: the first octet of its Transaction IDs, where several processes ask from one address. */
  constructor(primitives: Primitives, replica: (() => number) | null = null) {
    this.#primitives = primitives;
    this.#replica = replica;
  }

  /** Sends a request now and again until it is settled or its tries are used up. */
  start(channel: Channel, request: Request, to: Endpoint, tag: Tag, now: Now, pace: Pace = {}): Action[] {
    let transactionId = 0;
    while (transactionId === 0 || this.#outstanding.has(transactionId)) {
      const octets = this.#primitives.random(4);
      if (this.#replica !== null) octets[0] = this.#replica();
      transactionId = new DataView(octets.buffer, octets.byteOffset).getUint32(0);
    }
    const draft = { ...request, transactionId } as Draft;
    const progress = { echo: null, echoes: 0, tries: 0, sentAt: null, due: 0 };
    const entry = { tag, channel, draft, to, before: [], ...progress, pace };
    this.#outstanding.set(transactionId, entry);
    return this.#repeat(entry, now);
  }

  /** Whether a datagram with this Transaction ID from this address answers a request of ours. */
  expects(transactionId: number, from: Endpoint): boolean {
    const entry = this.#outstanding.get(transactionId);
    return entry !== undefined && [entry.to, ...entry.before].some((to) => sameEndpoint(to, from));
  }

  /** Sends the same request elsewhere from now on, with other flags, and as often as a new one. */
  redirect(tag: Tag, to: Endpoint, flags: number, now: Now): Action[] {
    for (const entry of this.#outstanding.values()) {
      if (entry.tag !== tag) continue;
      entry.before.push(entry.to);
      entry.to = to;
      entry.draft = { ...entry.draft, flags };
      entry.tries = 0;
      return this.#repeat(entry, now);
    }
    return [];
  }

  /** What the request of this Transaction ID was for; it stays outstanding. */
  peek(transactionId: number): Tag | undefined {
    return this.#outstanding.get(transactionId)?.tag;
  }

  /**
   * Takes an answer. If it is a challenge, the request goes out again with its echo; otherwise the request is settled
   * and its tag returned, with the round trip unless retransmission leaves that open. Null: not a request of ours.
   */
  answer(
    message: Message,
    from: Endpoint,
    now: Now,
  ): { readonly settled: Tag; readonly rttMs: number | null } | { readonly actions: Action[] } | null {
    const entry = this.#outstanding.get(message.transactionId);
    if (entry === undefined || !this.expects(message.transactionId, from)) return null;
    if (message.type === 'ack' && message.options.challenge !== undefined) {
      // One immediate repetition for each new challenge: a replayed one makes us send nothing.
      if (entry.echo === message.options.challenge.value) return { actions: [] };
      entry.echo = message.options.challenge.value;
      entry.echoes += 1;
      if (entry.echoes > MAX_ECHOES) return { actions: [] };
      entry.due = now.ms + delayOf(entry);
      // Only this repetition has the echo, so only this one is answered.
      entry.sentAt = now.ms;
      return { actions: this.#transmit(entry, now) };
    }
    this.#outstanding.delete(message.transactionId);
    return { settled: entry.tag, rttMs: entry.sentAt === null ? null : now.ms - entry.sentAt };
  }

  cancel(which: (tag: Tag) => boolean): void {
    for (const [id, entry] of this.#outstanding) if (which(entry.tag)) this.#outstanding.delete(id);
  }

  has(which: (tag: Tag) => boolean): boolean {
    return [...this.#outstanding.values()].some((entry) => which(entry.tag));
  }

  /** Repeats what is due and gives up what was repeated often enough. */
  tick(now: Now): { readonly actions: Action[]; readonly failed: Tag[] } {
    const actions: Action[] = [];
    const failed: Tag[] = [];
    if (this.#earliest > now.ms) return { actions, failed };
    this.#earliest = Number.POSITIVE_INFINITY;
    for (const [id, entry] of this.#outstanding) {
      if (entry.due > now.ms) {
        this.#earliest = Math.min(this.#earliest, entry.due);
      } else if (entry.tries < (entry.pace.tries ?? RETRANSMIT_TRIES)) {
        actions.push(...this.#repeat(entry, now));
      } else {
        this.#outstanding.delete(id);
        failed.push(entry.tag);
      }
    }
    return { actions, failed };
  }

  /** When to call `tick` next (ms), Infinity if never. */
  get due(): number {
    return this.#outstanding.size === 0 ? Number.POSITIVE_INFINITY : this.#earliest;
  }

  #repeat(entry: Outstanding<Tag>, now: Now): Action[] {
    entry.tries += 1;
    entry.sentAt = entry.tries === 1 && entry.before.length === 0 ? now.ms : null;
    entry.due = now.ms + delayOf(entry);
    this.#earliest = Math.min(this.#earliest, entry.due);
    return this.#transmit(entry, now);
  }

  #transmit({ channel, draft, echo, to, pace }: Outstanding<Tag>, now: Now): Action[] {
    const options = echo === null ? draft.options : { ...draft.options, echo: { value: echo } };
    const datagrams = channel.seal({ ...draft, options } as Draft);
    const octets = datagrams.reduce((sum, { length }) => sum + length, 0);
    return pace.allows?.(to, octets, now) === false ? [] : sendAll(datagrams, to);
  }
}

function delayOf({ pace: { delay = retransmitDelay }, tries }: Outstanding<unknown>): number {
  return delay(tries);
}

/** Answers given, by sender and Transaction ID. `pending` marks a request that is still being worked on. */
export class Answers {
  readonly #given = new Map<string, { answer: Draft | 'pending'; until: number }>();

  /** The answer given before, `pending` if the request is in work, undefined if it is new. */
  find(sender: Sender, transactionId: number): Draft | 'pending' | undefined {
    return this.#given.get(keyOf(sender, transactionId))?.answer;
  }

  remember(sender: Sender, transactionId: number, answer: Draft | 'pending', now: Now): void {
    const key = keyOf(sender, transactionId);
    this.#given.delete(key);
    this.#given.set(key, { answer, until: now.ms + ANSWER_MEMORY_MS });
    for (const [oldest, { until }] of this.#given) {
      if (until > now.ms && this.#given.size <= ANSWER_MEMORY_MAX) break;
      this.#given.delete(oldest);
    }
  }
}

function keyOf(sender: Sender, transactionId: number): string {
  return `${sender.kind} ${sender.instance} ${transactionId}`;
}
