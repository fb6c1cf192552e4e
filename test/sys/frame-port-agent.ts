/** A frame port by remote control, on a TAP device whose other end says what a guest of a virtual machine may say. */

import { openSync, writeSync } from 'node:fs';
import { openFramePort, PacketPort } from '../../src/sys/frame-port.ts';
import { check, libc } from '../../src/sys/libc.ts';
import { allocate } from '../../src/sys/memory.ts';

const TUNSETIFF = 0x400454ca;
/** IFF_TAP | IFF_NO_PI | IFF_VNET_HDR */
const FLAGS = 0x0002 | 0x1000 | 0x4000;

let tap = -1;
let port: PacketPort | null = null;
const room = allocate(1 << 17);

/** Attaches to a TAP device that is there. */
export function open(name: string): string {
  tap = openSync('/dev/net/tun', 'r+');
  const request = allocate(40);
  request.bytes.set(Buffer.from(name));
  request.view.setUint16(16, FLAGS, true);
  check(libc().ioctl(tap, TUNSETIFF, request.address), 'ioctl TUNSETIFF');
  const handle = openFramePort(name);
  port = new PacketPort(handle.fd);
  return handle.mac;
}

export const say = (frame: string): number => writeSync(tap, Uint8Array.fromHex(frame));
export const read = (): number => port!.read(room.address, room.bytes.length);
