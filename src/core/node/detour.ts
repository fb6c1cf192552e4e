/**
 * The way to the NMS over TLS, where UDP gets no answer: tried when UDP was silent for a while, left as soon as it is
 * heard of again. Which TRS takes the datagrams does not matter; those that do not lead to an NMS are passed over.
 */

import type { Endpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { NodeContext } from './context.ts';
import type { Registration } from './registration.ts';
import type { StreamUser } from './streams.ts';
import { Timers } from './timers.ts';

/** Without an answer by UDP for this long another way is tried (ms). */
export const UDP_SILENT_MS = 2_000;
/** An NMS that does not answer over TLS either is down: nobody is helped by streams to everywhere (ms). */
const PAUSE_MS = 30_000;
const PAUSE_JITTER = 0.4;

export type DetourEvents = {
  /** A registration with the NMS over this stream; it begins at once. */
  register(endpoint: Endpoint): Registration;
  /** The registration over TLS is over. */
  ended(now: Now): void;
};

export class Detour implements StreamUser {
  readonly timers = new Timers<'try'>();
  readonly #context: NodeContext;
  readonly #events: DetourEvents;
  #registration: Registration | null = null;
  #active = false;
  #attempt = 0;
  #pausedUntil = 0;

  constructor(context: NodeContext, events: DetourEvents) {
    this.#context = context;
    this.#events = events;
  }

  get registration(): Registration | null {
    return this.#registration;
  }

  /** Whether another way than UDP is in use or looked for. */
  get isActive(): boolean {
    return this.#active;
  }

  /** UDP has been silent since then (ms); null: it is not. */
  silentSince(since: number | null): void {
    if (this.#active || this.#targets.length === 0) return;
    if (since === null) this.timers.clear('try');
    else this.timers.set('try', Math.max(since + UDP_SILENT_MS, this.#pausedUntil));
  }

  /** UDP works again. */
  leave(now: Now): void {
    this.timers.clear('try');
    this.#pausedUntil = 0;
    if (this.#active) this.#end(now);
  }

  /** No answer over TLS either. */
  lost(now: Now): void {
    this.#attempt += 1;
    this.#pausedUntil = now.ms + PAUSE_MS * this.#context.jitter(PAUSE_JITTER);
    this.#end(now);
  }

  streamOpened(endpoint: Endpoint, now: Now): void {
    if (!this.#active || this.#registration !== null) return;
    this.#context.streams.release(this, now, endpoint);
    this.#registration = this.#events.register(endpoint);
    this.#registration.begin(now);
  }

  streamClosed(_endpoint: Endpoint, now: Now): void {
    if (!this.#active) return;
    this.#attempt += 1;
    const paused = this.#pausedUntil;
    this.#end(now);
    this.#pausedUntil = paused;
    // Another TRS at once; after all of them in turn, the one that may be tried again first.
    this.timers.set('try', now.ms);
  }

  tick(now: Now): void {
    if (this.timers.due(now.ms).length > 0) this.#try(now);
    this.#registration?.tick(now);
  }

  get next(): number {
    return Math.min(this.timers.next, this.#registration?.timers.next ?? Number.POSITIVE_INFINITY);
  }

  /** A new session: everything under the old one is over. */
  restart(now: Now): void {
    this.stop();
    this.#context.streams.release(this, now);
  }

  stop(): void {
    this.timers.clearAll();
    this.#registration?.stop();
    this.#registration = null;
    this.#active = false;
  }

  /** Those of our families first; a proxy on the way may reach the others. */
  get #targets(): readonly Endpoint[] {
    const streams = (this.#context.session?.streams ?? []).filter((endpoint) => this.#context.isOuter(endpoint));
    const near = streams.filter((endpoint) => this.#context.mayReach(endpoint));
    return near.length > 0 ? near : streams;
  }

  #try(now: Now): void {
    const targets = this.#targets;
    this.#active = true;
    for (let i = 0; i < targets.length; i++) {
      const endpoint = targets[(this.#attempt + i) % targets.length]!;
      if (!this.#context.streams.want(endpoint, this)) continue;
      if (this.#context.streams.isOpen(endpoint)) this.streamOpened(endpoint, now);
      return;
    }
    // Each of them broke lately and is opened again in its time, which we hear of as their user.
  }

  #end(now: Now): void {
    this.#registration?.stop();
    this.#registration = null;
    this.#active = false;
    this.#context.streams.release(this, now);
    this.#events.ended(now);
  }
}
