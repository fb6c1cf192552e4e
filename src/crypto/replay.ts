/**
 * Sliding window over 32-bit sequence numbers (protocol section 2.3, the bitmap of RFC 6479): which of the last `size`
 * numbers up to the highest one were accepted. Everything older counts as seen. Numbers start at 1. The state is plain
 * integers that may lie in shared memory, for one thread at a time.
 *
 *   state[0]  highest number accepted
 *   state[1…] one bit per number, at number mod size
 */

import { raise } from '../lib/errors.ts';

export class ReplayWindow {
  readonly #size: number;
  readonly #state: Int32Array;

  /** `state` is all zero for a new window; its length comes from `lengthFor`. */
  constructor(size: number, state: Int32Array = new Int32Array(ReplayWindow.lengthFor(size))) {
    if (size < 32 || (size & (size - 1)) !== 0 || state.length !== ReplayWindow.lengthFor(size)) {
      raise('BUG_ARGUMENT', { what: `a replay window of ${size} numbers in ${state.length} words` });
    }
    this.#size = size;
    this.#state = state;
  }

  static lengthFor(size: number): number {
    return 1 + (size >>> 5);
  }

  get highest(): number {
    return this.#state[0]! >>> 0;
  }

  /** Whether the number is new. Changes nothing, so that it can be asked before the tag is checked. */
  check(sequence: number): boolean {
    const highest = this.highest;
    if (sequence > highest) return true;
    if (sequence === 0 || highest - sequence >= this.#size) return false;
    return (this.#state[this.#word(sequence)]! & (1 << (sequence & 31))) === 0;
  }

  /** Marks the number as seen, after its tag was found right; false if it was not new. */
  accept(sequence: number): boolean {
    if (!this.check(sequence)) return false;
    const state = this.#state;
    const highest = this.highest;
    if (sequence > highest) {
      // The numbers skipped take over the bits of the ones that fall out of the window.
      if (sequence - highest >= this.#size) state.fill(0, 1);
      else for (let n = highest + 1; n < sequence; n++) state[this.#word(n)]! &= ~(1 << (n & 31));
      state[0] = sequence;
    }
    state[this.#word(sequence)]! |= 1 << (sequence & 31);
    return true;
  }

  /** Counts every number below this one as seen, in a window that has accepted none yet. */
  startAt(sequence: number): void {
    this.#state.fill(-1, 1);
    this.#state[0] = sequence - 1;
  }

  #word(sequence: number): number {
    return 1 + ((sequence & (this.#size - 1)) >>> 5);
  }
}
