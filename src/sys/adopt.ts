/** Sockets of a kind that Node's event loop has no name for. */

import { Socket } from 'node:net';
import { addressOf } from './ffi.ts';
import { check, libc } from './libc.ts';

const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const O_CLOEXEC = 0o2000000;

/**
 * The stream of what is read at a non-blocking socket, which is the stream's from now on: a chunk is one datagram. Node asks
 * what kind of thing a descriptor is when it gets it, and never again: it gets a UNIX socket, whose place the other one takes
 * (dup3(2)) before the stream is resumed, which begins to wait and read then.
 */
export function adopt(fd: number): Socket {
  const pair = Buffer.allocUnsafeSlow(8);
  check(libc().socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, addressOf(pair)), 'socketpair');
  const [place, end] = [pair.readInt32LE(0), pair.readInt32LE(4)];
  libc().close(end);
  const paused = { fd: place, writable: false, pauseOnCreate: true };
  const stream = new Socket(paused);
  check(libc().dup3(fd, place, O_CLOEXEC), 'dup3');
  libc().close(fd);
  return stream;
}
