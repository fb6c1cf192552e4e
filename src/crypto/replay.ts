/**
 * Sliding window over 32-bit sequence numbers (protocol section 2.3, the bitmap of RFC 6479): which of the last `size`
 * numbers up to the highest one were accepted. Everything older counts as seen. Numbers start at 1. As long as none was
 * skipped the highest one says it all, and the bitmap, two kibibytes for each of ten thousand paths, is not made.
 */

import { raise } from '../lib/errors.ts';

export class ReplayWindow {
  readonly #size: number;
  /** As a signed number: others above 2^31 are objects. */
  #highest = 0;
  /** One bit per number, at number mod size; null = all up to the highest were seen. */
  #seen: Int32Array | null = null;

  constructor(size: number) {
    if (size < 32 || (size & (size - 1)) !== 0) raise('BUG_ARGUMENT', { what: `a replay window of ${size} numbers` });
    this.#size = size;
  }

  get highest(): number {
    return this.#highest >>> 0;
  }

  /** Whether the number is new. Changes nothing, so that it can be asked before the tag is checked. */
  check(sequence: number): boolean {
    const highest = this.highest;
    if (sequence > highest) return true;
    if (this.#seen === null || highest - sequence >= this.#size) return false;
    return (this.#seen[this.#word(sequence)]! & (1 << (sequence & 31))) === 0;
  }

  /** Marks the number as seen, after its tag was found right; false if it was not new. */
  accept(sequence: number): boolean {
    if (!this.check(sequence)) return false;
    const highest = this.highest;
    if (sequence > highest) {
      if (sequence - highest > 1) this.#skip(highest + 1, sequence);
      this.#highest = sequence | 0;
    }
    if (this.#seen !== null) this.#seen[this.#word(sequence)]! |= 1 << (sequence & 31);
    return true;
  }

  /** Counts every number below this one as seen, in a window that has accepted none yet. */
  startAt(sequence: number): void {
    this.#highest = (sequence - 1) | 0;
  }

  /** Numbers that may still come take over the bits of the ones that fall out of the window. */
  #skip(from: number, end: number): void {
    const seen = (this.#seen ??= new Int32Array(this.#size >>> 5).fill(-1));
    if (end - from >= this.#size) seen.fill(0);
    else for (let n = from; n < end; n++) seen[this.#word(n)]! &= ~(1 << (n & 31));
  }

  #word(sequence: number): number {
    return (sequence & (this.#size - 1)) >>> 5;
  }
}
