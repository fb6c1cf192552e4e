/** Simulated time: what is due next happens next, at once. */

type Entry = { readonly at: number; readonly order: number; readonly run: () => void };

/** Unix milliseconds when a simulation begins. */
export const EPOCH = Date.UTC(2026, 0, 15);

export class Clock {
  /** Milliseconds since the beginning. */
  ms = 0;
  #order = 0;
  /** A binary heap, the earliest first; of equal times the one asked for first. */
  readonly #heap: Entry[] = [];

  get wall(): number {
    return EPOCH + this.ms;
  }

  get pending(): number {
    return this.#heap.length;
  }

  after(delay: number, run: () => void): void {
    this.at(this.ms + Math.max(0, delay), run);
  }

  at(ms: number, run: () => void): void {
    const heap = this.#heap;
    const entry = { at: Math.max(ms, this.ms), order: this.#order++, run };
    let i = heap.length;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!isBefore(entry, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = entry;
  }

  /** Runs everything due until then, or until `enough`; time stands at the last thing that happened, or at `ms`. */
  run(ms: number, enough: () => boolean = () => false): void {
    while (!enough()) {
      const first = this.#heap[0];
      if (first === undefined || first.at > ms) {
        this.ms = ms;
        return;
      }
      this.#removeFirst();
      this.ms = first.at;
      first.run();
    }
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
