/** Connections to the resolver, whatever it answers. */

import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { DnsStream, frame } from '../../../src/roles/member/dns-stream.ts';
import { listenTcp } from '../../../src/roles/member/dns-tcp.ts';

const ADDRESS = '127.0.0.1';
const patient = { timeout: 20_000 };
const closing: (() => void)[] = [];

afterEach(() => {
  for (const close of closing.splice(0).reverse()) close();
});

/** Answers by `react`, and whoever connects to it. */
async function listen(react: (query: Uint8Array) => Promise<Uint8Array | null>): Promise<() => Socket> {
  const free = createServer().listen(0, ADDRESS);
  await new Promise((resolve) => free.once('listening', resolve));
  const { port } = free.address() as AddressInfo;
  await new Promise((resolve) => free.close(resolve));
  const listener = await listenTcp({ connect: () => () => {}, answer: react }, ADDRESS, port);
  closing.push(() => listener.close());
  return () => {
    const socket = connect(port, ADDRESS);
    socket.on('error', () => {});
    closing.push(() => socket.destroy());
    return socket;
  };
}

const answersOf = (socket: Socket): { count: number } => {
  const stream = new DnsStream();
  const seen = { count: 0 };
  socket.on('data', (chunk: Buffer) => {
    seen.count += stream.push(chunk).length;
  });
  return seen;
};

it('works no further for who does not read its answers, and goes on when they are read', async () => {
  const asked = { large: 0, small: 0 };
  const dial = await listen(async ([kind]) => {
    asked[kind === 1 ? 'large' : 'small']++;
    return new Uint8Array(kind === 1 ? 32_768 : 12);
  });
  const slow = dial().pause();
  const total = 2_000;
  slow.write(Buffer.concat(Array.from({ length: total }, () => frame(Uint8Array.of(1)))));
  await expect.poll(() => asked.large, patient).toBeGreaterThan(32);
  // Time enough to finish for one that is not held back.
  const other = dial();
  const seen = answersOf(other);
  for (let i = 1; i <= 100; i++) {
    other.write(frame(Uint8Array.of(2)));
    await expect.poll(() => seen.count, { ...patient, interval: 1 }).toBe(i);
  }
  expect(asked.large).toBeLessThan(total / 2);
  const read = answersOf(slow);
  slow.resume();
  await expect.poll(() => read.count, patient).toBe(total);
  expect(asked).toEqual({ large: total, small: 100 });
});

it('ends with what has no answer', async () => {
  const dial = await listen(async () => null);
  const socket = dial().resume();
  const ended = new Promise((resolve) => socket.once('close', resolve));
  socket.write(frame(Uint8Array.of(1)));
  await ended;
});
