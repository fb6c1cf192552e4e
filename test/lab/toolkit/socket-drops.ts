/** What the kernel dropped in front of a node's full UDP socket. */

import { Port } from '../../../src/proto/constants.ts';
import type { Namespace } from './namespace.ts';

/** The kernel counts buffers; by UDP_GRO each holds 1 to as many datagrams. */
export const DATAGRAMS_A_BUFFER = 64;

/** Buffers dropped as nobody read them in time: the last column of /proc/net/udp. */
export function socketDrops(host: Namespace): number {
  const port = `:${Port.node.toString(16).toUpperCase()}`;
  const rows = host
    .sh('cat /proc/net/udp')
    .split('\n')
    .slice(1)
    .map((row) => row.trim().split(/\s+/))
    .filter((row) => row.length > 12);
  return rows.filter((row) => row[1]!.endsWith(port)).reduce((sum, row) => sum + Number(row.at(-1)), 0);
}
