/** `cloud migrate`: everything is there as it was, and the commands go on with it. */

import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readNetworkFile, readServiceFile } from '../../../src/roles/network-files.ts';
import { awaitRegister } from '../../../src/roles/stores.ts';
import { openRegister } from '../../../src/store/open.ts';
import { openSqlite } from '../../../src/store/sqlite.ts';
import { login } from '../../store/network.ts';
import { noPostgres, type PostgresServer, startPostgres } from '../../store/postgres-server.ts';
import { eventually } from '../../support/eventually.ts';
import { Client, reasonOf } from '../as/client.ts';
import { freePort, freeUdpPorts } from './port.ts';
import { done, json, run, useNetworks } from './run.ts';

const { initNetwork } = useNetworks();
let server: PostgresServer;

beforeAll(async () => {
  if (!noPostgres) server = await startPostgres();
});
afterAll(() => server?.stop());

async function freePorts(): Promise<string[]> {
  const [as, controller, [nms, trs]] = await Promise.all([freePort(), freePort(), freeUdpPorts(2)]);
  return ['--as-port', as, '--controller-port', controller, '--nms-port', nms, '--trs-port', trs].map(String);
}

/** A network with a bit of everything. */
async function makeNetwork(): Promise<string> {
  const dir = await initNetwork();
  for (const id of ['gw', 'b', 'gone']) await done('device', 'add', id, '--dir', dir, '--group', 'g');
  await done('device', 'add', 'a-cam', '--dir', dir, '--adapter', 'gw', '--mac', '02:00:00:00:00:01');
  await done('cloud', 'service', 'add', 'trs', 'trs-2', '--dir', dir, '--address', '203.0.113.5');
  const file = readNetworkFile(join(dir, 'cloud.yaml'));
  const register = openSqlite(file.registerFile, file.network);
  for (const id of ['gw', 'gone']) await register.change(login(id, 1));
  await register.change({ set: 'acknowledged', deviceId: 'gw', commonKey: login('gw', 1).pendingCommonKey });
  const { nodeId } = (await register.list()).find(({ deviceId }) => deviceId === 'gw')!;
  await register.change({ set: 'seen', nodes: [{ nodeId, at: 1_700_000_000_000 }] });
  await register.close();
  await done('device', 'disable', 'b', '--dir', dir);
  await done('device', 'remove', 'gone', '--dir', dir);
  return dir;
}

/** All that can be asked of a register. */
async function contentOf(place: string, dir: string) {
  const register = await openRegister(place, readNetworkFile(join(dir, 'cloud.yaml')).network);
  try {
    const devices = await register.list();
    return {
      devices,
      revision: await register.revision(),
      changes: await register.query({ get: 'changes', since: 0 }),
      credentials: await Promise.all(devices.map(({ deviceId }) => register.query({ get: 'credentials', deviceId }))),
      services: await register.query({ get: 'services' }),
      audit: await register.audit(null, 1_000),
    };
  } finally {
    await register.close();
  }
}

describe.skipIf(noPostgres)('cloud migrate', () => {
  test('keeps everything, and every service gets a role of its own', async () => {
    const dir = await makeNetwork();
    const before = readNetworkFile(join(dir, 'cloud.yaml')).registerFile;
    const content = await contentOf(before, dir);
    const listed = await json('device', 'list', '--dir', dir);
    const url = await server.freshUrl();
    const [line] = await done('cloud', 'migrate', '--dir', dir, '--to', url);
    expect(line).toContain('with 3 devices');
    expect(line).toContain('nms.yaml, trs-2.yaml, trs.yaml, cloud.yaml say so');

    const after = readNetworkFile(join(dir, 'cloud.yaml')).registerFile;
    expect(await contentOf(after, dir)).toEqual(content);
    expect(await json('device', 'list', '--dir', dir)).toEqual(listed);
    const users = ['cloud', 'nms', 'trs', 'trs-2'].map((name) => {
      const path = join(dir, `${name}.yaml`);
      expect(statSync(path).mode & 0o777).toBe(0o600);
      const place = name === 'cloud' ? after : readServiceFile(path).registerFile;
      return new URL(place).username.replace(/^.*_/, '');
    });
    expect(users).toEqual(['as', 'nms', 'trs', 'trs']);

    // Addresses of the removed device are still held, names of devices still taken.
    expect(await json('device', 'add', 'c', '--dir', dir)).toMatchObject({ vip4: '100.80.0.6' });
    expect((await run(['device', 'add', 'GW', '--dir', dir])).err[0]).toContain('already registered');
    expect((await run(['device', 'remove', 'gw', '--dir', dir])).err[0]).toContain('adapter of 1 general nodes');
    await done('cloud', 'service', 'add', 'nms', 'nms-2', '--dir', dir, '--address', '203.0.113.6');
    expect((await contentOf(before, dir)).devices).toHaveLength(3);
    expect(await done('cloud', 'migrate', '--dir', dir, '--to', url)).toEqual([expect.stringContaining('as before')]);
  });

  test('refuses a database in use, another one afterwards, and what is no URL; the network stays where it was', async () => {
    const dir = await initNetwork();
    const url = await server.freshUrl();
    const settings = () => readFileSync(join(dir, 'cloud.yaml'), 'utf8');
    const before = settings();
    const attempt = async (to: string) => {
      const { code, err } = await run(['cloud', 'migrate', '--dir', dir, '--to', to]);
      return [code, err.length, err[0]];
    };
    for (const to of ['sqlite:x', '/tmp/x', 'postgres://']) {
      expect(await attempt(to)).toEqual([2, 1, expect.stringContaining('use one like')]);
    }
    const nobody = url.replace('owner@', 'nobody:hunter2@');
    const [code, lines, message] = await attempt(nobody);
    expect([code, lines, message]).toEqual([1, 1, expect.stringContaining('role "nobody" does not exist')]);
    expect(message).not.toContain('hunter2');
    expect(settings()).toBe(before);

    const other = await initNetwork();
    await done('cloud', 'migrate', '--dir', other, '--to', url);
    expect(await attempt(url)).toEqual([1, 1, expect.stringContaining('not overwritten')]);
    expect(settings()).toBe(before);
    const elsewhere = await run(['cloud', 'migrate', '--dir', other, '--to', await server.freshUrl()]);
    expect(elsewhere).toMatchObject({ code: 2, err: [expect.stringContaining('in another database already')] });
    const backup = await run(['cloud', 'backup', '--dir', other, join(other, 'x.tar')]);
    expect(backup).toMatchObject({ code: 2, err: [expect.stringContaining('pg_dump')] });
  });

  test('devices do not notice: tokens and pinned keys from before count after', async () => {
    const dir = await initNetwork('--address', '127.0.0.1', ...(await freePorts()));
    const [enrolledBefore] = await done('device', 'add', 'early', '--dir', dir);
    const [enrolledAfter] = await done('device', 'add', 'late', '--dir', dir);
    const early = new Client(enrolledBefore!);
    const late = new Client(enrolledAfter!);
    const serving = async (work: () => Promise<void>): Promise<void> => {
      const stop = Promise.withResolvers<void>();
      const ready = Promise.withResolvers<string>();
      const context = { print: (line: string) => ready.resolve(line), stopped: stop.promise };
      const served = run(['cloud', 'serve', '--dir', dir, '--metrics', 'off'], context);
      await Promise.race([ready.promise, served.then(({ err }) => Promise.reject(new RangeError(err.join(' '))))]);
      try {
        await work();
      } finally {
        stop.resolve();
        await served;
      }
    };
    const stateOf = async (id: string) => (await json('device', 'show', id, '--dir', dir)).state;
    await serving(async () => {
      expect(reasonOf(await early.login())).toBe('accepted');
      await eventually(async () => expect(await stateOf('early')).toBe('enrolled'));
    });
    await done('cloud', 'migrate', '--dir', dir, '--to', await server.freshUrl());
    await serving(async () => {
      expect(reasonOf(await late.login())).toBe('accepted');
      await eventually(async () => expect(await stateOf('late')).toBe('enrolled'));
      expect(reasonOf(await new Client(enrolledBefore!).login())).toBe('secretSpent');
      await done('device', 'disable', 'late', '--dir', dir);
      expect(reasonOf(await late.login())).toBe('disabled');
    });
    const { registerFile, network } = readNetworkFile(join(dir, 'cloud.yaml'));
    const register = await openRegister(registerFile, network);
    expect(
      (await register.audit(null, 3)).map(({ by, action, subject }) => [by.split('=')[0], action, subject]),
    ).toEqual([
      ['local:uid', 'disable', 'late'],
      ['device:late', 'pin', 'late'],
      ['device:early', 'pin', 'early'],
    ]);
    await register.close();
  });

  test('a service waits for a server that is not there yet, until it is or the service is stopped', async () => {
    const dir = await initNetwork();
    const url = await server.freshUrl();
    await done('cloud', 'migrate', '--dir', dir, '--to', url);
    const { registerFile, network } = readNetworkFile(join(dir, 'cloud.yaml'));
    await server.crash();
    const warnings: string[] = [];
    const log = { debug() {}, info() {}, error() {}, warn: (message: string) => void warnings.push(message) };
    const stop = Promise.withResolvers<void>();
    const stopped = awaitRegister(registerFile, network, log, stop.promise);
    const patient = awaitRegister(registerFile, network, log, new Promise(() => {}));
    stop.resolve();
    expect(await stopped).toBeNull();
    await server.start();
    const register = await patient;
    expect(await register?.list()).toEqual([]);
    await register?.close();
    expect(warnings).toContain('the register is not there yet');
    // What waiting does not cure is said at once.
    const wrong = registerFile.replace(/\/\/\w+:/, '//nobody:');
    await expect(awaitRegister(wrong, network, log, new Promise(() => {}))).rejects.toMatchObject({
      code: 'SYS_REGISTER',
    });
  });
});
