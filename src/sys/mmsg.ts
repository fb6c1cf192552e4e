/**
 * Many datagrams in one system call, laid out once in memory that the kernel reads and writes directly.
 * mmsghdr, 64 octets: { name 64, nameLength 32, pad, vectors 64, count 64, control 64, controlLength 64, flags 32, pad,
 * length 32, pad }. A message may hold many datagrams of one size (UDP_SEGMENT sending, UDP_GRO receiving).
 */

import { allocate, type Memory } from './memory.ts';
import { AF_INET, SOCKADDR_ROOM } from './sockaddr.ts';
import { IOVEC, setAddress, setVector, vectorAddress, vectorLength } from './vectors.ts';

export const MMSGHDR = 64;
const NAME = 0;
const NAME_LENGTH = 8;
const VECTORS = 16;
const VECTOR_COUNT = 24;
const CONTROL = 32;
const CONTROL_LENGTH = 40;
const LENGTH = 56;

const NAME_ROOM = 32;
/** cmsghdr { length 64, level 32, type 32 } with 4 octets of data, padded. */
const CMSG = 24;
/** Traffic class, then segment size, either of which may be missing. */
const CONTROL_ROOM = 2 * CMSG;
const SOL_IP = 0;
const IP_TOS = 1;
const SOL_IPV6 = 41;
const IPV6_TCLASS = 67;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;

/** What every kernel takes in one UDP_SEGMENT send; newer ones take, and hand over to neighbours on one host, 128. */
export const MAX_SEGMENTS = 64;
const MAX_OCTETS = 65_000;

const MAX_DATAGRAM = 65_535;

function setPointer(memory: Memory, at: number, address: number): void {
  memory.view.setBigUint64(at, BigInt(address), true);
}

/** Datagrams on their way out. Pieces stay where they are until the batch is sent: it only refers to them. */
export class SendBatch {
  readonly capacity: number;
  /** Messages in the batch. */
  count = 0;
  /** Which filling of the batch this is, for whoever remembers a message's number. */
  round = 0;
  readonly memory: Memory;
  readonly #vectors: number;
  readonly #names: number;
  readonly #controls: number;
  readonly #segment: Int32Array;
  readonly #octets: Int32Array;
  readonly #datagrams: Int32Array;
  readonly #pieces: Int32Array;
  readonly #open: Uint8Array;
  readonly #end: Float64Array;
  readonly #tos: Uint8Array;
  readonly #owner: Int32Array;
  readonly #failed: Int32Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#vectors = capacity * MMSGHDR;
    this.#names = this.#vectors + capacity * MAX_SEGMENTS * IOVEC;
    this.#controls = this.#names + capacity * NAME_ROOM;
    this.memory = allocate(this.#controls + capacity * CONTROL_ROOM);
    this.#segment = new Int32Array(capacity);
    this.#octets = new Int32Array(capacity);
    this.#datagrams = new Int32Array(capacity);
    this.#pieces = new Int32Array(capacity);
    this.#open = new Uint8Array(capacity);
    this.#end = new Float64Array(capacity);
    this.#tos = new Uint8Array(capacity);
    this.#owner = new Int32Array(capacity);
    this.#failed = new Int32Array(capacity);
    const { view, address } = this.memory;
    for (let i = 0; i < capacity; i++) {
      const header = i * MMSGHDR;
      setPointer(this.memory, header + NAME, address + this.#names + i * NAME_ROOM);
      setPointer(this.memory, header + VECTORS, address + this.#vectors + i * MAX_SEGMENTS * IOVEC);
      const classControl = this.#controls + i * CONTROL_ROOM;
      const control = classControl + CMSG;
      view.setUint32(classControl, 20, true);
      view.setUint32(control, 18, true);
      view.setUint32(control + 8, SOL_UDP, true);
      view.setUint32(control + 12, UDP_SEGMENT, true);
    }
  }

  /** Messages that can still be begun. */
  get room(): number {
    return this.capacity - this.count;
  }

  get full(): boolean {
    return this.count === this.capacity;
  }

  clear(): void {
    this.count = 0;
    this.round++;
  }

  /**
   * Adds `octets` octets at `address`: datagrams of `segment` octets, the last one maybe shorter, for `destination`.
   * They join `message` if they fit behind it, else a new message of the same destination is begun; the batch must not
   * be full. At most MAX_SEGMENTS datagrams at once: `unfold` has room for no more. Returns the message they are in.
   * `owner` is whatever number the caller wants back for failures.
   */
  add(
    message: number,
    destination: Uint8Array,
    owner: number,
    address: number,
    octets: number,
    segment = octets,
    tos = 0,
  ): number {
    const datagrams = octets === segment ? 1 : Math.ceil(octets / segment);
    const joined = message >= 0 && this.#tos[message] === tos && this.#fits(message, octets, segment, datagrams);
    const index = joined ? message : this.#begin(destination, owner, segment, tos);
    if (joined && this.#end[index] === address) {
      const last = this.#vectorAt(index, this.#pieces[index]! - 1) + 8;
      this.memory.view.setUint32(last, this.memory.view.getUint32(last, true) + octets, true);
    } else {
      setVector(this.memory, this.#vectorAt(index, this.#pieces[index]!), address, octets);
      this.#pieces[index]!++;
    }
    this.#end[index] = address + octets;
    this.#octets[index]! += octets;
    this.#datagrams[index]! += datagrams;
    // Only the last datagram of a message may be shorter than the others.
    this.#open[index] = octets === datagrams * this.#segment[index]! ? 1 : 0;
    return index;
  }

  #fits(message: number, octets: number, segment: number, datagrams: number): boolean {
    const size = this.#segment[message]!;
    return (
      this.#open[message] === 1 &&
      (segment === size || (datagrams === 1 && segment < size)) &&
      this.#octets[message]! + octets <= MAX_OCTETS &&
      this.#datagrams[message]! + datagrams <= MAX_SEGMENTS
    );
  }

  #begin(destination: Uint8Array, owner: number, segment: number, tos: number): number {
    const index = this.count++;
    const name = this.#names + index * NAME_ROOM;
    for (let i = 0; i < destination.length; i++) this.memory.bytes[name + i] = destination[i]!;
    this.memory.view.setUint32(index * MMSGHDR + NAME_LENGTH, destination.length, true);
    this.#segment[index] = segment;
    this.#tos[index] = tos;
    this.#octets[index] = 0;
    this.#datagrams[index] = 0;
    this.#pieces[index] = 0;
    this.#owner[index] = owner;
    this.#failed[index] = 0;
    return index;
  }

  #vectorAt(message: number, piece: number): number {
    return this.#vectors + (message * MAX_SEGMENTS + piece) * IOVEC;
  }

  /** Writes what the kernel wants to know beside name and pieces; returns the address of the message's header. */
  finish(message: number): number {
    const header = message * MMSGHDR;
    const { view } = this.memory;
    const segmented = this.#datagrams[message]! > 1;
    view.setUint32(header + VECTOR_COUNT, this.#pieces[message]!, true);
    const tos = this.#tos[message]!;
    const control = this.#controls + message * CONTROL_ROOM;
    view.setUint32(header + CONTROL_LENGTH, (segmented ? CMSG : 0) + (tos === 0 ? 0 : CMSG), true);
    setAddress(view, header + CONTROL, this.memory.address + control + (tos === 0 ? CMSG : 0));
    if (segmented) view.setUint16(control + CMSG + 16, this.#segment[message]!, true);
    if (tos !== 0) {
      const ip4 = this.family(message) === AF_INET;
      view.setUint32(control + 8, ip4 ? SOL_IP : SOL_IPV6, true);
      view.setUint32(control + 12, ip4 ? IP_TOS : IPV6_TCLASS, true);
      view.setUint32(control + 16, tos, true);
    }
    return this.memory.address + header;
  }

  destination(message: number): Uint8Array {
    const at = this.#names + message * NAME_ROOM;
    return this.memory.bytes.subarray(at, at + this.memory.view.getUint32(message * MMSGHDR + NAME_LENGTH, true));
  }

  family(message: number): number {
    return this.memory.bytes[this.#names + message * NAME_ROOM]!;
  }

  datagrams(message: number): number {
    return this.#datagrams[message]!;
  }

  /** DSCP and ECN of a message. */
  tos(message: number): number {
    return this.#tos[message]!;
  }

  owner(message: number): number {
    return this.#owner[message]!;
  }

  /** Datagrams of a message that could not be sent. */
  failed(message: number): number {
    return this.#failed[message]!;
  }

  fail(message: number, datagrams: number): void {
    this.#failed[message]! += datagrams;
  }

  /** Adds every datagram of a message to another batch, as a message of its own; that one must be empty and have room. */
  unfold(message: number, into: SendBatch): void {
    const segment = this.#segment[message]!;
    const destination = this.destination(message);
    for (let piece = 0; piece < this.#pieces[message]!; piece++) {
      const at = this.#vectorAt(message, piece);
      const address = vectorAddress(this.memory.view, at);
      const octets = vectorLength(this.memory.view, at);
      for (let done = 0; done < octets; done += segment) {
        const size = Math.min(segment, octets - done);
        into.add(-1, destination, message, address + done, size, size, this.#tos[message]!);
      }
    }
  }

  /** The size of a message's datagrams. */
  segment(message: number): number {
    return this.#segment[message]!;
  }

  /** The iovecs of a message: where they start in `memory`, and how many. */
  vectors(message: number): number {
    return this.#vectorAt(message, 0);
  }

  pieces(message: number): number {
    return this.#pieces[message]!;
  }
}

/** Room for the largest number of datagrams one message unfolds to. */
export function unfoldedBatch(): SendBatch {
  return new SendBatch(MAX_SEGMENTS);
}

/** Datagrams as they came in; they stay where they are until the next receiving. */
export class ReceiveBatch {
  readonly capacity: number;
  /** Messages that the next receiving fills: `room` of them from number `first` on. */
  first = 0;
  readonly room: number;
  readonly memory: Memory;
  readonly #headers: Memory;
  readonly #names: number;
  readonly #controls: number;

  constructor(capacity: number, room = capacity) {
    this.capacity = capacity;
    this.room = room;
    this.memory = allocate((capacity + 1) * SLOT);
    const vectors = capacity * MMSGHDR;
    this.#names = vectors + capacity * IOVEC;
    this.#controls = this.#names + capacity * NAME_ROOM;
    this.#headers = allocate(this.#controls + capacity * CONTROL_ROOM);
    const { address, view } = this.#headers;
    for (let i = 0; i < capacity; i++) {
      const header = i * MMSGHDR;
      setVector(this.#headers, vectors + i * IOVEC, this.memory.address + i * SLOT, MAX_DATAGRAM);
      setPointer(this.#headers, header + NAME, address + this.#names + i * NAME_ROOM);
      setPointer(this.#headers, header + VECTORS, address + vectors + i * IOVEC);
      view.setUint32(header + VECTOR_COUNT, 1, true);
      setPointer(this.#headers, header + CONTROL, address + this.#controls + i * CONTROL_ROOM);
    }
  }

  /** Makes the messages ready to be filled; returns the address of their headers. */
  prepare(): number {
    const { view } = this.#headers;
    for (let i = this.first; i < this.first + this.room; i++) {
      view.setUint32(i * MMSGHDR + NAME_LENGTH, SOCKADDR_ROOM, true);
      view.setUint32(i * MMSGHDR + CONTROL_LENGTH, CONTROL_ROOM, true);
    }
    return this.#headers.address + this.first * MMSGHDR;
  }

  /** Room in `memory`, behind some more of it, that no message is received in. */
  get spare(): number {
    return this.capacity * SLOT + SPARE_LEAD;
  }

  /** Where message `index` starts in `memory`. */
  start(index: number): number {
    return index * SLOT;
  }

  octets(index: number): number {
    return this.#headers.view.getUint32(index * MMSGHDR + LENGTH, true);
  }

  /** Size of the datagrams that the kernel put together in message `index`; the last one may be shorter. */
  segment(index: number): number {
    const data = this.#control(index, SOL_UDP, UDP_GRO);
    return data < 0 ? this.octets(index) : this.#headers.view.getUint32(data, true);
  }

  /** DSCP and ECN that the datagrams came with. */
  tos(index: number): number {
    const data = Math.max(this.#control(index, SOL_IP, IP_TOS), this.#control(index, SOL_IPV6, IPV6_TCLASS));
    return data < 0 ? 0 : this.#headers.view.getUint8(data);
  }

  /** Where the data of a control message is, or -1. */
  #control(index: number, level: number, type: number): number {
    const { view } = this.#headers;
    const start = this.#controls + index * CONTROL_ROOM;
    const end = start + view.getUint32(index * MMSGHDR + CONTROL_LENGTH, true);
    for (let at = start; at + 17 <= end; at += CMSG) {
      if (view.getUint32(at + 8, true) === level && view.getUint32(at + 12, true) === type) return at + 16;
    }
    return -1;
  }

  /** The sender's socket address is at this offset of `names`. */
  from(index: number): number {
    return this.#names + index * NAME_ROOM;
  }

  get names(): DataView {
    return this.#headers.view;
  }

  get nameBytes(): Uint8Array {
    return this.#headers.bytes;
  }

  /** Puts a message in by hand: what a port without a kernel does. */
  put(index: number, octets: Uint8Array, segment: number, from: Uint8Array, tos = 0): void {
    const { bytes, view } = this.#headers;
    this.memory.bytes.set(octets, this.start(index));
    bytes.set(from, this.from(index));
    view.setUint32(index * MMSGHDR + LENGTH, octets.length, true);
    const control = this.#controls + index * CONTROL_ROOM;
    view.setUint32(index * MMSGHDR + CONTROL_LENGTH, CONTROL_ROOM, true);
    view.setUint32(control + 8, SOL_IP, true);
    view.setUint32(control + 12, IP_TOS, true);
    view.setUint32(control + 16, tos, true);
    view.setUint32(control + CMSG + 8, SOL_UDP, true);
    view.setUint32(control + CMSG + 12, UDP_GRO, true);
    view.setUint32(control + CMSG + 16, segment, true);
  }
}

/** A page more than a datagram can have, so that the slots don't compete for the same cache sets. */
const SLOT = 65_536 + 4_096;
const SPARE_LEAD = 256;
