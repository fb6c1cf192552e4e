/**
 * Whole Ethernet frames of one interface through a packet socket (packet(7)). A virtio-net header before each frame
 * carries segmentation and checksum offloads through, so that large frames are neither cut nor mangled.
 */

import { readFileSync } from 'node:fs';
import { raise } from '../lib/errors.ts';
import type { Mac } from '../lib/mac.ts';
import { raiseErrno } from './errno.ts';
import { errno } from './ffi.ts';
import { check, libc } from './libc.ts';
import { allocate, type Memory } from './memory.ts';
import { type FilterProgram, incoming, programMemory, rejectAll } from './packet-filter.ts';
import { SOL_SOCKET, setOption, setReceiveBuffer } from './socket-option.ts';

const AF_PACKET = 17;
/** SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC */
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0o4000 | 0o2000000;
export const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
export const PACKET_AUXDATA = 8;
const PACKET_VNET_HDR = 15;
const PACKET_FANOUT = 18;
const PACKET_FANOUT_DATA = 22;
const PACKET_IGNORE_OUTGOING = 23;
const PACKET_MR_ALLMULTI = 2;
/** PACKET_FANOUT_CBPF: a program chooses the socket. */
const FANOUT_PROGRAM = 6;
/** PACKET_FANOUT_FLAG_UNIQUEID, for the first one, and _IGNORE_OUTGOING, which kernels before 6.2 pass over. */
const Fanout = { uniqueId: 0x2000, ignoreOutgoing: 0x4000 } as const;
const SO_ATTACH_FILTER = 26;
const ETH_P_ALL = 0x0003;
const SOCKADDR_LL = 20;
const MEMBERSHIP = 16;
const EAGAIN = 11;
const EINTR = 4;

/** Of one socket, or of all in a group together. */
const RECEIVE_BUFFER = 16 << 20;
/** Room for the largest frame: virtio-net header 10, Ethernet header with a tag 18, 64 KiB of packet. */
export const MAX_FRAME = 10 + 18 + 65536;

/** The kernel's number of an interface, which sysfs tells for this network namespace. */
function interfaceIndex(name: string): number {
  return Number(readLink(name, 'ifindex'));
}

export function interfaceMac(name: string): Mac {
  return readLink(name, 'address').trim();
}

export function interfaceMtu(name: string): number {
  return Number(readLink(name, 'mtu'));
}

function readLink(name: string, file: string): string {
  try {
    return readFileSync(`/sys/class/net/${name}/${file}`, 'utf8');
  } catch {
    return raise('SYS_NO_INTERFACE', { name });
  }
}

export type PacketSocketOptions = {
  /** What the kernel lets through; absent = every frame. */
  readonly filter?: FilterProgram;
  /** Whether the interface takes frames to all groups, and tags are told of. */
  readonly link?: boolean;
  /** Of how many sockets this is one. */
  readonly among?: number;
};

/** Opens a socket bound to an interface; the caller closes it. */
export function openPacketSocket(
  interfaceName: string,
  { filter, link = false, among = 1 }: PacketSocketOptions = {},
): number {
  const index = interfaceIndex(interfaceName);
  // Protocol 0 until bound: nothing of other interfaces, and nothing past the filter, is received in between.
  const fd = check(libc().socket(AF_PACKET, SOCK_RAW_NONBLOCK_CLOEXEC, 0), 'socket(AF_PACKET)', 'run as root');
  try {
    for (const option of [PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING, ...(link ? [PACKET_AUXDATA] : [])]) {
      if (!setOption(fd, SOL_PACKET, option, 1)) raiseErrno(`setsockopt(SOL_PACKET, ${option})`);
    }
    if (link) {
      const membership = allocate(MEMBERSHIP);
      membership.view.setInt32(0, index, true);
      membership.view.setUint16(4, PACKET_MR_ALLMULTI, true);
      give(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership);
    }
    if (filter !== undefined) give(fd, SOL_SOCKET, SO_ATTACH_FILTER, programMemory(filter));
    setReceiveBuffer(fd, RECEIVE_BUFFER / among);
    const { view, address } = allocate(SOCKADDR_LL);
    view.setUint16(0, AF_PACKET, true);
    view.setUint16(2, ETH_P_ALL);
    view.setInt32(4, index, true);
    check(libc().bind(fd, address, SOCKADDR_LL), 'bind(AF_PACKET)');
    return fd;
  } catch (error) {
    libc().close(fd);
    throw error;
  }
}

/** Sets an option that is a structure. */
function give(fd: number, level: number, option: number, { address, bytes }: Memory): void {
  check(libc().setsockopt(fd, level, option, address, bytes.length), `setsockopt(${level}, ${option})`);
}

/**
 * Opens sockets that share an interface's frames (PACKET_FANOUT): `choose` gives each frame a number, and its socket is
 * that number modulo `count`, so that frames of one number stay in order. The caller closes them.
 */
export function openPacketGroup(
  interfaceName: string,
  count: number,
  { filter, choose }: { readonly filter: FilterProgram; readonly choose: FilterProgram },
): number[] {
  const opened: number[] = [];
  try {
    let group = (FANOUT_PROGRAM | Fanout.uniqueId | Fanout.ignoreOutgoing) << 16;
    for (let i = 0; i < count; i++) {
      // A socket that has not joined yet would get what others get too.
      const fd = openPacketSocket(interfaceName, { filter: rejectAll(), link: true, among: count });
      opened.push(fd);
      const value = int(group);
      give(fd, SOL_PACKET, PACKET_FANOUT, value);
      if (i > 0) continue;
      check(
        libc().getsockopt(fd, SOL_PACKET, PACKET_FANOUT, value.address, int(4).address),
        'getsockopt(PACKET_FANOUT)',
      );
      group = ((FANOUT_PROGRAM | Fanout.ignoreOutgoing) << 16) | value.view.getUint16(0, true);
      chooseSocket(fd, choose);
    }
    // Up to Linux 6.1 a group hears what is sent here, whatever its sockets want.
    for (const fd of opened) give(fd, SOL_SOCKET, SO_ATTACH_FILTER, programMemory(incoming(filter)));
    return opened;
  } catch (error) {
    for (const fd of opened) libc().close(fd);
    throw error;
  }
}

/** Replaces the program that chooses among the sockets of a group; `fd` is any of them. */
export function chooseSocket(fd: number, choose: FilterProgram): void {
  give(fd, SOL_PACKET, PACKET_FANOUT_DATA, programMemory(choose));
}

function int(value: number): Memory {
  const memory = allocate(4);
  memory.view.setInt32(0, value, true);
  return memory;
}

export class PacketSocket {
  readonly fd: number;

  constructor(interfaceName: string) {
    this.fd = openPacketSocket(interfaceName);
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
