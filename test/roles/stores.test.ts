import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parsePrefix } from '../../src/lib/ip.ts';
import { silentLog } from '../../src/lib/log.ts';
import { awaitShared } from '../../src/roles/stores.ts';
import { noRedis, type RedisServer, startRedis } from '../store/redis-server.ts';

const network = { domain: 'lab.example', range4: parsePrefix('100.80.0.0/16')!, range6: parsePrefix('fd00:1::/64')! };
const never = new Promise<void>(() => {});

it('services without replicas share memory', async () => {
  const shared = await awaitShared(null, network, silentLog, never);
  await shared!.keep('a', 'b', 1_000);
  expect(await shared!.recall(['a'])).toEqual(['b']);
});

describe.skipIf(noRedis)('services with replicas', () => {
  let redis: RedisServer;
  beforeEach(async () => {
    redis = await startRedis();
  });
  afterEach(() => redis.stop());

  it('wait for a Redis that is not there, saying so, and never go on with memory', async () => {
    await redis.crash();
    const warn = vi.fn();
    let got: unknown = 'nothing yet';
    const waiting = awaitShared(redis.url, network, { ...silentLog, warn }, never).then((shared) => {
      got = shared;
      return shared;
    });
    await vi.waitFor(() => expect(warn.mock.calls.length).toBeGreaterThan(1), { timeout: 10_000 });
    const why = expect.stringMatching(/^no Redis at unix:.*replicas share nothing without one/);
    expect(warn).toHaveBeenCalledWith('what replicas share is not there yet', { why, againInMs: expect.any(Number) });
    expect(got).toBe('nothing yet');
    await redis.start();
    const shared = await waiting;
    await shared!.keep('a', 'b', 60_000);
    expect(await redis.command('GET', 'cyphonic:lab.example:a')).toBe('b');
    await shared!.close();
  });

  it('stop waiting when they are told to stop', async () => {
    await redis.crash();
    const stop = Promise.withResolvers<void>();
    const waiting = awaitShared(redis.url, network, silentLog, stop.promise);
    stop.resolve();
    expect(await waiting).toBeNull();
  });
});
