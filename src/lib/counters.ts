/** Upper bounds of a histogram's buckets (ms): a few packets' time up to the longest anything waits. */
export const TIME_BOUNDS_MS = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000] as const;

/** How long something took, many times: `buckets[i]` of them at most `TIME_BOUNDS_MS[i]`, the last one any time. */
export type Times = { readonly buckets: readonly number[]; readonly count: number; readonly sumMs: number };

type MutableTimes = { buckets: number[]; count: number; sumMs: number };

/** Named event counters. Every drop reason is one, so that nothing disappears without a trace. */
export class Counters {
  readonly #values = new Map<string, number>();
  readonly #times = new Map<string, MutableTimes>();

  add(name: string, amount = 1): void {
    this.#values.set(name, (this.#values.get(name) ?? 0) + amount);
  }

  /** One event of this name took so long. */
  time(name: string, ms: number): void {
    let times = this.#times.get(name);
    if (times === undefined) {
      times = { buckets: new Array<number>(TIME_BOUNDS_MS.length + 1).fill(0), count: 0, sumMs: 0 };
      this.#times.set(name, times);
    }
    const fitting = TIME_BOUNDS_MS.findIndex((bound) => ms <= bound);
    for (let i = fitting < 0 ? TIME_BOUNDS_MS.length : fitting; i < times.buckets.length; i++) times.buckets[i]!++;
    times.count += 1;
    times.sumMs += ms;
  }

  get(name: string): number {
    return this.#values.get(name) ?? 0;
  }

  /** All counters by name, sorted. */
  snapshot(): Record<string, number> {
    return Object.fromEntries([...this.#values].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** All histograms by name. */
  times(): Record<string, Times> {
    return Object.fromEntries(this.#times);
  }
}
