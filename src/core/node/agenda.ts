/** Who wants to be called when, for many: a binary heap. Being called too early does no harm, so entries are never moved. */
export class Agenda<T> {
  readonly #heap: { readonly at: number; readonly item: T }[] = [];
  readonly #at = new Map<T, number>();

  /** Calls `item` at this time (ms) at the latest. */
  wake(item: T, at: number): void {
    if (at >= (this.#at.get(item) ?? Number.POSITIVE_INFINITY)) return;
    this.#at.set(item, at);
    const heap = this.#heap;
    let i = heap.push({ at, item }) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (heap[parent]!.at <= heap[i]!.at) break;
      [heap[parent], heap[i]] = [heap[i]!, heap[parent]!];
      i = parent;
    }
  }

  forget(item: T): void {
    this.#at.delete(item);
  }

  /** When the first one is due (ms), Infinity if none is. */
  get next(): number {
    this.#skipStale();
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  /** Takes out one that is due; undefined if none is. */
  due(ms: number): T | undefined {
    this.#skipStale();
    const first = this.#heap[0];
    if (first === undefined || first.at > ms) return undefined;
    this.#at.delete(first.item);
    this.#pop();
    return first.item;
  }

  #skipStale(): void {
    for (let first = this.#heap[0]; first !== undefined; first = this.#heap[0]) {
      if (this.#at.get(first.item) === first.at) return;
      this.#pop();
    }
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    heap[0] = last;
    for (let i = 0; ; ) {
      const [left, right] = [2 * i + 1, 2 * i + 2];
      let least = i;
      if (left < heap.length && heap[left]!.at < heap[least]!.at) least = left;
      if (right < heap.length && heap[right]!.at < heap[least]!.at) least = right;
      if (least === i) return;
      [heap[least], heap[i]] = [heap[i]!, heap[least]!];
      i = least;
    }
  }
}
