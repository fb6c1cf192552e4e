/**
 * A hash table from fixed-length octet strings (PathIDs, address pairs) to small numbers, looked up straight in a packet:
 * constant time, no allocation. Open addressing with linear probing; the hash is seeded, as peers choose their PathIDs.
 */

const EMPTY = -1;
const START_CAPACITY = 64;

export class OctetMap {
  readonly #words: number;
  readonly #seed = (Math.random() * 0x1_0000_0000) | 0;
  #mask = START_CAPACITY - 1;
  #keys: Int32Array;
  #values = new Int32Array(START_CAPACITY).fill(EMPTY);
  #size = 0;

  /** `width`: octets of a key, a multiple of 4. */
  constructor(width: number) {
    this.#words = width >> 2;
    this.#keys = new Int32Array(START_CAPACITY * this.#words);
  }

  get size(): number {
    return this.#size;
  }

  /** The value of the key that stands at `at`, or -1. */
  find(view: DataView, at: number): number {
    let slot = this.#hash(view, at) & this.#mask;
    for (;;) {
      const value = this.#values[slot]!;
      if (value === EMPTY || this.#matches(slot, view, at)) return value;
      slot = (slot + 1) & this.#mask;
    }
  }

  set(key: Uint8Array, value: number): void {
    if (2 * (this.#size + 1) > this.#mask) this.#grow();
    const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
    let slot = this.#hash(view, 0) & this.#mask;
    while (this.#values[slot] !== EMPTY && !this.#matches(slot, view, 0)) slot = (slot + 1) & this.#mask;
    if (this.#values[slot] === EMPTY) this.#size++;
    this.#values[slot] = value;
    for (let i = 0; i < this.#words; i++) this.#keys[slot * this.#words + i] = view.getInt32(4 * i);
  }

  delete(key: Uint8Array): void {
    const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
    let hole = this.#hash(view, 0) & this.#mask;
    while (!this.#matches(hole, view, 0)) {
      if (this.#values[hole] === EMPTY) return;
      hole = (hole + 1) & this.#mask;
    }
    if (this.#values[hole] === EMPTY) return;
    this.#size--;
    // Entries behind the hole move up if their probing would otherwise stop at it.
    for (let slot = (hole + 1) & this.#mask; this.#values[slot] !== EMPTY; slot = (slot + 1) & this.#mask) {
      const home = this.#hashSlot(slot) & this.#mask;
      if (((slot - home) & this.#mask) < ((slot - hole) & this.#mask)) continue;
      this.#move(slot, hole);
      hole = slot;
    }
    this.#values[hole] = EMPTY;
  }

  #move(from: number, to: number): void {
    const words = this.#words;
    this.#keys.copyWithin(to * words, from * words, (from + 1) * words);
    this.#values[to] = this.#values[from]!;
  }

  #matches(slot: number, view: DataView, at: number): boolean {
    const start = slot * this.#words;
    for (let i = 0; i < this.#words; i++) if (this.#keys[start + i] !== view.getInt32(at + 4 * i)) return false;
    return true;
  }

  #hash(view: DataView, at: number): number {
    let hash = this.#seed;
    for (let i = 0; i < this.#words; i++) hash = mix(hash, view.getInt32(at + 4 * i));
    return finish(hash);
  }

  #hashSlot(slot: number): number {
    let hash = this.#seed;
    for (let i = 0; i < this.#words; i++) hash = mix(hash, this.#keys[slot * this.#words + i]!);
    return finish(hash);
  }

  #grow(): void {
    const keys = this.#keys;
    const values = this.#values;
    const capacity = 2 * (this.#mask + 1);
    const words = this.#words;
    this.#mask = capacity - 1;
    this.#keys = new Int32Array(capacity * words);
    this.#values = new Int32Array(capacity).fill(EMPTY);
    for (let old = 0; old < values.length; old++) {
      if (values[old] === EMPTY) continue;
      let hash = this.#seed;
      for (let i = 0; i < words; i++) hash = mix(hash, keys[old * words + i]!);
      let slot = finish(hash) & this.#mask;
      while (this.#values[slot] !== EMPTY) slot = (slot + 1) & this.#mask;
      this.#values[slot] = values[old]!;
      this.#keys.set(keys.subarray(old * words, (old + 1) * words), slot * words);
    }
  }
}

/** The rounds of MurmurHash3 (32 bit). */
function mix(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  const h = hash ^ k;
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(hash: number): number {
  let h = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
