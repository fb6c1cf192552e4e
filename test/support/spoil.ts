/** Octets that are almost right: what fuzzing of decoders is made of. */

/** How often each outcome came. */
export type Tally = Map<string, number>;

/** xorshift32 (Marsaglia 2003): quick, and the same for one seed everywhere. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 1;
  }

  u32(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  below(limit: number): number {
    return this.u32() % limit;
  }
}

/** Puts one of the corpus into the buffer with one to four faults, and returns its length. */
export function spoilOne(buffer: Uint8Array, corpus: readonly Uint8Array[], random: Random): number {
  const pick = (): Uint8Array => corpus[random.below(corpus.length)]!;
  const valid = pick();
  buffer.set(valid);
  let length = valid.length;
  for (let faults = 1 + random.below(4); faults > 0; faults--) {
    const at = random.below(length + 1);
    switch (random.below(6)) {
      case 0:
        buffer[at]! ^= 1 << random.below(8);
        break;
      case 1:
        buffer[at] = random.u32();
        break;
      case 2:
        length = at;
        break;
      case 3: {
        // Octets of another datagram, from the same place.
        const other = pick().subarray(at, at + 1 + random.below(64));
        buffer.set(other, at);
        break;
      }
      case 4: {
        // Units of 8 octets inserted, as a new option would be.
        const size = Math.min(8 * (1 + random.below(3)), buffer.length - length);
        buffer.copyWithin(at + size, at, length);
        length += size;
        break;
      }
      default: {
        const size = Math.min(1 + random.below(16), length - at);
        buffer.copyWithin(at, at + size, length);
        length -= size;
      }
    }
  }
  return length;
}
