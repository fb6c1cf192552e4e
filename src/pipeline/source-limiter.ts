/**
 * How much signalling one source may hand over to the main thread, whose work on a datagram costs far more than receiving
 * it: a token bucket per source, a /64 counting as one (RFC 4291 section 2.5.1). Sources share buckets by a seeded hash, so
 * that a flood takes a fixed amount of memory, and as a rule nobody else's bucket.
 */

import { AF_INET } from '../sys/sockaddr.ts';

const BUCKETS = 4_096;

export type SourceLimit = {
  readonly perSecond: number;
  /** Datagrams at once, after a quiet time. */
  readonly burst: number;
};

export class SourceLimiter {
  readonly #limit: SourceLimit;
  readonly #tokens: Float64Array;
  readonly #filledAt = new Float64Array(BUCKETS);
  readonly #seed = (Math.random() * 0x1_0000_0000) | 0;

  constructor(limit: SourceLimit) {
    this.#limit = limit;
    this.#tokens = new Float64Array(BUCKETS).fill(limit.burst);
  }

  /** Whether a datagram from the socket address at `from` may pass; `now` in monotonic milliseconds. */
  admit(names: DataView, from: number, now: number): boolean {
    const four = names.getUint8(from) === AF_INET;
    return four
      ? this.take(names.getInt32(from + 4), 0, now)
      : this.take(Math.imul(names.getInt32(from + 8), 0x9e3779b1), names.getInt32(from + 12), now);
  }

  /** The same for a source by two words. */
  take(first: number, second: number, now: number): boolean {
    const bucket = this.#bucketOf(first ^ second);
    const earned = ((now - this.#filledAt[bucket]!) * this.#limit.perSecond) / 1000;
    const tokens = Math.min(this.#limit.burst, this.#tokens[bucket]! + earned);
    this.#filledAt[bucket] = now;
    this.#tokens[bucket] = tokens < 1 ? tokens : tokens - 1;
    return tokens >= 1;
  }

  #bucketOf(source: number): number {
    const hash = Math.imul(source ^ this.#seed, 0x85ebca6b);
    return Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35) >>> 20;
  }
}

/** What all devices of a link that are in, all others together, and one of them by its MAC address, may hand over. */
const LINK: SourceLimit = { perSecond: 2_000, burst: 1_000 };
const DEVICE: SourceLimit = { perSecond: 50, burst: 100 };

/** The same for frames of an inner link, where a device can take as many MAC addresses as it likes. */
export class FrameLimiter {
  readonly #hosts = new SourceLimiter(LINK);
  readonly #others = new SourceLimiter(LINK);
  readonly #devices = new SourceLimiter(DEVICE);

  /** `isHost`: a flood by all others leaves it its share. */
  admit(macHigh: number, macLow: number, isHost: boolean, now: number): boolean {
    const link = isHost ? this.#hosts : this.#others;
    return this.#devices.take(Math.imul(macHigh, 0x9e3779b1), macLow, now) && link.take(0, 0, now);
  }
}
