/**
 * Whole Ethernet frames of one interface through a packet socket (packet(7)). A virtio-net header before each frame
 * carries segmentation and checksum offloads through, so that large frames are neither cut nor mangled.
 */

import { readFileSync } from 'node:fs';
import { raise } from '../lib/errors.ts';
import { raiseErrno } from './errno.ts';
import { errno } from './ffi.ts';
import { check, libc } from './libc.ts';
import { allocate, type Memory } from './memory.ts';

const AF_PACKET = 17;
/** SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC */
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0o4000 | 0o2000000;
const SOL_PACKET = 263;
const PACKET_VNET_HDR = 15;
const PACKET_IGNORE_OUTGOING = 23;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
const ETH_P_ALL = 0x0003;
const SOCKADDR_LL = 20;
const EAGAIN = 11;
const EINTR = 4;

const RECEIVE_BUFFER = 16 << 20;
/** Room for the largest frame: virtio-net header 10, Ethernet header with a tag 18, 64 KiB of packet. */
export const MAX_FRAME = 10 + 18 + 65536;

/** The kernel's number of an interface, which sysfs tells for this network namespace. */
function interfaceIndex(name: string): number {
  try {
    return Number(readFileSync(`/sys/class/net/${name}/ifindex`, 'utf8'));
  } catch {
    return raise('SYS_NO_INTERFACE', { name });
  }
}

export class PacketSocket {
  readonly fd: number;

  constructor(interfaceName: string) {
    const index = interfaceIndex(interfaceName);
    // Protocol 0 until bound: nothing of other interfaces is received in between.
    this.fd = check(libc().socket(AF_PACKET, SOCK_RAW_NONBLOCK_CLOEXEC, 0), 'socket(AF_PACKET)', 'run as root');
    try {
      for (const option of [PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING]) {
        if (!this.#trySet(SOL_PACKET, option, 1)) raiseErrno(`setsockopt(SOL_PACKET, ${option})`);
      }
      // Past the system's limit takes real root, which a user namespace has not.
      if (!this.#trySet(SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER))
        this.#trySet(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
      const { view, address } = allocate(SOCKADDR_LL);
      view.setUint16(0, AF_PACKET, true);
      view.setUint16(2, ETH_P_ALL);
      view.setInt32(4, index, true);
      check(libc().bind(this.fd, address, SOCKADDR_LL), 'bind(AF_PACKET)');
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #trySet(level: number, option: number, value: number): boolean {
    const { view, address } = allocate(4);
    view.setInt32(0, value, true);
    return libc().setsockopt(this.fd, level, option, address, 4) === 0;
  }

  /** Reads the next frame with its virtio-net header; 0 if none is waiting. */
  receive(into: Memory): number {
    for (;;) {
      const length = libc().read(this.fd, into.address, into.bytes.length);
      if (length >= 0) return length;
      const code = errno();
      if (code === EAGAIN) return 0;
      if (code !== EINTR) raiseErrno('read(AF_PACKET)', '', code);
    }
  }

  /** Sends a frame with its virtio-net header; false if the interface did not take it. */
  send(frame: Memory, length: number): boolean {
    return libc().write(this.fd, frame.address, length) === length;
  }

  close(): void {
    libc().close(this.fd);
  }
}
