/**
 * Counters that I/O threads keep in shared memory and the main thread reads at any time. Every thread has its own row,
 * every path its own place, and each number has one writer, so that plain additions do.
 */

import type { PathTraffic } from '../lib/path.ts';
import { type DropReason, dropReasons } from '../proto/drop.ts';

/** Totals of one thread that are no drops. */
export const edgeCounters = [
  'tunReadPackets',
  'tunReadBytes',
  'tunWrittenPackets',
  'tunWrittenBytes',
  'udpReceivedDatagrams',
  'udpReceivedBytes',
  'udpSentDatagrams',
  'udpSentBytes',
  'handedOver',
  'relayedDatagrams',
  'relayedBytes',
  'tooBigSent',
] as const;
export type EdgeCounter = (typeof edgeCounters)[number];

const edgeIndex = indexOf(edgeCounters);
const dropIndex = indexOf(dropReasons);
const ROW = edgeCounters.length + dropReasons.length;

function indexOf<T extends string>(names: readonly T[]): Readonly<Record<T, number>> {
  return Object.fromEntries(names.map((name, i) => [name, i])) as Record<T, number>;
}

/** Memory for the rows of `threads` threads. */
export function tallyMemory(threads: number): SharedArrayBuffer {
  return new SharedArrayBuffer(threads * ROW * Float64Array.BYTES_PER_ELEMENT);
}

/** One thread's row. */
export class Tally {
  readonly #row: Float64Array;

  constructor(memory: SharedArrayBuffer, thread: number) {
    this.#row = new Float64Array(memory, thread * ROW * Float64Array.BYTES_PER_ELEMENT, ROW);
  }

  add(counter: EdgeCounter, amount: number): void {
    this.#row[edgeIndex[counter]]! += amount;
  }

  drop(reason: DropReason, amount = 1): void {
    this.#row[edgeCounters.length + dropIndex[reason]]! += amount;
  }
}

/** All rows, summed. */
export function readEdges(memory: SharedArrayBuffer): Record<EdgeCounter, number> {
  return Object.fromEntries(edgeCounters.map((name, i) => [name, sumColumn(memory, i)])) as Record<EdgeCounter, number>;
}

export function readDrops(memory: SharedArrayBuffer): Partial<Record<DropReason, number>> {
  const all = dropReasons.map((name, i) => [name, sumColumn(memory, edgeCounters.length + i)] as const);
  return Object.fromEntries(all.filter(([, count]) => count > 0));
}

function sumColumn(memory: SharedArrayBuffer, column: number): number {
  const cells = new Float64Array(memory);
  let sum = 0;
  for (let i = column; i < cells.length; i += ROW) sum += cells[i]!;
  return sum;
}

/** Places of the traffic counters of one path. */
export const Traffic = {
  txPackets: 0,
  txBytes: 1,
  txDropped: 2,
  txLarge: 3,
  rxPackets: 4,
  rxBytes: 5,
  rxDropped: 6,
  rxReplayed: 7,
  rxRejected: 8,
} as const satisfies Record<keyof Omit<PathTraffic, 'pathId'>, number>;
const TRAFFIC_ROW = Object.keys(Traffic).length;
/** Where the half of the receiving thread begins. */
export const TRAFFIC_RECEIVED = Traffic.rxPackets;
export const TRAFFIC_END = TRAFFIC_ROW;

/** The most paths of one data plane or relay. */
export const MAX_PATHS = 65_536;

/** Before the counters: whether the main thread waits for traffic. */
const AWAITED_ROOM = Float64Array.BYTES_PER_ELEMENT;

/** Untouched pages of it take no memory. */
export function trafficMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(AWAITED_ROOM + MAX_PATHS * TRAFFIC_ROW * Float64Array.BYTES_PER_ELEMENT);
}

/** Traffic counters of all paths, by place; as one thread or the main thread sees them. */
export class TrafficCounters {
  readonly #cells: Float64Array;
  readonly #awaited: Int32Array;
  #added = false;

  constructor(memory: SharedArrayBuffer) {
    this.#cells = new Float64Array(memory, AWAITED_ROOM);
    this.#awaited = new Int32Array(memory, 0, 1);
  }

  add(place: number, counter: number, amount: number): void {
    this.#cells[place * TRAFFIC_ROW + counter]! += amount;
    this.#added = true;
  }

  /** The main thread wants to be told of what is added from now on, once; or not any more. */
  await(wanted: boolean): void {
    Atomics.store(this.#awaited, 0, wanted ? 1 : 0);
  }

  /** After a batch, on the thread that adds: whether it is this one's to tell the main thread. */
  get isAwaited(): boolean {
    if (!this.#added) return false;
    this.#added = false;
    // Not just a look: what was added must be seen by whoever begins to wait now.
    return Atomics.exchange(this.#awaited, 0, 0) !== 0;
  }

  /** Zeroes the counters [from, to) of a place. Whoever writes them does it, as the place may have been another path's before. */
  clear(place: number, from: number, to: number): void {
    this.#cells.fill(0, place * TRAFFIC_ROW + from, place * TRAFFIC_ROW + to);
  }

  get(place: number, counter: number): number {
    return this.#cells[place * TRAFFIC_ROW + counter]!;
  }

  /** Packets that went, came or were lost. */
  packets(place: number): number {
    const at = place * TRAFFIC_ROW;
    const cells = this.#cells;
    return (
      cells[at + Traffic.txPackets]! +
      cells[at + Traffic.txDropped]! +
      cells[at + Traffic.rxPackets]! +
      cells[at + Traffic.rxDropped]!
    );
  }

  read(place: number): Omit<PathTraffic, 'pathId'> {
    return {
      txPackets: this.get(place, Traffic.txPackets),
      txBytes: this.get(place, Traffic.txBytes),
      txDropped: this.get(place, Traffic.txDropped),
      txLarge: this.get(place, Traffic.txLarge),
      rxPackets: this.get(place, Traffic.rxPackets),
      rxBytes: this.get(place, Traffic.rxBytes),
      rxDropped: this.get(place, Traffic.rxDropped),
      rxReplayed: this.get(place, Traffic.rxReplayed),
      rxRejected: this.get(place, Traffic.rxRejected),
    };
  }
}
