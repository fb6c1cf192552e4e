/**
 * Events on their way from an I/O thread to the main thread: a ring of records in shared memory. A flood fills the ring and
 * is dropped where it arrives; it costs the I/O thread one copy per datagram and no memory. Records keep their order.
 *
 *   control: [head, tail, signalled]     record, aligned to 8: length 32, kind 32, socket address 32 octets, octets …
 */

import { formatAddress } from '../lib/ip.ts';
import type { LinkEvent, PathEvent } from '../lib/path.ts';
import { Ip4, Ip6 } from '../net/packet.ts';
import { decodeSockaddr } from '../sys/sockaddr.ts';

const CAPACITY = 1 << 19;
const MASK = CAPACITY - 1;
/** Kept free of what strangers send, for the events that come from keys we hold. */
const RESERVE = 1 << 14;
const CONTROL = 64;
const HEAD = 0;
const TAIL = 1;
const SIGNALLED = 2;

const RECORD_HEADER = 8;
const ADDRESS_ROOM = 32;
const Kind = { skip: 0, datagram: 1, unrouted: 2, other: 3, frame: 4 } as const;

export function eventMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(CONTROL + CAPACITY);
}

/** The I/O thread's end. */
export class EventWriter {
  readonly #control: Int32Array;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #wake: () => void;
  #written = false;

  /** `wake` tells the main thread to look; it is called at most once until it has looked. */
  constructor(memory: SharedArrayBuffer, wake: () => void) {
    this.#control = new Int32Array(memory, 0, CONTROL / 4);
    this.#view = new DataView(memory, CONTROL);
    this.#bytes = new Uint8Array(memory, CONTROL);
    this.#wake = wake;
  }

  /** False if the ring is full; so for the others. */
  datagram(octets: Uint8Array, from: Uint8Array): boolean {
    const at = this.#reserve(Kind.datagram, ADDRESS_ROOM + octets.length, RESERVE);
    if (at < 0) return false;
    this.#bytes.set(from, at);
    this.#bytes.set(octets, at + ADDRESS_ROOM);
    return this.#commit(ADDRESS_ROOM + octets.length);
  }

  unrouted(packet: Uint8Array): boolean {
    const at = this.#reserve(Kind.unrouted, packet.length, RESERVE);
    if (at < 0) return false;
    this.#bytes.set(packet, at);
    return this.#commit(packet.length);
  }

  frame(header: Uint8Array, payload: Uint8Array): boolean {
    const length = header.length + payload.length;
    const at = this.#reserve(Kind.frame, length, RESERVE);
    if (at < 0) return false;
    this.#bytes.set(header, at);
    this.#bytes.set(payload, at + header.length);
    return this.#commit(length);
  }

  other(event: PathEvent): boolean {
    const text = Buffer.from(JSON.stringify(event));
    const at = this.#reserve(Kind.other, text.length, 0);
    if (at < 0) return false;
    this.#bytes.set(text, at);
    return this.#commit(text.length);
  }

  /** Tells the main thread if there is anything new. */
  flush(): void {
    if (!this.#written) return;
    this.#written = false;
    if (Atomics.exchange(this.#control, SIGNALLED, 1) === 0) this.#wake();
  }

  /** Where the record's content goes, or -1. */
  #reserve(kind: number, length: number, keepFree: number): number {
    const head = this.#control[HEAD]!;
    // Positions run on and wrap at 32 bits.
    const used = (head - Atomics.load(this.#control, TAIL)) | 0;
    const room = CAPACITY - keepFree - used;
    const total = sizeOf(length);
    const start = head & MASK;
    const toEnd = CAPACITY - start;
    const skipped = total > toEnd ? toEnd : 0;
    if (skipped + total > room) return -1;
    if (skipped > 0) {
      this.#view.setInt32(start, toEnd - RECORD_HEADER);
      this.#view.setInt32(start + 4, Kind.skip);
      Atomics.store(this.#control, HEAD, (head + skipped) | 0);
    }
    const at = skipped > 0 ? 0 : start;
    this.#view.setInt32(at, length);
    this.#view.setInt32(at + 4, kind);
    return at + RECORD_HEADER;
  }

  #commit(length: number): true {
    Atomics.store(this.#control, HEAD, (this.#control[HEAD]! + sizeOf(length)) | 0);
    this.#written = true;
    return true;
  }
}

/** The main thread's end. */
export class EventReader {
  readonly #control: Int32Array;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;

  constructor(memory: SharedArrayBuffer) {
    this.#control = new Int32Array(memory, 0, CONTROL / 4);
    this.#view = new DataView(memory, CONTROL);
    this.#bytes = new Uint8Array(memory, CONTROL);
  }

  /** To be called on being woken, before reading: what comes after that wakes again. */
  listen(): void {
    Atomics.store(this.#control, SIGNALLED, 0);
  }

  /** The next event, or null. */
  read(): PathEvent | LinkEvent | null {
    for (;;) {
      const tail = this.#control[TAIL]!;
      if (tail === Atomics.load(this.#control, HEAD)) return null;
      const start = tail & MASK;
      const length = this.#view.getInt32(start);
      const kind = this.#view.getInt32(start + 4);
      const at = start + RECORD_HEADER;
      const from = kind === Kind.datagram ? decodeSockaddr(this.#bytes, at) : null;
      const content = this.#bytes.slice(from === null ? at : at + ADDRESS_ROOM, at + length);
      Atomics.store(this.#control, TAIL, (tail + sizeOf(length)) | 0);
      if (from !== null) return { on: 'datagram', datagram: content, from };
      if (kind === Kind.unrouted) return unrouted(content);
      if (kind === Kind.frame) return { on: 'frame', frame: content };
      if (kind === Kind.other) return JSON.parse(Buffer.from(content).toString());
    }
  }
}

function sizeOf(length: number): number {
  return (RECORD_HEADER + length + 7) & ~7;
}

function unrouted(packet: Uint8Array): PathEvent {
  const v6 = packet[0]! >> 4 === 6;
  const length = v6 ? 16 : 4;
  const source = formatAddress(packet, v6 ? Ip6.source : Ip4.source, length);
  const destination = formatAddress(packet, v6 ? Ip6.destination : Ip4.destination, length);
  return { on: 'unrouted', packet, source, destination };
}
