/**
 * Open-loop load: requests begin at the times of a Poisson process, whether or not earlier ones are answered, and each
 * latency counts from the time its request was due. A service that stalls is seen to stall. Whoever makes the requests may
 * be late as well, in making them and in taking in the answers: that is measured too, and told apart.
 */

export type Outcome = { readonly error: string | null };

export type LoadResult = {
  readonly offered: number;
  readonly answered: number;
  /** Per second, from the first arrival to the last answer. */
  readonly rate: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
  /** 99th percentile of how much of that may be our own lateness, and of the latencies without it (ms). */
  readonly ownP99: number;
  readonly withoutP99: number;
  /** How many of each class. */
  readonly errors: Readonly<Record<string, number>>;
};

export type Arrivals = {
  readonly perSecond: number;
  readonly seconds: number;
  /** Begins one request; `done` is called once. */
  readonly begin: (done: (error: string | null) => void) => void;
  /** Called between arrivals, for answers and retransmissions; may wait that long (ms). */
  readonly tick: (waitMs: number) => void;
  /** How long the answer at hand has waited for us at most (ms); absent = nobody knows. */
  readonly waited?: () => number;
};

/** A tick that finds nothing to do waits no longer, as retransmissions may be due. */
const LONGEST_WAIT_MS = 5;
/** Requests that are not answered by then after the last arrival count as `unanswered`. */
const SETTLE_MS = 15_000;

export async function offerLoad({ perSecond, seconds, begin, tick, waited = () => 0 }: Arrivals): Promise<LoadResult> {
  const latencies: number[] = [];
  const own: number[] = [];
  const without: number[] = [];
  const errors: Record<string, number> = {};
  const began = performance.now();
  const end = began + seconds * 1_000;
  let due = began;
  let offered = 0;
  let open = 0;
  let last = began;
  const start = (at: number): void => {
    offered++;
    open++;
    const lateMs = performance.now() - at;
    begin((error) => {
      open--;
      last = performance.now();
      if (error === null) {
        const ownMs = Math.min(last - at, lateMs + waited());
        latencies.push(last - at);
        own.push(ownMs);
        without.push(last - at - ownMs);
      } else errors[error] = (errors[error] ?? 0) + 1;
    });
  };
  while (performance.now() < end + SETTLE_MS) {
    for (
      const now = performance.now();
      due <= now && due < end;
      due += (-Math.log(1 - Math.random()) * 1_000) / perSecond
    ) {
      start(due);
    }
    if (due >= end && open === 0) break;
    tick(Math.max(0, Math.min(LONGEST_WAIT_MS, due - performance.now())));
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (open > 0) errors.unanswered = open;
  const rate = (latencies.length * 1_000) / Math.max(last - began, 1);
  const [p50, p99, longest] = percentiles(latencies, [0.5, 0.99, 1]) as [number, number, number];
  const [ownP99, withoutP99] = [own, without].map((list) => percentiles(list, [0.99])[0]!) as [number, number];
  return { offered, answered: latencies.length, rate, p50, p99, longest, ownP99, withoutP99, errors };
}

function percentiles(values: number[], shares: readonly number[]): number[] {
  values.sort((a, b) => a - b);
  return shares.map((share) => values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN);
}
