/** sd_notify(3) without its library: one datagram to the socket that the service manager names. */

import { bind, library } from './ffi.ts';

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;

/** Tells the service manager that the daemon serves; does nothing where there is none. `socketPath` = $NOTIFY_SOCKET. */
export function notifyReady(socketPath: string | undefined): void {
  if (socketPath === undefined || socketPath === '') return;
  const libc = library(null);
  const socket = bind<(family: number, type: number, protocol: number) => number>(
    libc,
    'int socket(int family, int type, int protocol)',
  );
  const sendto = bind<
    (fd: number, data: Uint8Array, length: number, flags: number, to: Uint8Array, size: number) => number
  >(libc, 'long sendto(int fd, uint8_t *data, long length, int flags, uint8_t *to, int size)');
  const close = bind<(fd: number) => number>(libc, 'int close(int fd)');
  const path = Buffer.from(socketPath);
  // A leading @ stands for the abstract namespace, whose names begin with a zero octet (unix(7)).
  if (path[0] === 0x40) path[0] = 0;
  const address = Buffer.concat([Uint8Array.of(AF_UNIX, 0), path]);
  const message = Buffer.from('READY=1');
  const fd = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) return;
  sendto(fd, message, message.length, 0, address, address.length);
  close(fd);
}
