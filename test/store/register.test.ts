/** The contract of every register, looped over all stores. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Device, DeviceSelector, Network, Service } from '../../src/lib/device.ts';
import { contains, parsePrefix } from '../../src/lib/ip.ts';
import { openMemory } from '../../src/store/memory.ts';
import { openPostgres } from '../../src/store/postgres.ts';
import type { Register } from '../../src/store/register.ts';
import { createSqlite, openSqlite } from '../../src/store/sqlite.ts';
import { eventually } from '../support/eventually.ts';
import fc from '../support/property.ts';
import { key, login, network, newDevice } from './network.ts';
import { makePostgres, noPostgres, type PostgresServer, startPostgres } from './postgres-server.ts';

let directory: string;
let clock: number;
let count = 0;

type Open = (network: Network) => Register | Promise<Register>;
const stores: Record<string, Open> = {
  memory: (network) => openMemory(network, () => clock),
  sqlite: (network) => {
    const file = join(directory, `register-${count++}.db`);
    createSqlite(file);
    return openSqlite(file, network, () => clock);
  },
  ...(!noPostgres && {
    postgres: async (network) => {
      const url = await server.freshUrl();
      await makePostgres(url);
      return openPostgres(url, network, { clock: () => clock });
    },
  }),
};

let server: PostgresServer;
beforeAll(async () => {
  if (!noPostgres) server = await startPostgres();
});
afterAll(() => server?.stop());

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cyphonic-register-'));
  clock = 1_700_000_000_000;
});
afterEach(() => rmSync(directory, { recursive: true }));

async function find(register: Register, by: DeviceSelector['by'], value: string): Promise<Device | null> {
  const answer = await register.query({ get: 'device', selector: { by, value } });
  return answer.got === 'device' ? answer.device : null;
}

async function credentialsOf(register: Register, deviceId: string) {
  const answer = await register.query({ get: 'credentials', deviceId });
  return answer.got === 'credentials' ? answer.credentials : null;
}

async function changesSince(register: Register, since: number) {
  const answer = await register.query({ get: 'changes', since });
  if (answer.got !== 'changes') throw new Error('not an answer to the question');
  return {
    revision: answer.revision,
    changed: answer.changed.map((device) => device.deviceId),
    removed: answer.removed.map((device) => device.deviceId),
  };
}

describe.each(Object.entries(stores))('register in %s', (_, open) => {
  let register: Register;
  beforeEach(async () => {
    register = await open(network);
  });
  afterEach(() => register.close());

  test('gives a device name, identity and the next addresses, the same host in both families', async () => {
    const a = await register.add(newDevice('Cam1', { groups: ['x', 'y'] }));
    expect(a).toMatchObject({
      deviceId: 'Cam1',
      fqdn: 'cam1.lab.example',
      vip4: '100.80.0.2',
      vip6: 'fd00:1:2:3::2',
      groups: ['x', 'y'],
      kind: 'node',
      state: 'new',
      signKey: null,
      lastSeen: null,
    });
    expect(a.nodeId).toMatch(/^[\da-f]{32}$/);
    const b = await register.add(newDevice('b', { mode: 'ipv6' }));
    expect([b.vip4, b.vip6]).toEqual([null, 'fd00:1:2:3::3']);
    const c = await register.add(newDevice('c', { mode: 'ipv4' }));
    expect([c.vip4, c.vip6]).toEqual(['100.80.0.4', null]);
    expect(await register.list()).toEqual([b, c, a].sort((x, y) => (x.fqdn < y.fqdn ? -1 : 1)));
  });

  test('finds a device by everything that names it, whatever the case', async () => {
    await register.add(newDevice('gw'));
    const cam = await register.add(newDevice('Cam', { adapter: 'GW', mac: '02:00:00:00:00:0a', auth: 'mac' }));
    const names: [DeviceSelector['by'], string][] = [
      ['deviceId', 'cAM'],
      ['nodeId', cam.nodeId],
      ['fqdn', 'CAM.lab.example'],
      ['vip', cam.vip4!],
      ['vip', cam.vip6!],
      ['mac', '02:00:00:00:00:0A'],
    ];
    for (const [by, value] of names) expect(await find(register, by, value)).toEqual(cam);
    expect(cam).toMatchObject({ kind: 'general', adapter: 'gw' });
    expect((await find(register, 'deviceId', 'gw'))?.kind).toBe('adapter');
    for (const by of ['deviceId', 'nodeId', 'fqdn', 'vip', 'mac'] as const) {
      expect(await find(register, by, 'nothing')).toBeNull();
    }
  });

  test('refuses what is there twice, and adapters that are none', async () => {
    await register.add(newDevice('gw'));
    await register.add(newDevice('cam', { adapter: 'gw', mac: '02:00:00:00:00:0a' }));
    const before = await register.revision();
    await expect(register.add(newDevice('GW'))).rejects.toMatchObject({ code: 'REGISTER_DEVICE_EXISTS' });
    const again = newDevice('cam2', { adapter: 'gw', mac: '02:00:00:00:00:0a' });
    await expect(register.add(again)).rejects.toMatchObject({ code: 'REGISTER_MAC_EXISTS' });
    await expect(register.add(newDevice('d', { adapter: 'cam' }))).rejects.toMatchObject({
      code: 'REGISTER_NOT_ADAPTER',
    });
    await expect(register.add(newDevice('d', { adapter: 'no' }))).rejects.toMatchObject({
      code: 'REGISTER_UNKNOWN_DEVICE',
    });
    await expect(register.remove('gw')).rejects.toMatchObject({ code: 'REGISTER_ADAPTER_IN_USE' });
    await expect(register.renewSecret('cam', null)).rejects.toMatchObject({ code: 'REGISTER_GENERAL_NODE' });
    for (const call of [
      () => register.remove('no'),
      () => register.setEnabled('no', false),
      () => register.renewSecret('no', null),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: 'REGISTER_UNKNOWN_DEVICE' });
    }
    expect(await register.revision()).toBe(before);
    expect((await register.list()).map((device) => device.deviceId)).toEqual(['cam', 'gw']);
  });

  test('pins the keys of the first login and keeps them', async () => {
    await register.add(newDevice('a'));
    expect(await register.change(login('a', 1, false))).toBe('conflict');
    expect(await register.change(login('A', 1))).toBe('saved');
    expect(await find(register, 'deviceId', 'a')).toMatchObject({
      state: 'new',
      signKey: key(1),
      handshakeKey: key(2),
      commonKey: null,
      pendingCommonKey: key(3),
      certificate: new Uint8Array([1, 1, 2]),
    });
    expect(await register.change(login('a', 9))).toBe('conflict');
    expect(await register.change({ ...login('a', 1), handshakeKey: key(9) })).toBe('conflict');
    expect(await register.change(login('a', 1, false))).toBe('saved');
    expect(await register.change(login('b', 1))).toBe('unknown-device');
  });

  test('an acknowledged login makes its key current and spends the secret', async () => {
    await register.add(newDevice('a'));
    await register.add(newDevice('p', { auth: 'password', secretExpires: null }));
    for (const deviceId of ['a', 'p']) {
      await register.change(login(deviceId, 1));
      expect(await register.change({ set: 'acknowledged', deviceId, commonKey: key(7) })).toBe('conflict');
      expect(await register.change({ set: 'acknowledged', deviceId, commonKey: key(3) })).toBe('saved');
      const device = await find(register, 'deviceId', deviceId);
      expect(device).toMatchObject({ state: 'enrolled', commonKey: key(3), pendingCommonKey: null });
    }
    expect(await register.change({ set: 'acknowledged', deviceId: 'no', commonKey: key(3) })).toBe('unknown-device');
    expect((await credentialsOf(register, 'a'))?.secretUsed).toBe(true);
    expect((await credentialsOf(register, 'p'))?.secretUsed).toBe(false);
  });

  test('keeps the CA of a general node with a certificate, where only the AS reads it', async () => {
    const trustedCa = `-----BEGIN CERTIFICATE-----\n${'QUFB'.repeat(4_000)}\n-----END CERTIFICATE-----\n`;
    await register.add(newDevice('gw'));
    const general = { adapter: 'gw', mac: '02:00:00:00:00:0a', secretHash: null, secretExpires: null } as const;
    const robot = await register.add(newDevice('robot', { ...general, auth: 'certificate', trustedCa }));
    expect(robot).toMatchObject({ auth: 'certificate', kind: 'general' });
    expect(JSON.stringify(robot)).not.toContain('CERTIFICATE');
    expect(await credentialsOf(register, 'robot')).toMatchObject({ trustedCa, secretHash: null });
    expect((await credentialsOf(register, 'gw'))?.trustedCa).toBeNull();
  });

  test('a new secret lets the next login by secret replace the keys, once, of general nodes too', async () => {
    await register.add(newDevice('gw'));
    await register.add(newDevice('cam', { adapter: 'gw', auth: 'mac', mac: '02:00:00:00:00:0a', secretHash: null }));
    for (const deviceId of ['gw', 'cam']) await register.change(login(deviceId, 1));
    await register.change({ set: 'acknowledged', deviceId: 'gw', commonKey: key(3) });
    await register.renewSecret('gw', { hash: 'other', expires: 5 });
    expect(await credentialsOf(register, 'gw')).toMatchObject({
      secretHash: 'other',
      secretExpires: 5,
      secretUsed: false,
    });
    // A renewal by the present keys leaves the new secret unspent.
    await register.change(login('gw', 1, false));
    await register.change({ set: 'acknowledged', deviceId: 'gw', commonKey: key(3) });
    expect((await credentialsOf(register, 'gw'))?.secretUsed).toBe(false);
    for (const deviceId of ['gw', 'cam']) {
      expect(await register.change(login(deviceId, 1, false))).toBe('saved');
      expect(await register.change(login(deviceId, 5, false))).toBe('conflict');
      expect(await register.change(login(deviceId, 5))).toBe('saved');
      expect(await register.change(login(deviceId, 6))).toBe('conflict');
    }
    await register.renewSecret('gw', null);
    expect((await credentialsOf(register, 'gw'))?.secretHash).toBe('other');
    expect(await register.change(login('gw', 6))).toBe('saved');
  });

  test('a disabled device cannot log in until it is enabled', async () => {
    await register.add(newDevice('a'));
    expect((await register.setEnabled('a', false)).state).toBe('disabled');
    expect(await register.change(login('a', 1))).toBe('conflict');
    expect((await register.setEnabled('a', true)).state).toBe('new');
    expect(await register.change(login('a', 1))).toBe('saved');
    await register.change({ set: 'acknowledged', deviceId: 'a', commonKey: key(3) });
    await register.setEnabled('a', false);
    expect((await register.setEnabled('a', true)).state).toBe('enrolled');
  });

  test('tells what changed and what was removed since a revision', async () => {
    const a = await register.add(newDevice('a'));
    await register.add(newDevice('b'));
    await register.add(newDevice('c'));
    const start = await register.revision();
    expect(await changesSince(register, start)).toEqual({ revision: start, changed: [], removed: [] });
    await register.setEnabled('c', false);
    await register.change(login('a', 1));
    await register.remove('b');
    const now = await register.revision();
    expect(await changesSince(register, start)).toEqual({ revision: now, changed: ['c', 'a'], removed: ['b'] });
    expect(await changesSince(register, 0)).toEqual({ revision: now, changed: ['c', 'a'], removed: ['b'] });
    expect(await register.change({ set: 'seen', nodes: [{ nodeId: a.nodeId, at: 5 }] })).toBe('saved');
    expect(await register.revision()).toBe(now);
  });

  test('remembers when a device was last seen, never backwards', async () => {
    const a = await register.add(newDevice('a'));
    for (const at of [100, 300, 200]) await register.change({ set: 'seen', nodes: [{ nodeId: a.nodeId, at }] });
    expect((await find(register, 'deviceId', 'a'))?.lastSeen).toBe(300);
    const b = await register.add(newDevice('b'));
    // Among others that are not there.
    const nodes = [b.nodeId, 'f'.repeat(32), a.nodeId].map((nodeId) => ({ nodeId, at: 400 }));
    expect(await register.change({ set: 'seen', nodes })).toBe('saved');
    expect((await register.list()).map(({ lastSeen }) => lastSeen)).toEqual([400, 400]);
    await register.remove('a');
    expect(await register.change({ set: 'seen', nodes })).toBe('saved');
    expect(await find(register, 'deviceId', 'a')).toBeNull();
  });

  test('a removed device holds its addresses while a certificate could name them', async () => {
    await register.add(newDevice('never'));
    await register.remove('never');
    const first = await register.add(newDevice('a'));
    expect(first.vip4).toBe('100.80.0.2');
    await register.change({ ...login('a', 1), keyExpires: clock + 7 * 86_400_000 });
    await register.remove('a');
    const again = await register.add(newDevice('a'));
    expect(again).toMatchObject({ vip4: '100.80.0.3', state: 'new', signKey: null });
    expect(again.nodeId).not.toBe(first.nodeId);
    expect((await register.add(newDevice('b'))).vip4).toBe('100.80.0.4');
  });

  test('gives freed addresses again when no other is left; a network of one /29 has five', async () => {
    const small = await open({ ...network, range4: parsePrefix('192.0.2.8/29')!, range6: parsePrefix('fd00::/64')! });
    for (let host = 2; host <= 6; host++) {
      expect((await small.add(newDevice(`d${host}`))).vip4).toBe(`192.0.2.${8 + host}`);
    }
    await expect(small.add(newDevice('e'))).rejects.toMatchObject({ code: 'REGISTER_RANGE_FULL' });
    await small.remove('d4');
    expect((await small.add(newDevice('e'))).vip6).toBe('fd00::4');
    await small.change({ ...login('d3', 1), keyExpires: clock + 7 * 86_400_000 });
    await small.remove('d3');
    await expect(small.add(newDevice('f'))).rejects.toMatchObject({ code: 'REGISTER_RANGE_FULL' });
    clock += 9 * 86_400_000;
    expect((await small.add(newDevice('f'))).vip4).toBe('192.0.2.11');
    await small.close();
  });

  test('keeps services', async () => {
    const service: Service = {
      name: 'nms',
      role: 'nms',
      nodeId: '1'.repeat(32),
      publicKey: key(1),
      address4: '192.0.2.1',
      address6: null,
      port: 7441,
      tlsPort: null,
    };
    const other: Service = {
      ...service,
      name: 'a',
      role: 'trs',
      nodeId: '2'.repeat(32),
      address6: '2001:db8::1',
      tlsPort: 443,
    };
    await register.putService(service);
    await register.putService(other);
    expect(await register.query({ get: 'services' })).toEqual({ got: 'services', services: [other, service] });
    const moved = { ...service, address4: '192.0.2.2', port: 9 };
    await register.putService(moved);
    expect(await register.query({ get: 'services' })).toEqual({ got: 'services', services: [other, moved] });
    expect(await register.revision()).toBe(3);
  });

  test('lists devices page by page, of one adapter too', async () => {
    await register.add(newDevice('gw'));
    for (const [i, id] of ['c', 'B', 'a'].entries()) {
      await register.add(newDevice(id, { adapter: 'GW', mac: `02:00:00:00:00:0${i}` }));
    }
    const page = async (after: string | null, limit: number, adapter?: string) => {
      const devices = await register.list({ after, limit, ...(adapter !== undefined && { adapter }) });
      return devices.map(({ deviceId }) => deviceId);
    };
    expect(await page(null, 2)).toEqual(['a', 'B']);
    expect(await page('b', 2)).toEqual(['c', 'gw']);
    expect(await page('GW', 2)).toEqual([]);
    expect(await page(null, 10, 'Gw')).toEqual(['a', 'B', 'c']);
    expect(await page('A', 1, 'gw')).toEqual(['B']);
    expect(await page(null, 10, 'a')).toEqual([]);
  });

  test('writes down who changed what and when, nothing for what was refused', async () => {
    await register.add(newDevice('a'), 'token:ops');
    clock += 1000;
    await register.change(login('a', 1));
    await register.change(login('a', 1, false));
    await register.renewSecret('A', null, 'token:ops');
    await register.setEnabled('a', false);
    await register.setEnabled('a', true, 'local:root');
    await expect(register.add(newDevice('a'), 'token:other')).rejects.toThrow();
    await expect(register.remove('no', 'token:other')).rejects.toThrow();
    await register.remove('a', 'token:ops');
    const all = await register.audit(null, 100);
    expect(all.map(({ by, action, subject, at }) => [by, action, subject, at - clock])).toEqual([
      ['token:ops', 'remove', 'a', 0],
      ['local:root', 'enable', 'a', 0],
      ['local', 'disable', 'a', 0],
      ['token:ops', 'token', 'a', 0],
      ['device:a', 'pin', 'a', 0],
      ['token:ops', 'add', 'a', -1000],
    ]);
    expect(await register.audit(null, 2)).toEqual(all.slice(0, 2));
    expect(await register.audit(all[1]!.number, 3)).toEqual(all.slice(2, 5));
    expect(await register.audit(all.at(-1)!.number, 3)).toEqual([]);
  });

  test('calls watchers back after a change, not after presence, and not once they stopped', async () => {
    const seen: number[] = [];
    const stop = register.watch((revision) => seen.push(revision), 10);
    const a = await register.add(newDevice('a'));
    await eventually(() => expect(seen).toEqual([1]));
    await register.change({ set: 'seen', nodes: [{ nodeId: a.nodeId, at: 1 }] });
    await register.setEnabled('a', false);
    await eventually(() => expect(seen).toEqual([1, 2]));
    stop();
    await register.setEnabled('a', true);
    await new Promise((resolve) => setImmediate(resolve));
    expect(seen).toEqual([1, 2]);
  });

  test('whatever is added and removed, live devices never share a name or an address', async () => {
    const step = fc.tuple(fc.constantFrom('add', 'login', 'remove'), fc.integer({ min: 0, max: 9 }));
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const own = await open(network);
        const live = new Set<string>();
        for (const [what, n] of steps) {
          const deviceId = `d${n}`;
          if (what === 'add' && !live.has(deviceId)) {
            await own.add(newDevice(deviceId));
            live.add(deviceId);
          } else if (what === 'login' && live.has(deviceId)) await own.change(login(deviceId, n));
          else if (what === 'remove' && live.delete(deviceId)) await own.remove(deviceId);
        }
        const devices = await own.list();
        await own.close();
        expect(devices.map((device) => device.deviceId)).toEqual([...live].sort());
        for (const field of ['vip4', 'vip6', 'nodeId', 'revision'] as const) {
          expect(new Set(devices.map((device) => device[field])).size).toBe(devices.length);
        }
        for (const { vip4, vip6 } of devices) {
          expect(contains(network.range4, vip4!) && contains(network.range6, vip6!)).toBe(true);
        }
      }),
      { numRuns: 15 },
    );
  });
});
