/** Gives every path a place for its counters in shared memory, on the main thread. */

import { raise } from '../lib/errors.ts';
import { MAX_PATHS } from './tally.ts';

export class Places {
  readonly #places = new Map<string, number>();
  readonly #free: number[] = [];

  /** The path's place, a new one if it has none. */
  take(pathId: string): number {
    const known = this.#places.get(pathId);
    if (known !== undefined) return known;
    const place = this.#free.pop() ?? this.#places.size;
    if (place >= MAX_PATHS) raise('SYS_TOO_MANY_PATHS', { limit: MAX_PATHS });
    this.#places.set(pathId, place);
    return place;
  }

  release(pathId: string): void {
    const place = this.#places.get(pathId);
    if (place === undefined) return;
    this.#places.delete(pathId);
    this.#free.push(place);
  }

  [Symbol.iterator](): Iterator<[string, number]> {
    return this.#places[Symbol.iterator]();
  }
}
