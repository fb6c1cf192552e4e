/** Which paths carry packets, for the main thread: it looks at all of them as long as some do, and is told when some begin to. */

import type { PathTraffic } from '../lib/path.ts';
import type { Places } from './places.ts';
import type { TrafficCounters } from './tally.ts';

export class TrafficNews {
  readonly #counters: TrafficCounters;
  readonly #places: Places;
  readonly #known = new Map<string, number>();

  constructor(counters: TrafficCounters, places: Places) {
    this.#counters = counters;
    this.#places = places;
  }

  /** Totals of the paths by which packets went, came or were lost since the last look. If there are none, one awaits them. */
  look(): PathTraffic[] {
    // Waiting before looking: nothing falls between the two.
    this.#counters.await(true);
    const news: PathTraffic[] = [];
    for (const [pathId, place] of this.#places) {
      const packets = this.#counters.packets(place);
      if (packets === (this.#known.get(pathId) ?? 0)) continue;
      this.#known.set(pathId, packets);
      news.push({ pathId, ...this.#counters.read(place) });
    }
    if (news.length > 0) this.#counters.await(false);
    return news;
  }

  forget(pathId: string): void {
    this.#known.delete(pathId);
  }
}
