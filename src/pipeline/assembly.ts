/**
 * An inner packet that came in parts (protocol section 3, capsule flags): capsules of consecutive Sequence Numbers, so that
 * number of the capsule less number of the part names the packet. One packet is put together at a time: parts follow one
 * another closely, and what is lost is lost as a whole.
 */

import { Ecn } from '../net/packet.ts';

/** The longest packet. */
const LONGEST = 9_216;

export class Assembly {
  /** The packet once it is whole, from the start. */
  readonly bytes = new Uint8Array(2 * LONGEST);
  /** Marked if any part was. */
  ecn = 0;
  #key: object | null = null;
  #first = -1;
  #count = 0;
  #seen = 0;
  /** Octets of every part but the last. */
  #size = 0;
  #tail = 0;

  /**
   * Takes a part opened under `key`. The length of the packet once it is whole, 0 before that, -1 if the part does not fit
   * the others.
   */
  add(key: object, sequence: number, number: number, count: number, part: Uint8Array, ecn: number): number {
    if (count < 2 || number >= count) return -1;
    const first = sequence - number;
    if (this.#key !== key || this.#first !== first || this.#count !== count) {
      this.#key = key;
      this.#first = first;
      this.#count = count;
      this.#seen = 0;
      this.#size = 0;
      this.ecn = ecn;
    }
    if (number === count - 1) {
      // Its place depends on the size of the others: it waits at the far end.
      if (part.length > LONGEST) return -1;
      this.#tail = part.length;
      this.bytes.set(part, this.bytes.length - part.length);
    } else {
      if (this.#size === 0) this.#size = part.length;
      const at = number * this.#size;
      if (part.length !== this.#size || at + part.length > LONGEST) return -1;
      this.bytes.set(part, at);
    }
    this.#seen |= 1 << number;
    if (ecn === Ecn.ce) this.ecn = ecn;
    return this.#seen === (1 << count) - 1 ? this.#join() : 0;
  }

  #join(): number {
    // What comes again begins another packet, which will not become whole.
    this.#key = null;
    const at = (this.#count - 1) * this.#size;
    if (this.#tail > this.#size || at + this.#tail > LONGEST) return -1;
    this.bytes.copyWithin(at, this.bytes.length - this.#tail);
    return at + this.#tail;
  }
}
