/**
 * Whether a path still works: a Keep Alive to the peer from time to time, and at once when packets go out but nothing
 * comes back (protocol sections 3.3 and 4.6).
 */

import { sameEndpoint } from '../../lib/ip.ts';
import type { PathTraffic } from '../../lib/path.ts';
import type { Now } from '../../lib/time.ts';
import { KEEP_ALIVE_JITTER, KEEP_ALIVE_MS } from '../../proto/constants.ts';
import type { Options } from '../../proto/options.ts';
import { byWay, headerBy } from './by-way.ts';
import type { Arrival, NodeContext } from './context.ts';
import type { Path } from './path.ts';
import { Timers } from './timers.ts';
import { noteOutcome, type Way } from './ways.ts';

/** Sending without hearing anything for this long is suspicious (ms): 250, if the report of the traffic comes a little early. */
const SILENCE_MS = 240;
/** So is a stream that came without a pause of this length for a second, and has stopped for so long (ms). */
const STEADY_MS = 400;
const STEADY_REPORTS = 4;
const STOPPED_MS = 500;
/** Who waits for an answer on suspicion: so long, or twice the round trip if that is longer (ms). */
const SUSPICION_MS = 300;
/** A direct way is left 2 s after the last sign of life, a relay sooner: there is nothing to send beside it meanwhile. */
const DIRECT_LEFT_MS = 1_800;
const LEAST_TRIES = 3;
const REGULAR_TRIES = 5;
/** A way that was proven within this time is trusted without asking (ms). */
const TRUST_MS = 6_500;
/** A path used within this time is looked after by a heartbeat (ms). */
const ACTIVE_MS = 10_000;
const HEARTBEAT_MS = 3_000;
/** Idle paths are looked after together: waking up takes more than asking (ms). */
const TOGETHER_MS = 2_000;
const PROBE_TIMEOUT_MS = 2_000;

type Delay = (tries: number) => number;

export class Liveness {
  readonly #context: NodeContext;
  readonly #path: Path;
  readonly timers: Timers<'keepAlive' | 'owing' | 'stopped'>;
  #totals: PathTraffic | null = null;
  #heardAt = Number.NEGATIVE_INFINITY;
  #suspected: Way | null = null;
  /** Reports in a row in which something came. */
  #steady = 0;
  #receivedAt = Number.NEGATIVE_INFINITY;
  /** Last inner packet sent, and in either direction (ms). */
  sentAt = Number.NEGATIVE_INFINITY;
  usedAt: number;

  constructor(context: NodeContext, path: Path, now: Now) {
    this.#context = context;
    this.#path = path;
    this.usedAt = now.ms;
    this.timers = new Timers(path);
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
    if (receiving) this.#received(now);
    if (sending || receiving) this.#heartbeatSoon(now);
    if (sending && this.isSilent(now)) this.suspect(now);
    return sending;
  }

  /**
   * Who only listens to a stream learns from its end that the way may be dead: the other end, which sends, needs this one at
   * the relay when it leaves the way.
   */
  #received(now: Now): void {
    this.heard(now);
    this.#steady = now.ms - this.#receivedAt <= STEADY_MS ? this.#steady + 1 : 1;
    this.#receivedAt = now.ms;
    if (this.#steady >= STEADY_REPORTS) this.timers.set('stopped', now.ms + STOPPED_MS);
  }

  /** Nothing authentic has come for a moment. */
  isSilent(now: Now): boolean {
    return now.ms - this.#heardAt >= SILENCE_MS;
  }

  /** Whether the way in use still works; meanwhile another one is made ready. */
  suspect(now: Now): void {
    const { chosen } = this.#path;
    if (chosen === null || chosen === this.#suspected) return;
    this.#suspected = chosen;
    this.timers.set('owing', now.ms + patienceMs(chosen));
    this.check(chosen, now);
    const provenAt = Math.max(this.#heardAt, chosen.provenAt ?? Number.NEGATIVE_INFINITY);
    this.#path.reach.suspected(now.ms - provenAt < TRUST_MS, now);
  }

  /** By the way in use an answer should have come, and has not. */
  get isOwing(): boolean {
    return this.#suspected !== null && this.#suspected === this.#path.chosen && !this.timers.isSet('owing');
  }

  get heardAt(): number {
    return this.#heardAt;
  }

  keepAliveSoon(now: Now): void {
    const jitter = this.#context.jitter(KEEP_ALIVE_JITTER);
    const idle = Math.floor((now.ms + KEEP_ALIVE_MS * jitter) / TOGETHER_MS) * TOGETHER_MS;
    this.timers.set('keepAlive', this.#isActive(now) ? now.ms + HEARTBEAT_MS * jitter : idle);
  }

  /** While nothing happens one end's question serves both: its answer keeps the NAT in front of this end open too. */
  asked({ from, relayed }: Arrival, now: Now): void {
    const { chosen } = this.#path;
    if (chosen === null || this.#isActive(now)) return;
    if (sameEndpoint(chosen.endpoint, from) && (chosen.origin === 'relay') === relayed) this.keepAliveSoon(now);
  }

  tick(now: Now): void {
    for (const timer of this.timers.due(now.ms)) {
      if (timer === 'owing') this.#owes(now);
      else if (timer === 'stopped') this.suspect(now);
      else this.#keepAlive(now);
    }
  }

  #owes(now: Now): void {
    this.#path.suspicionChanged(now);
    this.#context.checkMapping(now);
  }

  #keepAlive(now: Now): void {
    this.keepAliveSoon(now);
    const { chosen } = this.#path;
    if (chosen === null) return;
    if (this.#isActive(now)) {
      this.check(chosen, now);
      this.#path.reach.heartbeat(now);
    } else if (chosen.checking === null) {
      chosen.checking = 'regularly';
      this.#check(chosen, REGULAR_TRIES, undefined, {}, now);
    }
  }

  /** Asks the peer over one way, quickly; the path learns whether it works. */
  check(way: Way, now: Now): void {
    if (way.checking !== 'soon') this.#checkSoon(way, {}, now);
  }

  /** The same, and tells the peer where we are now. */
  announce(way: Way, now: Now): void {
    this.#checkSoon(way, { candidates: { list: this.#context.announced() } }, now);
  }

  /** In place of what is asked already. */
  #checkSoon(way: Way, options: Options, now: Now): void {
    this.#context.cancel(way);
    way.checking = 'soon';
    this.#check(way, triesFor(way), patienceFor(way), options, now);
  }

  #check(way: Way, tries: number, delay: Delay | undefined, options: Options, now: Now): void {
    this.#ask(way, tries, delay, options, now, {
      owner: way,
      answered: (rttMs, at) => {
        way.checking = null;
        noteOutcome(way, rttMs === null);
        this.#path.reach.wayProven(way, rttMs, at);
        this.#settled(way, at);
      },
      failed: (at) => {
        way.checking = null;
        noteOutcome(way, true);
        this.#path.reach.wayDead(way, at);
        this.#settled(way, at);
      },
    });
  }

  /** The suspicion has proved right or wrong. */
  #settled(way: Way, now: Now): void {
    if (way !== this.#suspected) return;
    this.#suspected = null;
    this.timers.clear('owing');
    this.#path.suspicionChanged(now);
  }

  #isActive(now: Now): boolean {
    return now.ms - this.usedAt < ACTIVE_MS;
  }

  /** The next Keep Alive was set while nothing happened. */
  #heartbeatSoon(now: Now): void {
    if (this.timers.at('keepAlive') > now.ms + HEARTBEAT_MS * (1 + KEEP_ALIVE_JITTER)) this.keepAliveSoon(now);
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
    for (const way of this.#path.reach.ways) this.#context.cancel(way);
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
        ...byWay(this.#path, way),
        owner: outcome.owner,
        tries,
        ...(delay !== undefined && { delay }),
        request: { type: 'keepAlive', ...headerBy(this.#path, way), body: {}, options },
        answered: (_message, _arrival, rttMs, at) => outcome.answered(rttMs, at),
        failed: (at) => outcome.failed(at),
      },
      now,
    );
  }
}

function patienceMs({ rttMs }: Way): number {
  return Math.max(SUSPICION_MS, 2 * (rttMs ?? 0));
}

function patienceFor(way: Way): Delay {
  const ms = patienceMs(way);
  return () => ms;
}

function triesFor(way: Way): number {
  if (way.origin === 'relay') return LEAST_TRIES;
  return Math.max(LEAST_TRIES, Math.round(DIRECT_LEFT_MS / patienceMs(way)));
}
