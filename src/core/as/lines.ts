/**
 * Where many wait for little: a line for each source, served in rotation. When there are too many in all, one of the longest
 * line gives way, by lot: a source that brings many stands in its own way, and who brings few is hardly ever sent off.
 */

import { type Endpoint, familyOf, formatAddress, parseAddress } from '../../lib/ip.ts';

/** A draw below `bound`. */
export type Lot = (bound: number) => number;

export class Lines<T> {
  readonly #limit: number;
  readonly #lot: Lot;
  /** In the order in which they are served. */
  readonly #lines = new Map<string, T[]>();
  #size = 0;

  constructor(limit: number, lot: Lot) {
    this.#limit = limit;
    this.#lot = lot;
  }

  get size(): number {
    return this.#size;
  }

  /** Who has to give way, the one added maybe; null = there is room for all. */
  add(source: string, item: T): T | null {
    const line = this.#lines.get(source);
    if (line === undefined) this.#lines.set(source, [item]);
    else line.push(item);
    this.#size += 1;
    if (this.#size <= this.#limit) return null;
    const most = Math.max(...[...this.#lines.values()].map(({ length }) => length));
    const longest = [...this.#lines].filter(([, { length }]) => length === most);
    const [name, waiting] = longest[this.#lot(longest.length)]!;
    const gone = waiting[this.#lot(most)]!;
    this.remove(name, gone);
    return gone;
  }

  remove(source: string, item: T): void {
    const line = this.#lines.get(source);
    const at = line?.indexOf(item) ?? -1;
    if (line === undefined || at < 0) return;
    line.splice(at, 1);
    this.#size -= 1;
    if (line.length === 0) this.#lines.delete(source);
  }

  /** The first of the line whose turn it is; null = nobody waits. */
  next(): T | null {
    for (const [source, line] of this.#lines) {
      const first = line[0]!;
      this.remove(source, first);
      // Behind all others.
      if (this.#lines.delete(source)) this.#lines.set(source, line);
      return first;
    }
    return null;
  }
}

/** Who counts as one source however many addresses it has: an IPv4 /24, an IPv6 /48, which is what a customer gets. */
export function sourceOf({ address }: Pick<Endpoint, 'address'>): string {
  const octets = parseAddress(address)!;
  return formatAddress(octets.fill(0, familyOf(address) === 4 ? 3 : 6));
}
