/** A real Redis or Valkey of its own for one test file, on a Unix socket in a directory that goes with it. */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';

const program = ['redis-server', 'valkey-server'].find((name) => {
  try {
    execFileSync('sh', ['-c', `command -v ${name}`]);
    return true;
  } catch {
    return false;
  }
});
export const noRedis = program === undefined;
if (noRedis) console.warn('there is no Redis: what replicas share is not tested on it (package redis-server)');

export type RedisServer = {
  readonly url: string;
  readonly pid: number;
  start(): Promise<void>;
  /** As `kill -9`: nothing is kept. */
  crash(): Promise<void>;
  /** Runs one command. */
  command(name: string, ...words: string[]): Promise<unknown>;
  stop(): Promise<void>;
};

export async function startRedis(): Promise<RedisServer> {
  const directory = mkdtempSync(join(tmpdir(), 'cyphonic-redis-'));
  const socket = join(directory, 'redis.sock');
  let server: ReturnType<typeof spawn>;
  const withClient = async <T>(work: (client: Redis) => Promise<T>): Promise<T> => {
    const client = new Redis(socket, { lazyConnect: true, retryStrategy: () => null });
    client.on('error', () => {});
    try {
      await client.connect();
      return await work(client);
    } finally {
      client.disconnect();
    }
  };
  const start = async (): Promise<void> => {
    const words = ['--port', '0', '--unixsocket', socket, '--save', '', '--appendonly', 'no', '--dir', directory];
    server = spawn(program!, words, { stdio: 'ignore' });
    for (;;) {
      const there = await withClient((client) => client.ping()).catch(() => null);
      if (there !== null) return;
      if (server.exitCode !== null) throw new RangeError(`redis ended with ${server.exitCode}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const crash = async (): Promise<void> => {
    const ended = once(server, 'exit');
    server.kill('SIGKILL');
    await ended;
  };
  await start();
  return {
    url: `unix://${socket}`,
    get pid() {
      return server.pid!;
    },
    start,
    crash,
    command: (name, ...words) => withClient((client) => client.call(name, ...words)),
    async stop() {
      if (server.exitCode === null && server.signalCode === null) await crash();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
