/** Token buckets by key, so that nobody gets more than a share of the work (protocol section 2.4). */

export type Rate = { readonly burst: number; readonly perSecond: number };

/** Keys remembered; the one not used for longest is forgotten first. */
const MAX_KEYS = 16_384;

export class Buckets {
  readonly #rate: Rate;
  /** In order of use. A key that is not here has a full bucket. */
  readonly #buckets = new Map<string, { level: number; at: number }>();

  constructor(rate: Rate) {
    this.#rate = rate;
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** Takes one token of this key; false if there is none. */
  take(key: string, ms: number): boolean {
    const { burst, perSecond } = this.#rate;
    const bucket = this.#buckets.get(key) ?? { level: burst, at: ms };
    const level = Math.min(burst, bucket.level + ((ms - bucket.at) / 1000) * perSecond);
    this.#buckets.delete(key);
    this.#buckets.set(key, { level: level < 1 ? level : level - 1, at: ms });
    if (this.#buckets.size > MAX_KEYS) this.#buckets.delete(this.#buckets.keys().next().value!);
    return level >= 1;
  }

  /** Gives one token back: the work was done for somebody we know. */
  giveBack(key: string): void {
    const bucket = this.#buckets.get(key);
    if (bucket !== undefined) bucket.level = Math.min(this.#rate.burst, bucket.level + 1);
  }
}
