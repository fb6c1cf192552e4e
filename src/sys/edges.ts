/** The two edges of the data path without a kernel behind them: for warming up before real traffic, and for tests. */

import { FRAME_HEAD, type FramePort } from './frame-port.ts';
import { libc } from './libc.ts';
import { allocate, type Memory } from './memory.ts';
import type { ReceiveBatch, SendBatch } from './mmsg.ts';
import type { PacketDevice } from './tun.ts';
import type { DatagramPort } from './udp.ts';
import { IOVEC, vectorAddress, vectorLength } from './vectors.ts';

const ROOM = 1 << 17;

/** Datagrams of `segment` octets each, the last one maybe shorter, as one system call passes them. */
export type DatagramRun = {
  readonly octets: Uint8Array;
  readonly segment: number;
  readonly address: Uint8Array;
  readonly tos?: number;
};

/** Copies pieces that lie anywhere in memory. */
class Copier {
  readonly #memory: Memory = allocate(ROOM);

  read(view: DataView, at: number, count: number): Uint8Array {
    let length = 0;
    for (let i = 0; i < count; i++) {
      const octets = vectorLength(view, at + i * IOVEC);
      libc().memcpy(this.#memory.address + length, vectorAddress(view, at + i * IOVEC), octets);
      length += octets;
    }
    return this.#memory.bytes.slice(0, length);
  }

  readFlat(address: number, length: number): Uint8Array {
    libc().memcpy(this.#memory.address, address, length);
    return this.#memory.bytes.slice(0, length);
  }

  write(octets: Uint8Array, address: number): void {
    this.#memory.bytes.set(octets);
    libc().memcpy(address, this.#memory.address, octets.length);
  }
}

/** A device whose packets, with their virtio-net headers, come from and go to lists. */
export class MemoryDevice implements PacketDevice {
  readonly toRead: Uint8Array[] = [];
  readonly written: Uint8Array[] = [];
  /** The errno with which a write of this packet fails; 0 = none. */
  refuse: (packet: Uint8Array) => number = () => 0;
  readonly #copier = new Copier();
  /** iovecs written live at addresses only; one is copied here to be read. */
  readonly #list = allocate(1024 * IOVEC);

  read(address: number, room: number): number {
    const packet = this.toRead.shift();
    if (packet === undefined) return 0;
    const octets = packet.subarray(0, room);
    this.#copier.write(octets, address);
    return octets.length;
  }

  write(address: number, octets: number): number {
    return this.#take(this.#copier.readFlat(address, octets));
  }

  writeVectors(vectors: number, count: number): number {
    libc().memcpy(this.#list.address, vectors, count * IOVEC);
    return this.#take(this.#copier.read(this.#list.view, 0, count));
  }

  #take(packet: Uint8Array): number {
    const errno = this.refuse(packet);
    if (errno === 0) this.written.push(packet);
    return errno;
  }
}

/** A link whose frames, with their virtio-net headers, come from and go to lists. */
export class MemoryFrames implements FramePort {
  readonly toRead: { readonly frame: Uint8Array; readonly tag?: number; readonly tagProtocol?: number }[] = [];
  readonly written: Uint8Array[] = [];
  readonly head = new DataView(new ArrayBuffer(FRAME_HEAD));
  tag = -1;
  tagProtocol = 0;
  readonly #copier = new Copier();
  readonly #list = allocate(1024 * IOVEC);

  read(address: number, room: number): number {
    const next = this.toRead.shift();
    if (next === undefined) return -1;
    for (let i = 0; i < FRAME_HEAD; i++) this.head.setUint8(i, next.frame[i]!);
    this.tag = next.tag ?? -1;
    this.tagProtocol = next.tag === undefined ? 0 : (next.tagProtocol ?? 0x8100);
    const content = next.frame.subarray(FRAME_HEAD, FRAME_HEAD + room);
    this.#copier.write(content, address);
    return content.length;
  }

  write(vectors: number, count: number): number {
    libc().memcpy(this.#list.address, vectors, count * IOVEC);
    this.written.push(this.#copier.read(this.#list.view, 0, count));
    return 0;
  }
}

/** A port whose datagrams come from and go to lists. */
export class MemoryPort implements DatagramPort {
  readonly toReceive: DatagramRun[] = [];
  readonly sent: DatagramRun[] = [];
  /** Whether sending this fails. */
  refuse: (run: DatagramRun) => boolean = () => false;
  readonly #copier = new Copier();

  send(batch: SendBatch): number {
    let failed = 0;
    for (let i = 0; i < batch.count; i++) {
      const octets = this.#copier.read(batch.memory.view, batch.vectors(i), batch.pieces(i));
      const run = { octets, segment: batch.segment(i), address: batch.destination(i).slice(), tos: batch.tos(i) };
      if (this.refuse(run)) {
        batch.fail(i, batch.datagrams(i));
        failed += batch.datagrams(i);
      } else {
        this.sent.push(run);
      }
    }
    return failed;
  }

  receive(_socket: 0 | 1, batch: ReceiveBatch): number {
    const count = Math.min(this.toReceive.length, batch.room);
    for (const [i, run] of this.toReceive.splice(0, count).entries()) {
      batch.put(batch.first + i, run.octets, run.segment, run.address, run.tos);
    }
    return count;
  }
}
