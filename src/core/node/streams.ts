/**
 * Streams to TRSs that carry datagrams over TLS where UDP does not get through (docs/protocol.md, Over TLS). Whoever needs
 * one says so; it is kept as long as somebody does and opened again, later and later, when it broke. To everything else it
 * is an endpoint like any other.
 */

import { type Endpoint, formatEndpoint, sameEndpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { NodeContext } from './context.ts';
import { Timers } from './timers.ts';

/** One that was open is opened again soon. */
const AGAIN_MS = 500;
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 30_000;
const BACKOFF_JITTER = 0.4;
/** What is still on its way over a stream that nobody needs any more arrives. */
const LINGER_MS = 5_000;
/** As many as a network has TRSs that are worth it. */
const MAX_STREAMS = 8;

export type StreamUser = {
  streamOpened(endpoint: Endpoint, now: Now): void;
  /** It broke, or could not be opened. */
  streamClosed(endpoint: Endpoint, now: Now): void;
};

/** What became of a stream. */
export type StreamState = { readonly open: true } | { readonly why: string };

type Stream = {
  readonly endpoint: Endpoint;
  readonly users: Set<StreamUser>;
  state: 'opening' | 'open' | 'broken';
  failures: number;
};

export class Streams {
  readonly timers = new Timers<string>();
  readonly #context: NodeContext;
  readonly #streams = new Map<string, Stream>();

  constructor(context: NodeContext) {
    this.#context = context;
  }

  isOpen(endpoint: Endpoint): boolean {
    return this.#streams.get(formatEndpoint(endpoint))?.state === 'open';
  }

  /** False: it broke just now, or there are too many. Otherwise it is open, or the user will hear of it. */
  want(endpoint: Endpoint, user: StreamUser): boolean {
    const name = formatEndpoint(endpoint);
    const known = this.#streams.get(name);
    if (known !== undefined) {
      known.users.add(user);
      if (known.state !== 'broken') this.timers.clear(name);
      return known.state !== 'broken';
    }
    if (this.#streams.size >= MAX_STREAMS) return false;
    const stream: Stream = { endpoint, users: new Set([user]), state: 'opening', failures: 0 };
    this.#streams.set(name, stream);
    this.#open(stream);
    return true;
  }

  /** This user needs none of them any more, but for one maybe. */
  release(user: StreamUser, now: Now, except: Endpoint | null = null): void {
    for (const [name, { users, state, endpoint }] of this.#streams) {
      if (except !== null && sameEndpoint(endpoint, except)) continue;
      if (!users.delete(user) || users.size > 0) continue;
      // One that is broken is remembered until it may be tried again.
      if (state !== 'broken') this.timers.set(name, now.ms + LINGER_MS);
    }
  }

  changed(endpoint: Endpoint, state: StreamState, now: Now): void {
    if ('open' in state) this.#opened(endpoint, now);
    else this.#closed(endpoint, state.why, now);
  }

  #opened(endpoint: Endpoint, now: Now): void {
    const stream = this.#streams.get(formatEndpoint(endpoint));
    if (stream?.state !== 'opening') return;
    stream.state = 'open';
    stream.failures = 0;
    this.#context.emit({ do: 'count', name: 'streams-opened' });
    this.#context.log('info', 'datagrams go over TLS where UDP is blocked', { trs: formatEndpoint(endpoint) });
    for (const user of [...stream.users]) user.streamOpened(stream.endpoint, now);
  }

  #closed(endpoint: Endpoint, why: string, now: Now): void {
    const name = formatEndpoint(endpoint);
    const stream = this.#streams.get(name);
    if (stream === undefined || stream.state === 'broken') return;
    const later = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** stream.failures);
    const backoff = stream.state === 'open' ? AGAIN_MS : later;
    if (stream.state === 'opening') stream.failures += 1;
    stream.state = 'broken';
    this.timers.set(name, now.ms + backoff * this.#context.jitter(BACKOFF_JITTER));
    this.#context.emit({ do: 'count', name: 'streams-closed' });
    this.#context.log('info', 'no datagrams over TLS', { trs: formatEndpoint(endpoint), why });
    for (const user of [...stream.users]) user.streamClosed(stream.endpoint, now);
  }

  tick(now: Now): void {
    for (const name of this.timers.due(now.ms)) {
      const stream = this.#streams.get(name);
      if (stream === undefined) continue;
      if (stream.users.size > 0) {
        if (stream.state === 'broken') this.#open(stream);
        continue;
      }
      this.#streams.delete(name);
      if (stream.state !== 'broken') this.#context.emit({ do: 'disconnect', endpoint: stream.endpoint });
    }
  }

  stop(): void {
    this.timers.clearAll();
    for (const { endpoint, state } of this.#streams.values()) {
      if (state !== 'broken') this.#context.emit({ do: 'disconnect', endpoint });
    }
    this.#streams.clear();
  }

  #open(stream: Stream): void {
    stream.state = 'opening';
    this.#context.emit({ do: 'connect', endpoint: stream.endpoint });
  }
}
