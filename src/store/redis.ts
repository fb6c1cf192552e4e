/**
 * What replicas share, on Redis or Valkey. The only importer of ioredis. Two connections: one asks, one listens. Commands
 * are not queued while the server is away: the protocol repeats what was not done, a queue would do it too late.
 */

import { Redis } from 'ioredis';
import { raise } from '../lib/errors.ts';
import type { Shared } from './shared.ts';

const CONNECT_MS = 2_000;
const COMMAND_MS = 1_000;
const RECONNECT_MIN_MS = 50;
const RECONNECT_MAX_MS = 1_000;

/** For messages: the server, never the password. */
export function describeRedis(url: string): string {
  const parsed = URL.parse(url);
  return parsed === null ? 'redis://(unreadable)' : `${parsed.protocol}//${parsed.host}${parsed.pathname}`;
}

export async function openRedis(url: string, network: string): Promise<Shared> {
  const client = connect(url);
  try {
    await client.connect();
    await client.ping();
  } catch (cause) {
    client.disconnect();
    raise('SYS_SHARED', { url: describeRedis(url), why: (cause as Error).message, transient: true }, cause);
  }
  // Several networks may use one server.
  return new RedisShared(client, connect(url), `cyphonic:${network}:`);
}

function connect(url: string): Redis {
  const { protocol, pathname } = URL.parse(url) ?? raise('CONFIG_SHARED', { url: describeRedis(url) });
  const isSocket = protocol === 'unix:' || protocol === 'redis+unix:';
  const client = new Redis(isSocket ? decodeURIComponent(pathname) : url, {
    lazyConnect: true,
    connectTimeout: CONNECT_MS,
    commandTimeout: COMMAND_MS,
    enableOfflineQueue: false,
    enableAutoPipelining: true,
    maxRetriesPerRequest: 0,
    retryStrategy: (tries) => Math.min(RECONNECT_MAX_MS, RECONNECT_MIN_MS * 2 ** Math.min(tries, 8)),
  });
  // Whoever asks hears of it; without a listener the process would end.
  client.on('error', () => {});
  return client;
}

class RedisShared implements Shared {
  readonly #client: Redis;
  readonly #listening: Redis;
  readonly #prefix: string;
  readonly #listeners = new Map<string, Set<(message: string) => void>>();
  readonly alone = false;

  constructor(client: Redis, listening: Redis, prefix: string) {
    this.#client = client;
    this.#listening = listening;
    this.#prefix = prefix;
    listening.on('message', (channel: string, message: string) => {
      for (const listener of this.#listeners.get(channel) ?? []) listener(message);
    });
    // After each new connection, so that the first one may fail as well.
    listening.on('ready', () => {
      if (this.#listeners.size > 0) listening.subscribe(...this.#listeners.keys()).catch(() => {});
    });
  }

  get reachable(): boolean {
    return this.#client.status === 'ready';
  }

  async keep(key: string, value: string, lifeMs: number): Promise<void> {
    await this.#client.set(this.#prefix + key, value, 'PX', lifeMs);
  }

  async claim(key: string, value: string, lifeMs: number): Promise<boolean> {
    return (await this.#client.set(this.#prefix + key, value, 'PX', lifeMs, 'NX')) === 'OK';
  }

  async recall(keys: readonly string[]): Promise<(string | null)[]> {
    return this.#client.mget(keys.map((key) => this.#prefix + key));
  }

  async include(set: string, member: string, lifeMs: number): Promise<void> {
    const key = this.#prefix + set;
    await Promise.all([this.#client.sadd(key, member), this.#client.pexpire(key, lifeMs)]);
  }

  members(set: string): Promise<string[]> {
    return this.#client.smembers(this.#prefix + set);
  }

  async exclude(set: string, member: string): Promise<void> {
    await this.#client.srem(this.#prefix + set, member);
  }

  async take(set: string): Promise<string[]> {
    const key = this.#prefix + set;
    const results = await this.#client.multi().smembers(key).del(key).exec();
    const [error, members] = results?.[0] ?? [];
    if (error) throw error;
    return members as string[];
  }

  async publish(channel: string, message: string): Promise<void> {
    await this.#client.publish(this.#prefix + channel, message);
  }

  async subscribe(channel: string, listener: (message: string) => void): Promise<() => void> {
    const name = this.#prefix + channel;
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    const { status } = this.#listening;
    if (status === 'wait') await this.#listening.connect().catch(() => {});
    if (this.#listening.status === 'ready') await this.#listening.subscribe(name);
    return () => {
      listeners.delete(listener);
      if (listeners.size > 0) return;
      this.#listeners.delete(name);
      this.#listening.unsubscribe(name).catch(() => {});
    };
  }

  async close(): Promise<void> {
    for (const client of [this.#client, this.#listening]) client.disconnect();
  }
}
