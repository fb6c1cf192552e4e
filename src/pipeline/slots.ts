/** Numbered places for entries; the number of a removed entry is given out again. */
export class Slots<T> {
  readonly #entries: (T | undefined)[] = [];
  readonly #free: number[] = [];

  get(index: number): T | undefined {
    return this.#entries[index];
  }

  add(entry: T): number {
    const index = this.#free.pop() ?? this.#entries.length;
    this.#entries[index] = entry;
    return index;
  }

  remove(index: number): void {
    this.#entries[index] = undefined;
    this.#free.push(index);
  }
}
