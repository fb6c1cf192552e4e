/** A few named timers. Owners set and clear them at named events and learn from `due` which have run out. */
export class Timers<Name extends string> {
  readonly #at = new Map<Name, number>();
  readonly #advanced: (at: number) => void;
  #next = Number.POSITIVE_INFINITY;

  /** `advanced`: called when the first of them is due earlier than before. */
  constructor(advanced: (at: number) => void = () => {}) {
    this.#advanced = advanced;
  }

  /** When the first of them runs out (ms), Infinity if none is set. */
  get next(): number {
    return this.#next;
  }

  isSet(name: Name): boolean {
    return this.#at.has(name);
  }

  /** When it runs out (ms), Infinity if it is not set. */
  at(name: Name): number {
    return this.#at.get(name) ?? Number.POSITIVE_INFINITY;
  }

  set(name: Name, at: number): void {
    const before = this.#next;
    this.#at.set(name, at);
    this.#recompute();
    if (this.#next < before) this.#advanced(this.#next);
  }

  clear(name: Name): void {
    if (this.#at.delete(name)) this.#recompute();
  }

  clearAll(): void {
    this.#at.clear();
    this.#recompute();
  }

  /** Takes out the timers that have run out, the earliest first. */
  due(ms: number): Name[] {
    if (this.#next > ms) return [];
    const names = [...this.#at].filter(([, at]) => at <= ms).sort(([, a], [, b]) => a - b);
    for (const [name] of names) this.#at.delete(name);
    this.#recompute();
    return names.map(([name]) => name);
  }

  #recompute(): void {
    this.#next = Math.min(Number.POSITIVE_INFINITY, ...this.#at.values());
  }
}
