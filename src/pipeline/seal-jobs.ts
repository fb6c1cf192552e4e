/** The sealing jobs of the way out: reads gathered in a job's own memory, and the capsules of finished ones in their turn. */

import type { Memory } from '../sys/memory.ts';
import { SealField } from './handling.ts';
import { type BoardMemory, JobBoard, RECORDS, recordAt } from './jobs.ts';

/** Two of the largest reads, and what they become in the smallest segments that TCP uses. */
const OUT_ROOM = 512 * 1024;

/** What a pool gives an I/O thread: its board and the word that wakes the workers. */
export type PoolSide = { readonly board: BoardMemory; readonly work: SharedArrayBuffer; readonly ordered: boolean };

export class SealJobs<Owner> {
  readonly board: JobBoard;
  /** Where the next read of the job begins. */
  readAt = 0;
  readonly #start: number;
  readonly #readRoom: number;
  readonly #owners: Owner[][];
  #slot = -1;
  #outAt = 0;
  #outEnd = 0;
  #readEnd = 0;
  #count = 0;

  /** `start`: where in `area` the jobs' memory begins. */
  constructor(side: PoolSide, area: Memory, start: number, readRoom: number) {
    this.board = new JobBoard(side.board, side.work, area, side.ordered);
    this.#start = start;
    this.#readRoom = readRoom;
    this.#owners = Array.from({ length: side.board.slots }, () => []);
  }

  /** Octets that the jobs of all slots need. */
  static room({ board }: PoolSide, readRoom: number): number {
    return board.slots * (2 * readRoom + OUT_ROOM);
  }

  /** Begins a job; false while all slots are under way. */
  begin(): boolean {
    this.#slot = this.board.free();
    if (this.#slot < 0) return false;
    const jobRoom = 2 * this.#readRoom + OUT_ROOM;
    this.readAt = this.#start + this.#slot * jobRoom;
    this.#readEnd = this.readAt + 2 * this.#readRoom;
    this.#outAt = this.#readEnd;
    this.#outEnd = this.#outAt + OUT_ROOM;
    this.#count = 0;
    return true;
  }

  /** Whether one more read fits in. */
  get hasRoom(): boolean {
    return this.#count < RECORDS && this.readAt + this.#readRoom <= this.#readEnd;
  }

  /** Whether capsules of so many octets fit behind what the job already has. */
  fits(octets: number): boolean {
    return this.#outAt + octets <= this.#outEnd;
  }

  /** Adds the read that ends at `end`; returns where its record begins, for the rest of the fields. */
  add(owner: Owner, end: number, bound: number): number {
    const { records } = this.board;
    const at = recordAt(this.#slot, this.#count);
    this.#owners[this.#slot]![this.#count++] = owner;
    records[at + SealField.header] = this.readAt;
    records[at + SealField.end] = end;
    records[at + SealField.out] = this.#outAt;
    this.#outAt += bound;
    // The next packet's preface is written before it.
    this.readAt = (end + 64) & ~7;
    return at;
  }

  post(): void {
    if (this.#count > 0) this.board.post(this.#slot, this.#count);
    this.#count = 0;
  }

  owner(slot: number, record: number): Owner {
    return this.#owners[slot]![record]!;
  }
}
