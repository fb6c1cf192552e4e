/** Keys for workers: contexts of their own for each, by slot in shared memory, so that a job names a key by a number. */

import type { Contexts, EvpAead } from '../sys/evp.ts';
import { releaseContexts } from '../sys/evp.ts';

/** Keys of one direction at most: two epochs of every path of a large node. */
const MAX_KEYS = 32_768;
/** Suite and the addresses of three contexts. */
const CELLS = 4;

/** Untouched pages of it take no memory. */
export function keyMemory(workers: number): SharedArrayBuffer {
  return new SharedArrayBuffer(MAX_KEYS * workers * CELLS * Float64Array.BYTES_PER_ELEMENT);
}

/** The I/O thread's side. */
export class KeySlots {
  readonly #cells: Float64Array;
  readonly #workers: number;
  readonly #forks: (Contexts[] | null)[] = [];
  readonly #free: number[] = [];

  constructor(memory: SharedArrayBuffer) {
    this.#cells = new Float64Array(memory);
    this.#workers = this.#cells.length / (MAX_KEYS * CELLS);
  }

  /** A slot with contexts for every worker, or -1 if all are taken. */
  add(aead: EvpAead): number {
    const slot = this.#free.pop() ?? this.#forks.length;
    if (slot >= MAX_KEYS) return -1;
    const forks = Array.from({ length: this.#workers }, () => aead.fork());
    this.#forks[slot] = forks;
    for (const [worker, { encrypt, decrypt, mac }] of forks.entries()) {
      this.#cells.set([aead.suite, encrypt ?? 0, decrypt ?? 0, mac ?? 0], (slot * this.#workers + worker) * CELLS);
    }
    return slot;
  }

  /** No job may use the key any more. */
  remove(slot: number): void {
    const forks = this.#forks[slot];
    if (forks === undefined || forks === null) return;
    for (const contexts of forks) releaseContexts(contexts);
    this.#forks[slot] = null;
    this.#free.push(slot);
  }
}

/** A worker's side. */
export class BorrowedKeys {
  readonly #cells: Float64Array;
  readonly #first: number;
  readonly #stride: number;
  readonly #make: (suite: number) => EvpAead;
  readonly #bySuite: (EvpAead | undefined)[] = [];

  /** `make` gives a key of a suite, whose own contexts are not used. */
  constructor(memory: SharedArrayBuffer, worker: number, make: (suite: number) => EvpAead) {
    this.#cells = new Float64Array(memory);
    this.#first = worker * CELLS;
    this.#stride = this.#cells.length / MAX_KEYS;
    this.#make = make;
  }

  /** The key in a slot, until the next call. */
  get(slot: number): EvpAead {
    const cells = this.#cells;
    const at = slot * this.#stride + this.#first;
    const suite = cells[at]!;
    const aead = (this.#bySuite[suite] ??= this.#make(suite));
    aead.borrow(cells[at + 1]!, cells[at + 2]!, cells[at + 3]!);
    return aead;
  }
}
