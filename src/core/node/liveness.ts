/**
 * Whether a path still works: a Keep Alive to the peer from time to time, and at once when packets go out but nothing
 * comes back (protocol sections 3.3 and 4.6).
 */

import type { PathTraffic } from '../../lib/path.ts';
import type { Now } from '../../lib/time.ts';
import { KEEP_ALIVE_JITTER, KEEP_ALIVE_MS } from '../../proto/constants.ts';
import { Flag } from '../../proto/messages.ts';
import type { NodeContext } from './context.ts';
import type { Path } from './path.ts';
import { Timers } from './timers.ts';
import type { Way } from './ways.ts';

/** Sending without hearing anything for this long is suspicious (ms). */
const SILENCE_MS = 1_000;
/** Transmissions of a Keep Alive on suspicion, and of the regular one. */
const SUSPICION_TRIES = 3;
const REGULAR_TRIES = 5;
const PROBE_TIMEOUT_MS = 2_000;

export class Liveness {
  readonly #context: NodeContext;
  readonly #path: Path;
  readonly timers: Timers<'keepAlive'>;
  #totals: PathTraffic | null = null;
  #heardAt = Number.NEGATIVE_INFINITY;
  #checking: Way | null = null;
  /** Last inner packet sent, and in either direction (ms). */
  sentAt = Number.NEGATIVE_INFINITY;
  usedAt: number;

  constructor(context: NodeContext, path: Path, now: Now) {
    this.#context = context;
    this.#path = path;
    this.usedAt = now.ms;
    this.timers = new Timers((at) => path.wake(at));
  }

  get totals(): PathTraffic | null {
    return this.#totals;
  }

  /** An authentic message of the peer came in. */
  heard(now: Now): void {
    this.#heardAt = now.ms;
  }

  /** New totals of the data path. Returns whether packets were sent since the last ones. */
  traffic(totals: PathTraffic, now: Now): boolean {
    const before = this.#totals;
    this.#totals = totals;
    const sending = totals.txPackets > (before?.txPackets ?? 0);
    const receiving = totals.rxPackets > (before?.rxPackets ?? 0);
    if (sending || receiving) this.usedAt = now.ms;
    if (sending) this.sentAt = now.ms;
    if (receiving) this.heard(now);
    if (sending && now.ms - this.#heardAt > SILENCE_MS) this.suspect(now);
    return sending;
  }

  suspect(now: Now): void {
    if (this.#path.chosen !== null) this.check(this.#path.chosen, SUSPICION_TRIES, now);
  }

  keepAliveSoon(now: Now): void {
    this.timers.set('keepAlive', now.ms + KEEP_ALIVE_MS * this.#context.jitter(KEEP_ALIVE_JITTER));
  }

  tick(now: Now): void {
    if (this.timers.due(now.ms).length === 0) return;
    this.keepAliveSoon(now);
    if (this.#path.chosen !== null) this.check(this.#path.chosen, REGULAR_TRIES, now);
  }

  /** Asks the peer over one way; the path learns whether it works. */
  check(way: Way, tries: number, now: Now): void {
    if (this.#checking === way) return;
    this.#context.cancel(this);
    this.#checking = way;
    this.#ask(way, tries, undefined, now, {
      answered: (rttMs, at) => {
        this.#checking = null;
        this.#path.wayProven(way, rttMs, at);
      },
      failed: (at) => {
        this.#checking = null;
        this.#path.wayDead(way, at);
      },
    });
  }

  /** One round trip for somebody who wants to know how long it takes; null: none in time. */
  measure(way: Way, done: (rttMs: number | null) => void, now: Now): void {
    this.#ask(way, 1, () => PROBE_TIMEOUT_MS, now, {
      owner: this.#path,
      answered: (rttMs) => done(rttMs),
      failed: () => done(null),
    });
  }

  stop(): void {
    this.#context.cancel(this);
    this.timers.clearAll();
  }

  #ask(
    way: Way,
    tries: number,
    delay: ((tries: number) => number) | undefined,
    now: Now,
    outcome: { owner?: object; answered(rttMs: number | null, now: Now): void; failed(now: Now): void },
  ): void {
    this.#context.ask(
      {
        owner: outcome.owner ?? this,
        channel: this.#path.channel,
        to: way.endpoint,
        tries,
        ...(delay !== undefined && { delay }),
        from: this.#path.peerKind,
        expects: 'ack',
        request: {
          type: 'keepAlive',
          id: this.#path.id,
          flags: way.origin === 'relay' ? Flag.relayed : 0,
          body: {},
        },
        answered: (_message, _arrival, rttMs, at) => outcome.answered(rttMs, at),
        failed: (at) => outcome.failed(at),
      },
      now,
    );
  }
}
