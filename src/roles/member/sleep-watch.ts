/** Notices that the process was stopped, or the whole machine suspended: it does not see time go by then. */

import { readClock } from '../../sys/clock.ts';

/** Who looks at the clock so often, and finds that so much time went by, was away (ms). */
const LOOK_MS = 1_000;
const AWAY_MS = 5_000;

export class SleepWatch {
  readonly #woke: (sleptMs: number) => void;
  readonly #timer: NodeJS.Timeout;
  #lookedMs = readClock().ms;

  constructor(woke: (sleptMs: number) => void) {
    this.#woke = woke;
    this.#timer = setInterval(() => this.look(), LOOK_MS);
  }

  /** For who is awake anyway. */
  look(): void {
    const { ms } = readClock();
    const sinceMs = ms - this.#lookedMs;
    this.#lookedMs = ms;
    if (sinceMs > AWAY_MS) this.#woke(sinceMs);
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
