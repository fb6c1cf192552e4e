/** Options of TCP connections that Node opened and has no function for. */

import { libc } from './libc.ts';
import { allocate } from './memory.ts';

const IPPROTO_TCP = 6;
const TCP_NOTSENT_LOWAT = 25;
/** What may wait in the system that is not even on its way: more would only age there. */
const UNSENT = 128 << 10;

/** Keeps what waits for a slow connection in the program, where it can be dropped. Without it nothing fails, it only ages. */
export function limitUnsent(socket: object): void {
  // Node shows the descriptor to its own modules only.
  const fd = (socket as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd;
  if (fd === undefined || fd < 0) return;
  const memory = allocate(4);
  memory.view.setInt32(0, UNSENT, true);
  libc().setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, memory.address, 4);
}
