/**
 * Whether a path still works: a Keep Alive to the peer from time to time, and at once when packets go out but nothing
 * comes back (protocol sections 3.3 and 4.6).
 */

import type { PathTraffic } from '../../lib/path.ts';
import type { Now } from '../../lib/time.ts';
import { KEEP_ALIVE_JITTER, KEEP_ALIVE_MS } from '../../proto/constants.ts';
import { Flag } from '../../proto/messages.ts';
import type { Options } from '../../proto/options.ts';
import type { NodeContext } from './context.ts';
import type { Path } from './path.ts';
import { Timers } from './timers.ts';
import type { Way } from './ways.ts';

/** Sending without hearing anything for this long is suspicious (ms). */
const SILENCE_MS = 300;
/** Who waits for an answer on suspicion: so long, or twice the round trip if that is longer (ms). */
const SUSPICION_MS = 300;
const SUSPICION_TRIES = 3;
const REGULAR_TRIES = 5;
/** A path used within this time is looked after by a heartbeat (ms). */
const ACTIVE_MS = 10_000;
const HEARTBEAT_MS = 3_000;
const PROBE_TIMEOUT_MS = 2_000;

type Delay = (tries: number) => number;

export class Liveness {
  readonly #context: NodeContext;
  readonly #path: Path;
  readonly timers: Timers<'keepAlive'>;
  #totals: PathTraffic | null = null;
  #heardAt = Number.NEGATIVE_INFINITY;
  readonly #checking = new Set<Way>();
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
    if (sending || receiving) this.#heartbeatSoon(now);
    if (sending && this.isSilent(now)) this.suspect(now);
    return sending;
  }

  /** Nothing authentic has come for a moment. */
  isSilent(now: Now): boolean {
    return now.ms - this.#heardAt > SILENCE_MS;
  }

  /** Whether the way in use still works; meanwhile another one is made ready. */
  suspect(now: Now): void {
    const { chosen } = this.#path;
    if (chosen === null || this.#checking.has(chosen)) return;
    this.check(chosen, now);
    this.#path.reach.suspected(now);
  }

  keepAliveSoon(now: Now): void {
    const interval = this.#isActive(now) ? HEARTBEAT_MS : KEEP_ALIVE_MS;
    this.timers.set('keepAlive', now.ms + interval * this.#context.jitter(KEEP_ALIVE_JITTER));
  }

  tick(now: Now): void {
    if (this.timers.due(now.ms).length === 0) return;
    this.keepAliveSoon(now);
    const { chosen } = this.#path;
    if (chosen === null) return;
    if (this.#isActive(now)) this.check(chosen, now);
    else this.#check(chosen, REGULAR_TRIES, undefined, {}, now);
  }

  /** Asks the peer over one way, quickly; the path learns whether it works. */
  check(way: Way, now: Now): void {
    this.#check(way, SUSPICION_TRIES, patienceFor(way), {}, now);
  }

  /** The same, and tells the peer where we are now. */
  announce(way: Way, now: Now): void {
    this.#context.cancel(way);
    this.#checking.delete(way);
    this.#check(way, SUSPICION_TRIES, patienceFor(way), { candidates: { list: this.#context.announced() } }, now);
  }

  #check(way: Way, tries: number, delay: Delay | undefined, options: Options, now: Now): void {
    if (this.#checking.has(way)) return;
    this.#checking.add(way);
    this.#ask(way, tries, delay, options, now, {
      owner: way,
      answered: (rttMs, at) => {
        this.#checking.delete(way);
        this.#path.reach.wayProven(way, rttMs, at);
      },
      failed: (at) => {
        this.#checking.delete(way);
        this.#path.reach.wayDead(way, at);
      },
    });
  }

  #isActive(now: Now): boolean {
    return now.ms - this.usedAt < ACTIVE_MS;
  }

  /** The next Keep Alive was set while nothing happened. */
  #heartbeatSoon(now: Now): void {
    if (this.timers.next > now.ms + HEARTBEAT_MS * (1 + KEEP_ALIVE_JITTER)) this.keepAliveSoon(now);
  }

  /** One round trip for somebody who wants to know how long it takes; null: none in time. */
  measure(way: Way, done: (rttMs: number | null) => void, now: Now): void {
    this.#ask(way, 1, () => PROBE_TIMEOUT_MS, {}, now, {
      owner: this.#path,
      answered: (rttMs) => done(rttMs),
      failed: () => done(null),
    });
  }

  stop(): void {
    for (const way of this.#checking) this.#context.cancel(way);
    this.timers.clearAll();
  }

  #ask(
    way: Way,
    tries: number,
    delay: Delay | undefined,
    options: Options,
    now: Now,
    outcome: { owner: object; answered(rttMs: number | null, now: Now): void; failed(now: Now): void },
  ): void {
    this.#context.ask(
      {
        owner: outcome.owner,
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
          options,
        },
        answered: (_message, _arrival, rttMs, at) => outcome.answered(rttMs, at),
        failed: (at) => outcome.failed(at),
      },
      now,
    );
  }
}

function patienceFor({ rttMs }: Way): Delay {
  return () => Math.max(SUSPICION_MS, 2 * (rttMs ?? 0));
}
