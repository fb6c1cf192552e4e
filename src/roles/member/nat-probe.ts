/** Runs a NAT check of one address family on two sockets of its own. */

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { NatCheck, type NatReport, type ProbeSend, type ProbeSocket } from '../../core/node/nat-check.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import { canonicalAddress, type Family, type Prefix } from '../../lib/ip.ts';
import { intoNat64, outOfNat64 } from '../../net/nat64.ts';
import type { Mirror } from '../../proto/options.ts';
import { readClock } from '../../sys/clock.ts';

/** Without an answer from anybody a check takes three seconds (ms). */
const LONGEST_MS = 10_000;

/** What the mirrors of one family say; those of IPv4 through a NAT64 if there is one. */
export async function probeNat(
  primitives: Primitives,
  nodeId: string,
  mirrors: readonly Mirror[],
  family: Family,
  nat64: Prefix | null,
): Promise<NatReport> {
  await using cleanup = new AsyncDisposableStack();
  const check = new NatCheck(primitives, nodeId, mirrors);
  cleanup.defer(() => check.close());
  const outer = nat64 === null ? family : 6;
  const sockets: { readonly [S in ProbeSocket]: Socket } = { quiet: await open(outer), loud: await open(outer) };
  cleanup.defer(() => {
    for (const socket of Object.values(sockets)) socket.close();
  });
  const done = Promise.withResolvers<NatReport>();
  let timer: NodeJS.Timeout | undefined;
  cleanup.defer(() => clearTimeout(timer));
  const perform = (sends: readonly ProbeSend[]): void => {
    for (const { socket, to, datagram } of sends) {
      const { address, port } = intoNat64(nat64, to);
      sockets[socket].send(datagram, port, address);
    }
    const { report } = check;
    clearTimeout(timer);
    if (report !== null) {
      done.resolve(report);
      return;
    }
    const delay = Math.min(LONGEST_MS, Math.max(0, Math.ceil(check.due - readClock().ms)));
    timer = setTimeout(() => perform(check.tick(readClock())), delay);
  };
  for (const socket of Object.values(sockets)) {
    socket.on('message', (datagram, { address, port }) => {
      const from = { address: canonicalAddress(address) ?? address, port };
      perform(check.receive(datagram, outOfNat64(nat64, from), readClock()));
    });
  }
  perform(check.begin(readClock()));
  return await done.promise;
}

async function open(family: Family): Promise<Socket> {
  const socket = createSocket({ type: `udp${family}`, ipv6Only: family === 6 });
  // No route, or refused by ICMP: a service that does not answer.
  socket.on('error', () => {});
  socket.bind(0);
  await once(socket, 'listening');
  return socket;
}
