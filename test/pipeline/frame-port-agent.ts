/** One end of a link by remote control: a port of an adapter, or a device, which hears all and says what it likes. */

import { openSync, writeSync } from 'node:fs';
import { portOf } from '../../src/pipeline/pcap-port.ts';
import {
  type Capture,
  closeFramePort,
  FRAME_HEAD,
  type FrameHandle,
  type FramePort,
  openFramePort,
} from '../../src/sys/frame-port.ts';
import { FrameQueues } from '../../src/sys/frame-queues.ts';
import { check, libc } from '../../src/sys/libc.ts';
import { allocate } from '../../src/sys/memory.ts';
import { interfaceMac, openPacketSocket } from '../../src/sys/packet.ts';
import { PacketPort } from '../../src/sys/packet-port.ts';
import { Poller } from '../../src/sys/poll.ts';
import { setVector } from '../../src/sys/vectors.ts';

const TUNSETIFF = 0x400454ca;
/** IFF_TAP | IFF_NO_PI | IFF_VNET_HDR */
const FLAGS = 0x0002 | 0x1000 | 0x4000;
const WAIT_MS = 3_000;

export type Heard = {
  /** Virtio-net and Ethernet header. */
  readonly head: string;
  readonly tag: number;
  readonly tagProtocol: number;
  readonly content: string;
};

let tap = -1;
let handle: FrameHandle | null = null;
let queues: FrameQueues;
let port: FramePort;
let poller: Poller;
const room = allocate(1 << 17);
const vectors = allocate(32);

export function open(name: string, capture: Capture): string {
  handle = openFramePort(name, capture);
  port = portOf(handle.sources, handle.mtu);
  poller = new Poller(handle.sources.map(({ fd }) => fd));
  queues = new FrameQueues(handle);
  return handle.mac;
}

/** The devices that the control plane admitted. */
export function know(macs: readonly string[]): void {
  queues.set(macs);
}

export function openDevice(name: string): string {
  const fd = openPacketSocket(name, { link: true });
  port = new PacketPort(fd);
  poller = new Poller([fd]);
  return interfaceMac(name);
}

/** The other end of a TAP device, which says what a guest of a virtual machine may say. */
export function openTap(name: string): void {
  tap = openSync('/dev/net/tun', 'r+');
  const request = allocate(40);
  request.bytes.set(Buffer.from(name));
  request.view.setUint16(16, FLAGS, true);
  check(libc().ioctl(tap, TUNSETIFF, request.address), 'ioctl TUNSETIFF');
}

export const sayAsGuest = (frame: string): number => writeSync(tap, Uint8Array.fromHex(frame));

/** Writes a frame, its header and what it carries from two places; 0, or the errno. */
export function say(frame: string): number {
  const octets = Uint8Array.fromHex(frame);
  room.bytes.set(octets);
  const first = Math.min(octets.length, FRAME_HEAD);
  setVector(vectors, 0, room.address, first);
  setVector(vectors, 16, room.address + first, octets.length - first);
  return port.write(vectors.address, 2);
}

/** All frames up to one that carries this, as soon as they are there, or what came in time. */
export function hearUntil(content: string): Heard[] {
  const all: Heard[] = [];
  for (let frame = hear(); frame !== null; frame = hear()) {
    all.push(frame);
    if (frame.content === content) break;
  }
  return all;
}

/** Writes many; 0, or the first errno. */
export const sayAll = (frames: readonly string[]): number => frames.map(say).find((code) => code !== 0) ?? 0;

/** The next frame as soon as there is one. */
export function hear(): Heard | null {
  const end = performance.now() + WAIT_MS;
  for (let left = WAIT_MS; left > 0; left = end - performance.now()) {
    const octets = port.read(room.address, room.bytes.length);
    if (octets >= 0) return heard(octets);
    poller.wait(left);
  }
  return null;
}

function heard(octets: number): Heard {
  const { head, tag, tagProtocol } = port;
  const headOctets = new Uint8Array(head.buffer, head.byteOffset, FRAME_HEAD);
  const content = room.bytes.subarray(0, octets);
  return { head: headOctets.toHex(), tag, tagProtocol, content: content.toHex() };
}

/** What waits in each of the port's queues, none left out: frames as they came. */
export function emptyQueues(): Heard[][] {
  const { sources, mtu } = handle!;
  return sources.map((source) => {
    port = portOf([source], mtu);
    return [...waiting()];
  });
}

function* waiting(): Generator<Heard> {
  for (let octets = port.read(room.address, room.bytes.length); octets >= 0; ) {
    yield heard(octets);
    octets = port.read(room.address, room.bytes.length);
  }
}

/** Closes the port; whether its descriptors are gone. */
export function close(): boolean {
  const { sources } = handle!;
  closeFramePort(handle!);
  return sources.every(({ fd }) => libc().read(fd, room.address, 1) < 0);
}
