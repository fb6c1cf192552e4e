/**
 * Hole punching (protocol sections 2.3 and 4.6): every candidate address of the peer is probed with a fresh random
 * challenge, on both sides at once; the address that sends the challenge back is proven. A message from an address that
 * nobody announced is answered with a probe of its own (a triggered check), never with more than came from there. All other
 * probes of addresses where the peer never was are on its account.
 */

import type { Endpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { MessageOf } from '../../proto/codec.ts';
import type { Pace } from '../exchange.ts';
import { acknowledge } from './acknowledge.ts';
import type { Arrival, NodeContext } from './context.ts';
import type { Path } from './path.ts';
import { noteOutcome, type Way, type Ways } from './ways.ts';

const PROBES = 12;
/** Gaps after the first probes (ms), then the last one again and again. */
const GAPS = [200, 300, 500, 1_000];
/** A triggered check is one probe, as the budget of an unproven address is three times what came from there. */
const TRIGGERED_WAIT_MS = 3_000;
const TRIGGERED_GAP_MS = 100;

const gapAfter = (tries: number): number => GAPS[Math.min(tries, GAPS.length) - 1]!;

export class Probing {
  readonly #context: NodeContext;
  readonly #path: Path;
  readonly #ways: Ways;

  constructor(context: NodeContext, path: Path, ways: Ways) {
    this.#context = context;
    this.#path = path;
    this.#ways = ways;
  }

  /** Whether so much may go there: where the peer never was, its budget decides. */
  affords(to: Endpoint, octets: number, now: Now): boolean {
    if (this.#ways.find(to, false)?.answered === true) return true;
    const affords = this.#path.peer.budget.take(octets, now.ms);
    if (!affords) this.#context.emit({ do: 'count', name: 'probes-withheld' });
    return affords;
  }

  /** Probes all direct ways, from the start of the schedule. */
  probeAll(now: Now): void {
    this.stop();
    const worthwhile = this.#ways.direct.filter((way) => way.origin !== 'reflexive' || way.provenAt !== null);
    this.probe(worthwhile, now);
  }

  /** Probes these, whatever is under way to others. */
  probe(ways: readonly Way[], now: Now): void {
    const pace = { tries: PROBES, delay: gapAfter, allows: this.#affordable };
    for (const way of ways) if (this.#context.mayReach(way.endpoint)) this.#probe(way, pace, now);
  }

  /** The peer is not there any more. */
  forget(ways: readonly Way[]): void {
    for (const way of ways) this.#context.cancel(this, way.endpoint);
  }

  /** One probe to each direct way, to compare round trips. */
  remeasure(now: Now): void {
    for (const way of this.#ways.direct)
      if (this.#context.mayReach(way.endpoint)) this.#once(way, this.#affordable, now);
  }

  /** The same for those that worked before, beside the one in use. */
  compare(now: Now): void {
    for (const way of this.#ways.direct) {
      const isOther = way !== this.#ways.chosen && way.rttMs !== null;
      if (isOther && this.#context.mayReach(way.endpoint)) this.check(way, now);
    }
  }

  /** One probe, to see whether a way still works. */
  check(way: Way, now: Now): void {
    this.#once(way, undefined, now);
  }

  /** Answers a Hole Punching: the sender's proof that it reaches us and is reached. */
  punched(message: MessageOf<'holePunching'>, arrival: Arrival): void {
    const { challenge } = message.options;
    const more = challenge === undefined ? {} : { echo: { value: challenge.value } };
    acknowledge(this.#context, this.#path.channel, message, arrival, more);
  }

  /** An authentic message came from there. Returns the way if it needs a proof before it can be used. */
  sighted(from: Endpoint, now: Now): Way | null {
    if (!this.#context.mayReach(from)) {
      this.#context.drop('forbidden-address', from);
      return null;
    }
    const way = this.#ways.findOrAdd(from, false);
    if (this.#ways.isProven(way, now.ms) && !way.doubted) return null;
    if (now.ms - way.triggeredAt >= TRIGGERED_GAP_MS) {
      way.triggeredAt = now.ms;
      this.check(way, now);
    }
    return way;
  }

  stop(): void {
    this.#context.cancel(this);
  }

  get #affordable(): Pace['allows'] {
    return (to, octets, now) => this.affords(to, octets, now);
  }

  #once(way: Way, allows: Pace['allows'], now: Now): void {
    const known = way.rttMs !== null;
    const pace = { tries: 1, delay: () => TRIGGERED_WAIT_MS, allows };
    this.#probe(way, pace, now, (lost) => known && noteOutcome(way, lost));
  }

  #probe(way: Way, pace: Pace, now: Now, ended: (lost: boolean) => void = () => {}): void {
    const challenge = this.#context.randomId();
    this.#context.ask(
      {
        ...pace,
        owner: this,
        channel: this.#path.channel,
        to: way.endpoint,
        from: this.#path.peerKind,
        expects: 'ack',
        request: {
          type: 'holePunching',
          id: this.#path.id,
          body: {},
          options: { challenge: { value: challenge } },
        },
        answered: (message, _, rttMs, at) => {
          if (message.options.echo?.value === challenge) {
            ended(false);
            this.#path.reach.wayProven(way, rttMs, at);
          } else this.#context.drop('unproven-address', way.endpoint);
        },
        failed: () => ended(true),
      },
      now,
    );
  }
}
