import { isPostgresUrl } from './open.ts';

/**
 * What the replicas of a service share beside the register: records that live for a while and can be made again by their
 * owners, and messages to one another. Nothing in it is worth a backup; `test/store/shared.test.ts` holds the contract.
 * A store that cannot be reached rejects at once: whoever asks goes on without.
 */
export interface Shared {
  /** Keeps a record for so long, in place of the one before. */
  keep(key: string, value: string, lifeMs: number): Promise<void>;
  /** Keeps a record if there is none; whether it did. */
  claim(key: string, value: string, lifeMs: number): Promise<boolean>;
  /** Records by their keys, null where there is none. */
  recall(keys: readonly string[]): Promise<(string | null)[]>;
  /** Adds to a set for so long; what was added before may live on as long. */
  include(set: string, member: string, lifeMs: number): Promise<void>;
  members(set: string): Promise<string[]>;
  exclude(set: string, member: string): Promise<void>;
  /** Empties a set: of several that do so at once, one gets its members. */
  take(set: string): Promise<string[]>;
  /** To everybody who listens right now; whoever does not never hears of it. */
  publish(channel: string, message: string): Promise<void>;
  /** Listens from when the promise is kept, also again after the store was away; returns the way to stop. */
  subscribe(channel: string, listener: (message: string) => void): Promise<() => void>;
  /** Whether the store can be reached. */
  readonly reachable: boolean;
  /** Whether nobody but this process uses it. */
  readonly alone: boolean;
  close(): Promise<void>;
}

export function isRedisUrl(place: string): boolean {
  return /^(rediss?|redis\+unix|unix):\/\//.test(place);
}

/** Where a process that shares with nobody keeps it: beside a register that is a file; else, null, in memory. */
export function ownPlace(register: string, name: string): string | null {
  return isPostgresUrl(register) ? null : `${register}.${name}`;
}

/** Opens the store at the URL of a Redis, or for a single process the one in a file; null = in memory. */
export async function openShared(place: string | null, network: string): Promise<Shared> {
  if (place === null) {
    const { MemoryShared } = await import('./shared-memory.ts');
    return new MemoryShared();
  }
  if (!isRedisUrl(place)) {
    const { SqliteShared } = await import('./shared-sqlite.ts');
    return new SqliteShared(place);
  }
  // Its client is not loaded where nobody needs it.
  const { openRedis } = await import('./redis.ts');
  return openRedis(place, network);
}
