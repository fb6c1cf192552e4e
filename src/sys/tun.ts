/**
 * The TUN device, with virtio-net headers: one read returns up to 64 KiB of one flow, one write takes as much.
 *
 *  virtio_net_hdr, 10 octets, host order: flags 8, gsoType 8, headerLength 16, gsoSize 16, checksumStart 16, checksumOffset 16
 */

import { constants } from 'node:os';
import { raise } from '../lib/errors.ts';
import { errnoName, raiseErrno } from './errno.ts';
import { errno } from './ffi.ts';
import { check, libc } from './libc.ts';
import { allocate } from './memory.ts';

const { EACCES, EAGAIN, EBUSY, EINTR, EIO, EINVAL, ENODEV, ENOENT, ENXIO, EPERM } = constants.errno;

const O_RDWR_NONBLOCK_CLOEXEC = 0o2004002;
const TUNSETIFF = 0x400454ca;
const TUNSETVNETHDRSZ = 0x400454d8;
const TUNSETOFFLOAD = 0x400454d0;
const IFF_TUN_NO_PI_VNET_HDR = 0x0001 | 0x1000 | 0x4000;
const IFNAMSIZ = 16;

const OFFLOAD_CSUM = 0x01;
const OFFLOAD_TCP = 0x02 | 0x04;
const OFFLOAD_UDP = 0x20 | 0x40;

export const VIRTIO_HEADER = 10;
export const VirtioFlag = { needsChecksum: 1 } as const;
export const GsoType = { none: 0, tcp4: 1, tcp6: 4, udp: 5 } as const;
/** May be set beside `tcp4` and `tcp6`. */
export const GSO_ECN = 0x80;

/** The packet edge of the data path. Every packet stands behind its virtio-net header. */
export interface PacketDevice {
  /** Reads one packet; its octets with header, 0 = none waits. */
  read(address: number, room: number): number;
  /** Writes one packet; 0, or the errno. */
  write(address: number, octets: number): number;
  /** The same, gathered from a list of iovecs. */
  writeVectors(vectors: number, count: number): number;
}

/** An open device. Plain data, so that threads can share the descriptor. */
export type TunHandle = { readonly fd: number; readonly name: string; readonly tcp: boolean; readonly udp: boolean };

export type TunOptions = {
  /** A name, or a template whose `%d` the kernel fills in. */
  readonly name: string;
  readonly tcp?: boolean;
  readonly udp?: boolean;
};

export function openTun(options: TunOptions): TunHandle {
  if (!/^[\w.%-]{1,15}$/.test(options.name)) raise('USAGE_INTERFACE_NAME', { name: options.name });
  const fd = libc().open('/dev/net/tun', O_RDWR_NONBLOCK_CLOEXEC);
  if (fd < 0) refuse(errno(), options.name);
  try {
    const request = allocate(40);
    request.bytes.set(Buffer.from(options.name));
    request.view.setUint16(IFNAMSIZ, IFF_TUN_NO_PI_VNET_HDR, true);
    if (libc().ioctl(fd, TUNSETIFF, request.address) < 0) refuse(errno(), options.name);
    const name = Buffer.from(request.bytes.subarray(0, request.bytes.indexOf(0))).toString();
    request.view.setInt32(0, VIRTIO_HEADER, true);
    check(libc().ioctl(fd, TUNSETVNETHDRSZ, request.address), 'ioctl TUNSETVNETHDRSZ');
    const accepts = (offload: number): boolean => libc().ioctl(fd, TUNSETOFFLOAD, offload) === 0;
    const wantTcp = options.tcp ?? true;
    const tcpOffload = wantTcp ? OFFLOAD_CSUM | OFFLOAD_TCP : OFFLOAD_CSUM;
    const udp = (options.udp ?? true) && accepts(tcpOffload | OFFLOAD_UDP);
    const tcp = wantTcp && (udp || accepts(tcpOffload));
    if (!udp && !tcp && !accepts(OFFLOAD_CSUM)) accepts(0);
    return { fd, name, tcp, udp };
  } catch (error) {
    libc().close(fd);
    throw error;
  }
}

function refuse(code: number, name: string): never {
  switch (code) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return raise('SYS_TUN_MISSING', { errno: errnoName(code) });
    case EPERM:
    case EACCES:
      return raise('SYS_TUN_PERMISSION', { errno: errnoName(code) });
    case EBUSY:
    case EINVAL:
      return raise('SYS_TUN_NAME', { name, errno: errnoName(code) });
    default:
      return raiseErrno('opening the TUN device', '', code);
  }
}

export function closeTun(tun: TunHandle): void {
  libc().close(tun.fd);
}

/** One thread's use of an open device. */
export class Tun implements PacketDevice {
  readonly #fd: number;

  constructor(handle: TunHandle) {
    this.#fd = handle.fd;
  }

  read(address: number, room: number): number {
    const octets = libc().read(this.#fd, address, room);
    if (octets > 0) return octets;
    const code = octets < 0 ? errno() : 0;
    // EIO: the interface is down for now. Anything else means it is gone, and waiting would spin.
    return code === EAGAIN || code === EINTR || code === EIO ? 0 : raiseErrno('reading from the TUN device', '', code);
  }

  write(address: number, octets: number): number {
    return libc().write(this.#fd, address, octets) < 0 ? errno() : 0;
  }

  writeVectors(vectors: number, count: number): number {
    return libc().writev(this.#fd, vectors, count) < 0 ? errno() : 0;
  }
}
