/**
 * Where a thread's keys are: in memory that never moves, so that nothing of a key is left anywhere once it is overwritten.
 * Their addresses name them, also to other threads.
 */

import { allocate, type Memory } from './memory.ts';

/** Room of one key, a line of the processor's cache: cbc-md5 has two halves, the others' second is empty. */
export const KEY_ROOM = 64;
const CHUNK = 65_536;

export class KeyMemory {
  readonly #chunks: Memory[] = [];
  readonly #free: number[] = [];
  #taken = CHUNK;

  /** Where a copy of the key now is. */
  keep(key: Uint8Array): number {
    const address = this.#free.pop() ?? this.#next();
    this.#room(address).set(key);
    return address;
  }

  /** Overwrites a key; its room may be another's. */
  forget(address: number): void {
    this.#room(address).fill(0);
    this.#free.push(address);
  }

  #next(): number {
    if (this.#taken === CHUNK) {
      this.#chunks.push(allocate(CHUNK));
      this.#taken = 0;
    }
    const address = this.#chunks.at(-1)!.address + this.#taken;
    this.#taken += KEY_ROOM;
    return address;
  }

  #room(address: number): Uint8Array {
    const chunk = this.#chunks.find((memory) => address >= memory.address && address < memory.address + CHUNK)!;
    return chunk.bytes.subarray(address - chunk.address, address - chunk.address + KEY_ROOM);
  }
}
