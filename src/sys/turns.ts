/**
 * Whose turn it is among queues of frames: deficit round robin (Shreedhar and Varghese 1995; RFC 8290 section 4.1), so that
 * devices share the thread's time, whatever the size of their frames. A queue is served as long as it has credit; what a
 * frame takes beyond that is missing from the next turns.
 */

/** What a frame costs beside its octets, in octets that take as long: some 2 µs at 2 ns each. */
export const FRAME_COST = 1_024;
/** Credit for each turn: a few small frames. A large one is paid off while the others have theirs. */
export const QUANTUM = 8 * FRAME_COST;

export class Turns {
  readonly #credit: Int32Array;
  /** Bits: queues that may have a frame. */
  #waiting = 0;
  #turn = 0;

  /** For at most 31 queues. */
  constructor(queues: number) {
    this.#credit = new Int32Array(queues);
  }

  get isIdle(): boolean {
    return this.#waiting === 0;
  }

  /** The queue has a frame. */
  wait(queue: number): void {
    this.#waiting |= 1 << queue;
  }

  /** The queue whose turn it is; -1 if none waits. */
  next(): number {
    if (this.#waiting === 0) return -1;
    if ((this.#waiting & (this.#waiting - 1)) === 0) {
      // Who is alone owes nobody anything.
      this.#turn = 31 - Math.clz32(this.#waiting);
      this.#credit[this.#turn] = QUANTUM;
      return this.#turn;
    }
    while ((this.#waiting & (1 << this.#turn)) === 0 || this.#credit[this.#turn]! <= 0) {
      this.#turn = (this.#turn + 1) % this.#credit.length;
      if ((this.#waiting & (1 << this.#turn)) !== 0) this.#credit[this.#turn]! += QUANTUM;
    }
    return this.#turn;
  }

  /** The queue whose turn it was had a frame; returns what it cost. */
  took(octets: number): number {
    const cost = octets + FRAME_COST;
    this.#credit[this.#turn]! -= cost;
    return cost;
  }

  /** The queue whose turn it was had none. What it did not use is forfeit; it owes nothing, or it would not be its turn. */
  leave(): void {
    this.#waiting &= ~(1 << this.#turn);
    this.#credit[this.#turn] = 0;
  }
}
