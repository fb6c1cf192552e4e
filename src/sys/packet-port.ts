/** A frame port on a packet socket: the kernel's virtio-net header before each frame, its tag beside it. */

import { raiseErrno } from './errno.ts';
import { errno } from './ffi.ts';
import { FRAME_HEAD, type FramePort } from './frame-port.ts';
import { libc } from './libc.ts';
import { allocate } from './memory.ts';
import { MAX_FRAME, PACKET_AUXDATA, SOL_PACKET } from './packet.ts';
import { Poller } from './poll.ts';
import { Turns } from './turns.ts';
import { IOVEC, setAddress, setVector } from './vectors.ts';

const TAG_PROTOCOL = 0x8100;

/** Offsets of a struct mmsghdr and of what it points to, in one piece of memory. */
const MMSGHDR = 64;
const At = { vectors: 16, vectorCount: 24, control: 32, controlLength: 40, length: 56 } as const;
const HEAD = MMSGHDR + 2 * IOVEC;
const CONTROL = HEAD + 32;
/** cmsghdr 16 octets, tpacket_auxdata 20, padded. */
const CONTROL_ROOM = 40;
/** tpacket_auxdata behind its cmsghdr: status 32, length 32, captured 32, mac 16, net 16, tag 16, tag protocol 16. */
const Auxiliary = { level: 8, type: 12, status: 16, tag: 32, tagProtocol: 34 } as const;
const STATUS_TAG_VALID = 0x10;
const STATUS_TAG_PROTOCOL_VALID = 0x40;

const EINTR = 4;
const EAGAIN = 11;
const EINVAL = 22;
const ENETDOWN = 100;

/** One thread's use of an open port. */
export class PacketPort implements FramePort {
  readonly head: DataView;
  tag = -1;
  tagProtocol = 0;
  readonly #fd: number;
  readonly #memory = allocate(CONTROL + CONTROL_ROOM);

  constructor(fd: number) {
    this.#fd = fd;
    const { view, address, bytes } = this.#memory;
    this.head = new DataView(bytes.buffer, bytes.byteOffset + HEAD, FRAME_HEAD);
    setAddress(view, At.vectors, address + MMSGHDR);
    view.setUint32(At.vectorCount, 2, true);
    setAddress(view, At.control, address + CONTROL);
    setVector(this.#memory, MMSGHDR, address + HEAD, FRAME_HEAD);
  }

  read(into: number, room: number): number {
    const { view, address } = this.#memory;
    setVector(this.#memory, MMSGHDR + IOVEC, into, room);
    view.setUint32(At.controlLength, CONTROL_ROOM, true);
    if (libc().recvmmsg(this.#fd, address, 1, 0, 0) !== 1) {
      const code = errno();
      // ENETDOWN: the interface went down, which a monitor of links tells.
      // EINVAL: the kernel dropped a frame whose kind of segmentation virtio-net has no name for, as any guest at a tap may
      // send it (packet_rcv_vnet).
      return [EAGAIN, EINTR, ENETDOWN, EINVAL].includes(code) ? -1 : raiseErrno('reading frames', '', code);
    }
    this.#readTag();
    return Math.max(0, view.getUint32(At.length, true) - FRAME_HEAD);
  }

  #readTag(): void {
    const { view } = this.#memory;
    const ours =
      view.getUint32(At.controlLength, true) > 0 &&
      view.getUint32(CONTROL + Auxiliary.level, true) === SOL_PACKET &&
      view.getUint32(CONTROL + Auxiliary.type, true) === PACKET_AUXDATA;
    const status = ours ? view.getUint32(CONTROL + Auxiliary.status, true) : 0;
    const tagged = (status & STATUS_TAG_VALID) !== 0;
    this.tag = tagged ? view.getUint16(CONTROL + Auxiliary.tag, true) : -1;
    const known = (status & STATUS_TAG_PROTOCOL_VALID) !== 0;
    this.tagProtocol = !tagged ? 0 : known ? view.getUint16(CONTROL + Auxiliary.tagProtocol, true) : TAG_PROTOCOL;
  }

  write(vectors: number, count: number): number {
    return libc().writev(this.#fd, vectors, count) < 0 ? errno() : 0;
  }
}

/** The cost of frames after which the other queues are looked at again: a look takes as long as some 1,000 octets. */
const LOOK_AFTER = 8 * MAX_FRAME;

/** The queues of one interface in turn: a device that floods keeps nobody waiting but those in its own. */
export class PacketQueues implements FramePort {
  readonly #ports: readonly PacketPort[];
  readonly #poller: Poller;
  readonly #turns: Turns;
  #untilLook = 0;
  #current: PacketPort;

  constructor(fds: readonly [number, ...number[]]) {
    const [first, ...others] = fds;
    this.#current = new PacketPort(first);
    this.#ports = [this.#current, ...others.map((fd) => new PacketPort(fd))];
    this.#poller = new Poller(fds);
    this.#turns = new Turns(fds.length);
  }

  get head(): DataView {
    return this.#current.head;
  }

  get tag(): number {
    return this.#current.tag;
  }

  get tagProtocol(): number {
    return this.#current.tagProtocol;
  }

  read(into: number, room: number): number {
    const turns = this.#turns;
    if (turns.isIdle || this.#untilLook <= 0) this.#look();
    for (let queue = turns.next(); queue >= 0; queue = turns.next()) {
      this.#current = this.#ports[queue]!;
      const octets = this.#current.read(into, room);
      if (octets < 0) turns.leave();
      else {
        this.#untilLook -= turns.took(octets);
        return octets;
      }
    }
    return -1;
  }

  #look(): void {
    this.#untilLook = LOOK_AFTER;
    this.#poller.wait(0);
    for (let i = 0; i < this.#ports.length; i++) if (this.#poller.ready(i)) this.#turns.wait(i);
  }

  write(vectors: number, count: number): number {
    return this.#ports[0]!.write(vectors, count);
  }
}
