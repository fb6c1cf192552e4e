/** What TCP connections that Node opened can do, and Node has no function for. */

import { Socket } from 'node:net';
import { libc } from './libc.ts';
import { setOption } from './socket-option.ts';

const IPPROTO_TCP = 6;
const TCP_NOTSENT_LOWAT = 25;
const F_DUPFD_CLOEXEC = 1030;
/** What may wait in the system that is not even on its way: more would only age there. */
const UNSENT = 128 << 10;

/** Keeps what waits for a slow connection in the program, where it can be dropped. Without it nothing fails, it only ages. */
export function limitUnsent(socket: Socket): void {
  const fd = descriptorOf(socket);
  if (fd === null) return;
  setOption(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT);
}

/**
 * Takes a connection away from this thread, for `attach` in another one; null if it has ended, or the system has no
 * descriptor left. The other end notices nothing: what ends here is this thread's handle alone.
 */
export function detach(socket: Socket): number | null {
  const fd = descriptorOf(socket);
  if (fd === null) return null;
  const kept = libc().fcntl(fd, F_DUPFD_CLOEXEC, 0);
  socket.destroy();
  return kept < 0 ? null : kept;
}

/** A detached connection; `head` is what was read of it already. */
export function attach(fd: number, head: Uint8Array): Socket {
  const socket = new Socket({ fd });
  socket.unshift(head);
  return socket;
}

/** Node shows it to its own modules only. */
function descriptorOf(socket: Socket): number | null {
  const fd = (socket as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd ?? -1;
  return fd < 0 ? null : fd;
}
