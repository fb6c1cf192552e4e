import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { succeeds } from '../../support/succeeds.ts';

/** Below those that the system gives to whoever asks for any (ip(7)), and for each of the workers that run at once others. */
const PORTS = 10_000;
const first = PORTS * (1 + (Number(process.env.VITEST_POOL_ID) % 2));
let next = process.pid;

/** The next port that can be had. */
async function nextPort(open: (port: number) => Server | Socket): Promise<number> {
  for (;;) {
    const port = first + (next++ % PORTS);
    const listener = open(port);
    if (!(await succeeds(once(listener, 'listening')))) continue;
    listener.close();
    await once(listener, 'close');
    return port;
  }
}

/** A TCP port that was free a moment ago. */
export function freePort(): Promise<number> {
  return nextPort((port) => createServer().listen(port));
}

/** UDP ports that were free a moment ago. */
export async function freeUdpPorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) ports.push(await nextPort((port) => createSocket('udp6').bind(port)));
  return ports;
}
