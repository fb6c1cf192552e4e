/**
 * Jobs between an I/O thread and the workers (protocol section 5.7): whole batches, described in shared memory; packets
 * stay where they were read, and nothing is copied or posted.
 *
 *   management  the I/O thread takes a free slot, writes its records and posts it: posting order is arrival order
 *   handling    any worker takes the oldest posted job, works on the packets in place and says that it is done
 *   staging     the I/O thread takes the jobs out again, strictly in the order of posting
 *
 * There are as many jobs as slots, so nothing grows. A job whose worker died is lost: staged in its turn, with nothing in it.
 *
 * There are as few slots as keep all workers busy, because jobs are one queue for everybody: what is in them has no turns
 * any more. Everything else waits where each device has a queue of its own, in the kernel (`packet-port.ts`).
 */

import { type Memory, memoryAt } from '../sys/memory.ts';

/** For each worker the job at hand, one that waits, and one that the I/O thread fills or hands on. */
const slotsFor = (workers: number): number => workers + 2;
/** Records (reads or datagrams) of one job at most. */
export const RECORDS = 256;
/** Numbers of one record; what they mean is the handling's business. */
export const FIELDS = 19;

const LONGEST_WAIT_MS = 20;

const State = { free: 0, posted: 1, done: 2, lost: 3, taken: 16 } as const;

/** Control words, before the slots': how many jobs were settled, for whoever waits for that. */
const Control = { settled: 0 } as const;
const CONTROL_CELLS = 1;
/** Per slot: state, number of records, number of the job. */
const SLOT_CELLS = 3;

export type BoardMemory = {
  /** Jobs under way at most. */
  readonly slots: number;
  readonly control: SharedArrayBuffer;
  readonly records: SharedArrayBuffer;
  /** Address and length of the memory in which the packets are, written by the I/O thread. */
  readonly area: SharedArrayBuffer;
};

export function boardMemory(workers: number): BoardMemory {
  const slots = slotsFor(workers);
  const cells = CONTROL_CELLS + slots * SLOT_CELLS;
  return {
    slots,
    control: new SharedArrayBuffer(cells * Int32Array.BYTES_PER_ELEMENT),
    records: new SharedArrayBuffer(slots * RECORDS * FIELDS * Float64Array.BYTES_PER_ELEMENT),
    area: new SharedArrayBuffer(2 * Float64Array.BYTES_PER_ELEMENT),
  };
}

const stateOf = (slot: number): number => CONTROL_CELLS + slot * SLOT_CELLS;
const countOf = (slot: number): number => stateOf(slot) + 1;
const numberOf = (slot: number): number => stateOf(slot) + 2;

/** The first cell of a record in the record memory. */
export function recordAt(slot: number, record: number): number {
  return (slot * RECORDS + record) * FIELDS;
}

/** The I/O thread's side. */
export class JobBoard {
  readonly records: Float64Array;
  /** Whether jobs are staged in the order of posting; without it as they are done, for comparison. */
  readonly ordered: boolean;
  readonly slots: number;
  readonly #control: Int32Array;
  readonly #work: Int32Array;
  /** Slots under way, the oldest first. */
  readonly #queue: Int32Array;
  #head = 0;
  #outstanding = 0;
  #number = 0;

  /** `work`: the word that all workers wait on. */
  constructor(memory: BoardMemory, work: SharedArrayBuffer, area: Memory, ordered = true) {
    new Float64Array(memory.area).set([area.address, area.bytes.length]);
    this.#control = new Int32Array(memory.control);
    this.records = new Float64Array(memory.records);
    this.#work = new Int32Array(work);
    this.ordered = ordered;
    this.slots = memory.slots;
    this.#queue = new Int32Array(memory.slots);
  }

  /** Jobs posted and not yet taken out. */
  get outstanding(): number {
    return this.#outstanding;
  }

  /** A slot for the next job, or -1 while all are under way. */
  free(): number {
    for (let slot = 0; slot < this.slots; slot++) {
      if (Atomics.load(this.#control, stateOf(slot)) === State.free) return slot;
    }
    return -1;
  }

  /** Hands a job of so many records to the workers. */
  post(slot: number, records: number): void {
    this.#control[countOf(slot)] = records;
    this.#control[numberOf(slot)] = this.#number++;
    this.#queue[(this.#head + this.#outstanding++) % this.slots] = slot;
    Atomics.store(this.#control, stateOf(slot), State.posted);
    Atomics.add(this.#work, 0, 1);
    Atomics.notify(this.#work, 0, 1);
  }

  /** The slot of the job whose turn it is to be staged, or -1 if it is still under way. */
  settled(): number {
    const candidates = this.ordered ? Math.min(1, this.#outstanding) : this.#outstanding;
    for (let i = 0; i < candidates; i++) {
      const slot = this.#queue[(this.#head + i) % this.slots]!;
      const state = Atomics.load(this.#control, stateOf(slot));
      if (state !== State.done && state !== State.lost) continue;
      // The ones before it move up behind it; in order there are none.
      for (let k = i; k > 0; k--) {
        this.#queue[(this.#head + k) % this.slots] = this.#queue[(this.#head + k - 1) % this.slots]!;
      }
      this.#head = (this.#head + 1) % this.slots;
      this.#outstanding--;
      return slot;
    }
    return -1;
  }

  isLost(slot: number): boolean {
    return Atomics.load(this.#control, stateOf(slot)) === State.lost;
  }

  count(slot: number): number {
    return this.#control[countOf(slot)]!;
  }

  /** After staging: the slot may be used again. */
  release(slot: number): void {
    Atomics.store(this.#control, stateOf(slot), State.free);
  }

  /** Waits until a job is settled, for a while: whoever waits has other things to look at too. */
  wait(): void {
    const seen = Atomics.load(this.#control, Control.settled);
    const slot = this.#queue[this.#head]!;
    const state = Atomics.load(this.#control, stateOf(slot));
    if (state === State.done || state === State.lost) return;
    Atomics.wait(this.#control, Control.settled, seen, LONGEST_WAIT_MS);
  }
}

/** A worker's side of one board, or what stands in for a dead one. */
export class JobHands {
  readonly records: Float64Array;
  readonly #shared: BoardMemory;
  #area: Memory | null = null;
  readonly #control: Int32Array;
  readonly #taken: number;

  constructor(memory: BoardMemory, worker: number) {
    this.#shared = memory;
    this.#control = new Int32Array(memory.control);
    this.records = new Float64Array(memory.records);
    this.#taken = State.taken + worker;
  }

  /** Where the packets of a job are. */
  get area(): Memory {
    if (this.#area === null) {
      const [address = 0, length = 0] = new Float64Array(this.#shared.area);
      this.#area = memoryAt(address, length);
    }
    return this.#area;
  }

  /** Takes the oldest job that waits; its slot, or -1. */
  take(): number {
    for (;;) {
      let oldest = -1;
      for (let slot = 0; slot < this.#shared.slots; slot++) {
        if (Atomics.load(this.#control, stateOf(slot)) !== State.posted) continue;
        if (oldest < 0 || this.#isBefore(slot, oldest)) oldest = slot;
      }
      if (oldest < 0) return -1;
      const before = Atomics.compareExchange(this.#control, stateOf(oldest), State.posted, this.#taken);
      if (before === State.posted) return oldest;
    }
  }

  /** Job numbers wrap. */
  #isBefore(a: number, b: number): boolean {
    return ((this.#control[numberOf(a)]! - this.#control[numberOf(b)]!) | 0) < 0;
  }

  count(slot: number): number {
    return this.#control[countOf(slot)]!;
  }

  finish(slot: number): void {
    this.#settle(slot, State.done);
  }

  /** The worker died: what it had taken is lost. */
  lose(): void {
    for (let slot = 0; slot < this.#shared.slots; slot++) {
      if (Atomics.load(this.#control, stateOf(slot)) === this.#taken) this.#settle(slot, State.lost);
    }
  }

  #settle(slot: number, state: number): void {
    Atomics.store(this.#control, stateOf(slot), state);
    Atomics.add(this.#control, Control.settled, 1);
    Atomics.notify(this.#control, Control.settled);
  }
}
