/** What workers do with jobs: seal what an I/O thread read from the TUN, open what it received. */

import { HEADER_LENGTH } from '../proto/constants.ts';
import { CapsuleFlag } from '../proto/messages.ts';
import type { EvpAead } from '../sys/evp.ts';
import { PREFACE, sealCapsule } from './capsule.ts';
import { type BoardMemory, JobHands, recordAt } from './jobs.ts';
import { BorrowedKeys } from './keys.ts';
import { Splitter } from './segment.ts';

/** Cells of a record: one packet as read from the TUN, with its virtio-net header. */
export const SealField = {
  /** Its address. */
  key: 0,
  header: 1,
  end: 2,
  out: 3,
  sequence: 4,
  partial: 5,
  relayed: 6,
  epoch: 7,
  /** Four words. */
  id: 8,
  /** How many datagrams it becomes; the I/O thread's. */
  datagrams: 12,
  /** Result: octets of each datagram but the last, of all, and of the packets in them; 0 = could not be sealed. */
  size: 13,
  octets: 14,
  inner: 15,
  /** DSCP and ECN of the outer headers; the I/O thread's. */
  tos: 16,
  /** The longest inner packet, for flows that can be cut anywhere. */
  limit: 17,
  suite: 18,
} as const;

/** Cells of a record: one capsule. */
export const OpenField = {
  /** Its address. */
  key: 0,
  at: 1,
  body: 2,
  length: 3,
  sequence: 4,
  /** Result, -1 = refused. */
  plain: 5,
  suite: 6,
} as const;

export type PoolMemory = {
  readonly seal: BoardMemory;
  readonly open: BoardMemory;
  /** How many jobs were ever posted: what workers wait on; whether they shall end; how many ever began. */
  readonly work: SharedArrayBuffer;
};

export class Sealer {
  readonly #hands: JobHands;
  readonly #keys = new BorrowedKeys();
  readonly #id = [0, 0, 0, 0];
  #splitter: Splitter | null = null;

  constructor(board: BoardMemory, worker: number) {
    this.#hands = new JobHands(board, worker);
  }

  /** Handles one job; false if none waits. */
  handle(): boolean {
    const slot = this.#hands.take();
    if (slot < 0) return false;
    const count = this.#hands.count(slot);
    for (let i = 0; i < count; i++) this.#record(recordAt(slot, i));
    this.#keys.giveBack();
    this.#hands.finish(slot);
    return true;
  }

  #record(at: number): void {
    const { records, area } = this.#hands;
    const splitter = (this.#splitter ??= new Splitter(area.view));
    const aead = this.#keys.get(records[at + SealField.suite]!, records[at + SealField.key]!);
    const relayed = records[at + SealField.relayed] === 1;
    const epoch = records[at + SealField.epoch]!;
    const start = records[at + SealField.out]!;
    for (let i = 0; i < 4; i++) this.#id[i] = records[at + SealField.id + i]!;
    let sequence = records[at + SealField.sequence]!;
    let out = start;
    let size = 0;
    let inner = 0;
    const partial = records[at + SealField.partial] === 1;
    const limit = records[at + SealField.limit]!;
    splitter.begin(records[at + SealField.header]!, records[at + SealField.end]!, partial, limit);
    for (let ip = splitter.next(); ip >= 0; ip = splitter.next()) {
      const { length } = splitter;
      const flags = splitter.partial ? CapsuleFlag.partialChecksum : 0;
      const sealed = sealCapsule(area, aead, ip, length, flags, out, this.#id, relayed, sequence++, epoch);
      if (size === 0) size = sealed;
      out += sealed;
      inner += length;
    }
    records[at + SealField.size] = size;
    records[at + SealField.octets] = out - start;
    records[at + SealField.inner] = inner;
  }
}

/** The most octets that the datagrams of one record can take. */
export function sealedBound(datagrams: number, largest: number, aead: EvpAead): number {
  return datagrams * (HEADER_LENGTH + aead.sealedSize(PREFACE + largest));
}

export class Opener {
  readonly #hands: JobHands;
  readonly #keys = new BorrowedKeys();

  constructor(board: BoardMemory, worker: number) {
    this.#hands = new JobHands(board, worker);
  }

  handle(): boolean {
    const slot = this.#hands.take();
    if (slot < 0) return false;
    const { records, area } = this.#hands;
    const count = this.#hands.count(slot);
    for (let i = 0; i < count; i++) {
      const at = recordAt(slot, i);
      const aead = this.#keys.get(records[at + OpenField.suite]!, records[at + OpenField.key]!);
      const capsule = area.address + records[at + OpenField.at]!;
      const body = records[at + OpenField.body]!;
      const length = records[at + OpenField.length]!;
      records[at + OpenField.plain] = aead.openAt(capsule, body, length, records[at + OpenField.sequence]!);
    }
    this.#keys.giveBack();
    this.#hands.finish(slot);
    return true;
  }
}
