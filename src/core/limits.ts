/** Limits by key, so that nobody gets more than a share of the work (protocol section 2.4). */

import { type Endpoint, familyOf, formatAddress, parseAddress } from '../lib/ip.ts';

/** Who counts as one for limits: an IPv4 address, or an IPv6 /64, as one host may use all of it. */
export function siteOf({ address }: Endpoint): string {
  if (familyOf(address) === 4) return address;
  return formatAddress(parseAddress(address)!.fill(0, 8));
}

/** How many of something each key has at the moment, and all together. */
export class Shares {
  readonly #limit: number;
  readonly #all: number;
  readonly #taken = new Map<string, number>();
  #sum = 0;

  constructor(limit: number, all = Number.POSITIVE_INFINITY) {
    this.#limit = limit;
    this.#all = all;
  }

  /** Takes one; false if this key has all it may, or all are taken. */
  take(key: string): boolean {
    const taken = this.#taken.get(key) ?? 0;
    if (taken >= this.#limit || this.#sum >= this.#all) return false;
    this.#taken.set(key, taken + 1);
    this.#sum++;
    return true;
  }

  release(key: string): void {
    this.#sum--;
    const left = (this.#taken.get(key) ?? 0) - 1;
    if (left > 0) this.#taken.set(key, left);
    else this.#taken.delete(key);
  }
}

export type Rate = { readonly burst: number; readonly perSecond: number };

/** Keys remembered; the one not used for longest is forgotten first. */
const MAX_KEYS = 16_384;

/** A token bucket, full at first. */
export class Bucket {
  readonly #rate: Rate;
  #level: number;
  #at = 0;

  constructor(rate: Rate) {
    this.#rate = rate;
    this.#level = rate.burst;
  }

  /** Takes so many tokens; false, and none are taken, if there are fewer. */
  take(ms: number, tokens = 1): boolean {
    const { burst, perSecond } = this.#rate;
    this.#level = Math.min(burst, this.#level + ((ms - this.#at) / 1000) * perSecond);
    this.#at = ms;
    if (this.#level < tokens) return false;
    this.#level -= tokens;
    return true;
  }

  giveBack(): void {
    this.#level = Math.min(this.#rate.burst, this.#level + 1);
  }
}

/** Token buckets by key. */
export class Buckets {
  readonly #rate: Rate;
  /** In order of use. A key that is not here has a full bucket. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(rate: Rate) {
    this.#rate = rate;
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** Takes one token of this key; false if there is none. */
  take(key: string, ms: number): boolean {
    const bucket = this.#buckets.get(key) ?? new Bucket(this.#rate);
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > MAX_KEYS) this.#buckets.delete(this.#buckets.keys().next().value!);
    return bucket.take(ms);
  }

  /** Gives one token back: the work was done for somebody we know. */
  giveBack(key: string): void {
    this.#buckets.get(key)?.giveBack();
  }
}
