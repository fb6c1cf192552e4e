/**
 * What goes to addresses that have proven nothing, for the sake of one peer. Whoever is a member of the network can name any
 * address as its own: so once what a connection takes at its beginning is spent, there is no more for it than three times
 * what came from that peer (protocol section 2.3), and never more than a trickle.
 */

import { Bucket } from '../limits.ts';

/** Octets: twelve probes of sixteen candidates, and a Tunnel Request with all its repetitions. */
const PACE = { burst: 24_000, perSecond: 2_000 };
const FACTOR = 3;
/** Octets of a Route Direction: the answer to our own wish for a path. */
const WISH = 800;

export class ProbeBudget {
  readonly #pace = new Bucket(PACE);
  /** What may be sent for what came. */
  #earned = PACE.burst;

  /** So many authentic octets came from the peer. */
  earn(octets: number): void {
    this.#earned = Math.min(PACE.burst, this.#earned + FACTOR * octets);
  }

  /** It is we who want a path. */
  wish(): void {
    this.earn(WISH);
  }

  /** Whether so many octets may go out now. */
  take(octets: number, ms: number): boolean {
    if (octets > this.#earned || !this.#pace.take(ms, octets)) return false;
    this.#earned -= octets;
    return true;
  }
}
