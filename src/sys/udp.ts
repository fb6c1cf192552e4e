/**
 * One UDP port for both families: an IPv4 and an IPv6-only socket, non-blocking, in batches. ICMP errors are not
 * asked for (IP_RECVERR stays off), so that a forged one cannot disturb a send.
 */

import { constants } from 'node:os';
import { sameOctets } from '../lib/bytes.ts';
import { raise } from '../lib/errors.ts';
import type { Address, Endpoint } from '../lib/ip.ts';
import { errnoName, raiseErrno } from './errno.ts';
import { errno } from './ffi.ts';
import { check, libc } from './libc.ts';
import { allocate, type Memory } from './memory.ts';
import { MMSGHDR, type ReceiveBatch, type SendBatch, unfoldedBatch } from './mmsg.ts';
import { waitWritable } from './poll.ts';
import { AF_INET, AF_INET6, decodeSockaddr, encodeSockaddr, SOCKADDR_ROOM } from './sockaddr.ts';
import { SOL_SOCKET, setOption, setReceiveBuffer } from './socket-option.ts';

const { EADDRINUSE, EAFNOSUPPORT, EAGAIN, EADDRNOTAVAIL, EINTR, EINVAL, EIO, EMSGSIZE } = constants.errno;

const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0o2004000;
const SO_SNDBUF = 7;
const SO_SNDBUFFORCE = 32;
const SOL_IP = 0;
const IP_MTU_DISCOVER = 10;
const IP_RECVTOS = 13;
const SOL_IPV6 = 41;
const IPV6_MTU_DISCOVER = 23;
const IPV6_V6ONLY = 26;
const IPV6_RECVTCLASS = 66;
/** Of both families: DF is set, and what ICMP says of a path is ignored. */
const PMTUDISC_PROBE = 3;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;

const SOCKET_BUFFER = 8 << 20;
/** How long a full socket buffer holds an I/O thread back before datagrams are given up. */
const BLOCKED_MS = 50;
/** Ports tried after the one asked for. */
const PORT_TRIES = 64;

/** The datagram edge of the data path, as its loops see it. */
export interface DatagramPort {
  /** Sends the batch in order; returns how many datagrams could not be sent, see `SendBatch.failed`. */
  send(batch: SendBatch): number;
  /** Fills the batch from socket 0 (IPv4), 1 (IPv6) or a branch with what waits there; returns the number of messages. */
  receive(socket: number, batch: ReceiveBatch): number;
}

/** An open port; -1 = no socket of that family. Plain data, so that threads can share the descriptors. */
export type UdpSockets = {
  readonly fd4: number;
  readonly fd6: number;
  readonly port: number;
  readonly segment: boolean;
  readonly gro: boolean;
};

export type UdpOptions = {
  /** Addresses to bind; null = no socket of that family. */
  readonly address4: Address | null;
  readonly address6: Address | null;
  /** 0 = any. */
  readonly port: number;
  /** Whether a later port will do. */
  readonly orNext: boolean;
  readonly segment?: boolean;
  readonly gro?: boolean;
};

export function openUdp(options: UdpOptions): UdpSockets {
  const tries = options.orNext || options.port === 0 ? PORT_TRIES : 1;
  for (let i = 0; i < tries; i++) {
    const wanted = options.port === 0 ? 0 : options.port + i;
    const sockets = wanted > 65_535 ? null : openBoth(options, wanted);
    if (sockets !== null) return sockets;
  }
  return raise('SYS_PORT_IN_USE', { port: options.port });
}

/** Both sockets on one port, or null if it is taken in either family. */
function openBoth(options: UdpOptions, wanted: number): UdpSockets | null {
  const fd4 = options.address4 === null ? -1 : openSocket(AF_INET, options.address4, wanted);
  if (fd4 === null) return null;
  let port = wanted;
  let fd6: number | null = null;
  try {
    if (fd4 >= 0) port = boundPort(fd4);
    fd6 = options.address6 === null ? -1 : openSocket(AF_INET6, options.address6, port);
  } finally {
    if (fd6 === null && fd4 >= 0) libc().close(fd4);
  }
  if (fd6 === null) return null;
  if (fd4 < 0 && fd6 >= 0) port = boundPort(fd6);
  if (fd4 < 0 && fd6 < 0) return raise('SYS_NO_ADDRESS_FAMILY');
  const all = [fd4, fd6].filter((fd) => fd >= 0);
  return {
    fd4,
    fd6,
    port,
    segment: (options.segment ?? true) && all.every((fd) => setOption(fd, SOL_UDP, UDP_SEGMENT, 0)),
    gro: (options.gro ?? true) && all.every((fd) => setOption(fd, SOL_UDP, UDP_GRO, 1)),
  };
}

/** Behind a socket's name. */
const LENGTH_AT = 32;
let named: Memory | undefined;

/** Room for one name and its length, the same for all sockets: memory is for the life of the process. */
function nameMemory(): Memory {
  named ??= allocate(LENGTH_AT + 4);
  return named;
}

/** A bound socket, -1 if the family does not exist on this machine and no address of it was insisted on, null if the port is taken. */
function openSocket(family: number, address: Address, port: number): number | null {
  const any = address === '0.0.0.0' || address === '::';
  const fd = libc().socket(family, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0);
  if (fd < 0) return any && errno() === EAFNOSUPPORT ? -1 : raiseErrno('socket');
  // Outer datagrams are never fragmented: NATs and firewalls drop fragments, and a forged "too big" would cause them. The
  // size of a path is found by probes of our own, and a packet that must get through goes in several capsules.
  if (family === AF_INET6) {
    setOption(fd, SOL_IPV6, IPV6_V6ONLY, 1);
    setOption(fd, SOL_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE);
  } else setOption(fd, SOL_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE);
  setReceiveBuffer(fd, SOCKET_BUFFER);
  if (!setOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER)) setOption(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER);
  if (family === AF_INET) setOption(fd, SOL_IP, IP_RECVTOS, 1);
  else setOption(fd, SOL_IPV6, IPV6_RECVTCLASS, 1);
  const name = nameMemory();
  const octets = encodeSockaddr({ address, port });
  name.bytes.set(octets);
  if (libc().bind(fd, name.address, octets.length) === 0) return fd;
  const code = errno();
  libc().close(fd);
  if (code === EADDRINUSE) return null;
  if (code === EADDRNOTAVAIL && any) return -1;
  return raise('SYS_BIND', { address, port, errno: errnoName(code) });
}

function boundPort(fd: number): number {
  const name = nameMemory();
  name.view.setUint32(LENGTH_AT, SOCKADDR_ROOM, true);
  check(libc().getsockname(fd, name.address, name.address + LENGTH_AT), 'getsockname');
  return decodeSockaddr(name.bytes).port;
}

export function closeUdp(sockets: UdpSockets): void {
  for (const fd of [sockets.fd4, sockets.fd6]) if (fd >= 0) libc().close(fd);
}

/** What goes to one address by a socket of its own. */
type Branch = { readonly name: Uint8Array; readonly fd: number };

/** One thread's use of an open port. */
export class UdpPort implements DatagramPort {
  /** Whether several datagrams of one size may leave in one message. */
  segment: boolean;
  readonly #sockets: UdpSockets;
  readonly #blockedMs: number;
  readonly #unfolded = unfoldedBatch();
  #branches: readonly Branch[] = [];

  /** `blockedMs`: how long a full buffer may hold the caller back; 0 for a thread that must not wait. */
  constructor(sockets: UdpSockets, blockedMs = BLOCKED_MS) {
    this.#sockets = sockets;
    this.#blockedMs = blockedMs;
    this.segment = sockets.segment;
  }

  /** Datagrams for that endpoint leave by this socket, and not by the usual one; null = by the usual one again. */
  branch(to: Endpoint, fd: number | null): void {
    const name = encodeSockaddr(to);
    const others = this.#branches.filter((branch) => !sameOctets(branch.name, name));
    this.#branches = fd === null ? others : [...others, { name, fd }];
  }

  /** Number them for `receive`. */
  get descriptors(): readonly number[] {
    return [this.#sockets.fd4, this.#sockets.fd6, ...this.#branches.map(({ fd }) => fd)];
  }

  send(batch: SendBatch): number {
    let failed = 0;
    for (let i = 0; i < batch.count; i++) batch.finish(i);
    for (let i = 0; i < batch.count; ) {
      const fd = this.#socketOf(batch, i);
      if (!this.segment && batch.datagrams(i) > 1) {
        failed += this.#sendSingly(batch, i++);
        continue;
      }
      let end = i + 1;
      while (end < batch.count && this.#socketOf(batch, end) === fd && (this.segment || batch.datagrams(end) === 1)) {
        end++;
      }
      const sent = this.#call(fd, batch.memory.address + i * MMSGHDR, end - i);
      i += Math.max(sent, 0);
      if (sent > 0) continue;
      const code = -sent;
      if (batch.datagrams(i) > 1 && (code === EIO || code === EINVAL || code === EMSGSIZE)) {
        // EIO: a device without checksum offload cannot segment at all. The others: too large for this path's MTU.
        if (code === EIO) this.segment = false;
        failed += this.#sendSingly(batch, i);
      } else {
        batch.fail(i, batch.datagrams(i));
        failed += batch.datagrams(i);
      }
      i++;
    }
    return failed;
  }

  #socketOf(batch: SendBatch, message: number): number {
    for (const { name, fd } of this.#branches) if (sameOctets(batch.destination(message), name)) return fd;
    return batch.family(message) === AF_INET ? this.#sockets.fd4 : this.#sockets.fd6;
  }

  /** Messages sent, or minus the errno of the first one. A full buffer holds the caller back for a while. */
  #call(fd: number, messages: number, count: number): number {
    for (let waited = false; ; ) {
      const sent = libc().sendmmsg(fd, messages, count, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) return sent;
      const code = errno();
      if (code === EINTR) continue;
      if (code !== EAGAIN || waited || this.#blockedMs === 0) return -code;
      waitWritable(fd, this.#blockedMs);
      waited = true;
    }
  }

  #sendSingly(batch: SendBatch, message: number): number {
    const unfolded = this.#unfolded;
    unfolded.clear();
    batch.unfold(message, unfolded);
    for (let i = 0; i < unfolded.count; i++) unfolded.finish(i);
    const fd = this.#socketOf(batch, message);
    let failed = 0;
    for (let i = 0; i < unfolded.count; ) {
      const sent = this.#call(fd, unfolded.memory.address + i * MMSGHDR, unfolded.count - i);
      if (sent <= 0) failed++;
      i += Math.max(sent, 1);
    }
    batch.fail(message, failed);
    return failed;
  }

  receive(socket: number, batch: ReceiveBatch): number {
    const fd = socket === 0 ? this.#sockets.fd4 : socket === 1 ? this.#sockets.fd6 : this.#branches[socket - 2]!.fd;
    return receiveFrom(fd, batch);
  }
}

/** Fills the batch with what waits at one socket; returns the number of messages. */
export function receiveFrom(fd: number, batch: ReceiveBatch): number {
  return Math.max(0, libc().recvmmsg(fd, batch.prepare(), batch.room, MSG_DONTWAIT, 0));
}
