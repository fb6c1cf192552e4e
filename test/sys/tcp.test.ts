import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { allocate } from '../../src/sys/memory.ts';
import { attach, detach, limitUnsent } from '../../src/sys/tcp.ts';

const PAGE = 4_096;
const sockets: Socket[] = [];
const server = createServer();

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server.close();
});

/** Both ends of a new connection. */
async function pair(): Promise<readonly [Socket, Socket]> {
  if (!server.listening) await once(server.listen(0, '127.0.0.1'), 'listening');
  const here = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [there] = (await once(server, 'connection')) as [Socket];
  sockets.push(here, there);
  return [here, there];
}

it('bounds what waits in the system for as many connections as come, and takes memory once', async () => {
  const [first] = await pair();
  limitUnsent(first);
  const before = allocate(1).address;
  for (let i = 0; i < 20; i++) limitUnsent((await pair())[1]);
  expect(allocate(1).address - before).toBe(PAGE);
});

it('hands a connection on with what was read of it, and the other end notices nothing', async () => {
  const [here, there] = await pair();
  there.pause();
  const descriptor = detach(there);
  const taken = attach(descriptor!, new TextEncoder().encode('read before, '));
  sockets.push(taken);
  here.end('read after');
  const all: Buffer[] = [];
  for await (const chunk of taken) all.push(chunk as Buffer);
  expect(Buffer.concat(all).toString()).toBe('read before, read after');
  expect(detach(there)).toBeNull();
});
