import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parsePrefix } from '../../src/lib/ip.ts';
import { silentLog } from '../../src/lib/log.ts';
import { readServiceFile } from '../../src/roles/network-files.ts';
import { identityOf } from '../../src/roles/service.ts';
import { awaitRegister, awaitShared } from '../../src/roles/stores.ts';
import { noRedis, type RedisServer, startRedis } from '../store/redis-server.ts';
import { eventually } from '../support/eventually.ts';
import { useNetworks } from './cloud/run.ts';

const network = { domain: 'lab.example', range4: parsePrefix('100.80.0.0/16')!, range6: parsePrefix('fd00:1::/64')! };
const never = new Promise<void>(() => {});

const { initNetwork } = useNetworks();

it('a service is the one that the register knows, or is told so in one line', async () => {
  const file = readServiceFile(join(await initNetwork(), 'nms.yaml'));
  const { nodeId, keys } = identityOf(file);
  const open = (service: { nodeId: string; publicKey: Uint8Array }) =>
    awaitRegister(file.registerFile, file.network, silentLog, never, { service });
  await (await open({ nodeId, publicKey: keys.publicKey }))!.close();
  await expect(open({ nodeId, publicKey: new Uint8Array(32) })).rejects.toThrow(/^the register .*nms has another key/);
  const stranger = { nodeId: '0'.repeat(32), publicKey: keys.publicKey };
  await expect(open(stranger)).rejects.toMatchObject({ code: 'CONFIG_SERVICE', message: /no such service/ });
});

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
    await eventually(() => expect(warn.mock.calls.length).toBeGreaterThan(1));
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
