/** Wants to be called by then. */
export type Sleeper = { wake(at: number): void };

type Timer<Name> = { readonly name: Name; readonly at: number; after: Timer<Name> | null };

/**
 * A few named timers. Owners set and clear them at named events and learn from `due` which have run out. A list in that
 * order: there are thousands of owners, most of which have set none.
 */
export class Timers<Name extends string> {
  /** Called when the first of them is due earlier than before. */
  readonly #owner: Sleeper | null;
  #first: Timer<Name> | null = null;

  constructor(owner: Sleeper | null = null) {
    this.#owner = owner;
  }

  /** When the first of them runs out (ms), Infinity if none is set. */
  get next(): number {
    return this.#first?.at ?? Number.POSITIVE_INFINITY;
  }

  isSet(name: Name): boolean {
    return this.at(name) !== Number.POSITIVE_INFINITY;
  }

  /** When it runs out (ms), Infinity if it is not set. */
  at(name: Name): number {
    for (let timer = this.#first; timer !== null; timer = timer.after) if (timer.name === name) return timer.at;
    return Number.POSITIVE_INFINITY;
  }

  set(name: Name, at: number): void {
    const before = this.next;
    this.clear(name);
    let last: Timer<Name> | null = null;
    let after = this.#first;
    for (; after !== null && after.at <= at; after = after.after) last = after;
    this.#link(last, { name, at, after });
    if (at < before) this.#owner?.wake(at);
  }

  clear(name: Name): void {
    let last: Timer<Name> | null = null;
    for (let timer = this.#first; timer !== null; last = timer, timer = timer.after) {
      if (timer.name !== name) continue;
      this.#link(last, timer.after);
      return;
    }
  }

  clearAll(): void {
    this.#first = null;
  }

  /** Takes out the timers that have run out, the earliest first. */
  due(ms: number): Name[] {
    const names: Name[] = [];
    for (; this.#first !== null && this.#first.at <= ms; this.#first = this.#first.after) names.push(this.#first.name);
    return names;
  }

  #link(before: Timer<Name> | null, timer: Timer<Name> | null): void {
    if (before === null) this.#first = timer;
    else before.after = timer;
  }
}
