/**
 * Closed-loop load: so many requests are always under way, so that a service never waits for work. What it uses of the
 * processor for each is what it uses at its limit, whatever else the machine does meanwhile.
 */

import { setImmediate } from 'node:timers/promises';

export type Turns = {
  readonly requests: number;
  readonly atOnce: number;
  /** Begins one request; `done` is called once. */
  readonly begin: (done: (error: string | null) => void) => void;
  /** Called all the time, for answers and retransmissions; may wait that long (ms). */
  readonly tick: (waitMs: number) => void;
};

/** Requests answered, and per second. */
export async function takeTurns({ requests, atOnce, begin, tick }: Turns): Promise<{ answered: number; rate: number }> {
  const began = performance.now();
  let begun = 0;
  let open = 0;
  let answered = 0;
  while (begun < requests || open > 0) {
    for (; open < atOnce && begun < requests; begun++) {
      open++;
      begin((error) => {
        open--;
        if (error === null) answered++;
      });
    }
    tick(1);
    await setImmediate();
  }
  return { answered, rate: (answered * 1_000) / (performance.now() - began) };
}
