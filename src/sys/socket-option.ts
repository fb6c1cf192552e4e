/** Options of sockets that are one integer. */

import { libc } from './libc.ts';
import { allocate, type Memory } from './memory.ts';

export const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;

/** One for all: memory is for the life of the process, and sockets come and go. */
let given: Memory | undefined;

/** Whether the system knows the option and takes the value. */
export function setOption(fd: number, level: number, option: number, value: number): boolean {
  given ??= allocate(4);
  given.view.setInt32(0, value, true);
  return libc().setsockopt(fd, level, option, given.address, 4) === 0;
}

/** Past the system's limit takes real root, which a user namespace has not. */
export function setReceiveBuffer(fd: number, octets: number): void {
  if (!setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, octets)) setOption(fd, SOL_SOCKET, SO_RCVBUF, octets);
}
