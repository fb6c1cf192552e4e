/** What only a register on a server has: other processes, failures of the server, and roles. */

import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { describePostgres, openPostgres, transaction } from '../../src/store/postgres.ts';
import { POSTGRES_SCHEMA } from '../../src/store/postgres-schema.ts';
import { fillPostgres, type RoleUrls, updatePostgres } from '../../src/store/postgres-setup.ts';
import type { Register } from '../../src/store/register.ts';
import type { Snapshot } from '../../src/store/sqlite.ts';
import { eventually } from '../support/eventually.ts';
import { key, login, network, newDevice } from './network.ts';
import { makePostgres, noPostgres, type PostgresServer, startPostgres } from './postgres-server.ts';

const nothing: Snapshot = {
  revision: 0,
  devices: [],
  credentials: [],
  removed: [],
  lastSeen: new Map(),
  services: [],
  audit: [],
};

let server: PostgresServer;
let url: string;

beforeAll(async () => {
  if (!noPostgres) server = await startPostgres();
});
afterAll(() => server?.stop());

async function ask(at: string, question: string): Promise<pg.QueryResult> {
  const client = new pg.Client(at);
  await client.connect();
  try {
    return await client.query(question);
  } finally {
    await client.end();
  }
}

describe('a transaction', () => {
  const open = (codes: readonly (string | null)[]) => {
    const said: string[] = [];
    const client = { query: async (text: string) => void said.push(text), release: () => void said.push('release') };
    const pool = { connect: async () => client } as unknown as pg.Pool;
    let tries = 0;
    const work = async (): Promise<number> => {
      const code = codes[tries++] ?? null;
      if (code !== null) throw Object.assign(new RangeError(code), { code });
      return tries;
    };
    return { said, run: () => transaction(pool, work) };
  };

  test('is run again when the server could not put it in order with others (40001, 40P01)', async () => {
    const { said, run } = open(['40001', '40P01', null]);
    expect(await run()).toBe(3);
    const failed = ['BEGIN', 'ROLLBACK', 'release'];
    expect(said).toEqual([...failed, ...failed, 'BEGIN', 'COMMIT', 'release']);
  });

  test('is not run again for any other reason, as it may have been kept', async () => {
    const { said, run } = open(['23505']);
    await expect(run()).rejects.toMatchObject({ code: '23505' });
    expect(said).toEqual(['BEGIN', 'ROLLBACK', 'release']);
  });
});

describe.skipIf(noPostgres)('a register on PostgreSQL', () => {
  beforeEach(async () => {
    url = await server.freshUrl();
  });

  test.each(['read committed', 'serializable'])(
    'gives concurrent writers different addresses (%s)',
    async (isolation) => {
      await makePostgres(url);
      await ask(
        url,
        `ALTER DATABASE ${new URL(url).pathname.slice(1)} SET default_transaction_isolation = '${isolation}'`,
      );
      const registers = await Promise.all([1, 2, 3].map(() => openPostgres(url, network)));
      try {
        const added = await Promise.all(
          Array.from({ length: 24 }, (_, i) => registers[i % 3]!.add(newDevice(`d${i}`), `token:${i % 3}`)),
        );
        expect(new Set(added.map(({ vip4 }) => vip4)).size).toBe(24);
        expect(new Set(added.map(({ revision }) => revision)).size).toBe(24);
        const [one] = registers as [Register];
        expect(await one.revision()).toBe(24);
        expect((await one.audit(null, 100)).map(({ number }) => number)).toEqual(
          Array.from({ length: 24 }, (_, i) => 24 - i),
        );
      } finally {
        for (const register of registers) await register.close();
      }
    },
  );

  test('only one of several logins pins its keys', async () => {
    await makePostgres(url);
    const registers = await Promise.all([1, 2].map(() => openPostgres(url, network)));
    try {
      await registers[0]!.add(newDevice('a'));
      const results = await Promise.all(
        Array.from({ length: 8 }, (_, i) => registers[i % 2]!.change(login('a', 10 * (i + 1)))),
      );
      expect(results.filter((result) => result === 'saved')).toHaveLength(1);
      expect(results.filter((result) => result === 'conflict')).toHaveLength(7);
    } finally {
      for (const register of registers) await register.close();
    }
  });

  test('tells of changes by other processes', async () => {
    await makePostgres(url);
    const [mine, others] = await Promise.all([openPostgres(url, network), openPostgres(url, network)]);
    const seen: number[] = [];
    mine.watch((revision) => seen.push(revision), 20);
    await mine.revision();
    await eventually(async () => {
      await others.add(newDevice(`d${seen.length}${await others.revision()}`));
      expect(seen.length).toBeGreaterThan(0);
    });
    await mine.close();
    await others.close();
  });

  test('what was answered survives a crash of the server, which is gone in between and back after', async () => {
    await makePostgres(url);
    const register = await openPostgres(url, network);
    const kept: string[] = [];
    let crashed = false;
    const writer = (async () => {
      for (let i = 0; !crashed; i++) {
        const { deviceId } = await register.add(newDevice(`d${i}`)).catch(() => ({ deviceId: null }));
        if (deviceId !== null) kept.push(deviceId);
      }
    })();
    await eventually(() => expect(kept.length).toBeGreaterThan(5));
    await server.crash();
    crashed = true;
    await writer;
    await expect(register.list()).rejects.toMatchObject({ code: 'SYS_REGISTER', details: { transient: true } });
    await expect(openPostgres(url, network)).rejects.toMatchObject({ details: { transient: true } });
    await server.start();
    // The same register goes on, on new connections.
    const left = (await register.list()).map(({ deviceId }) => deviceId);
    for (const deviceId of kept) expect(left).toContain(deviceId);
    // The answer is hardly there when the server dies.
    expect((await register.add(newDevice('later'))).deviceId).toBe('later');
    await server.crash();
    await server.start();
    expect((await register.list()).map(({ deviceId }) => deviceId)).toContain('later');
    await register.close();
  });

  test('refuses another schema, no schema, and what is no server, without telling the password', async () => {
    await expect(openPostgres(url, network)).rejects.toThrow(/there is no register; make one/);
    await makePostgres(url);
    expect(await updatePostgres(url, key(9))).toEqual({ before: POSTGRES_SCHEMA, after: POSTGRES_SCHEMA });
    await ask(url, 'UPDATE schema_version SET version = 1000');
    await expect(openPostgres(url, network)).rejects.toMatchObject({ code: 'CONFIG_SCHEMA' });
    await ask(url, 'UPDATE schema_version SET version = 0');
    await expect(openPostgres(url, network)).rejects.toThrow(/there is no register/);
    const secret = 'postgres://user:hunter2@127.0.0.1:1/network';
    expect(describePostgres(secret)).toBe('postgres://127.0.0.1:1/network');
    const error = await openPostgres(secret, network).catch((cause: Error) => cause);
    expect(error).toMatchObject({ code: 'SYS_REGISTER', details: { transient: true } });
    expect((error as Error).message).not.toContain('hunter2');
  });
});

describe.skipIf(noPostgres)('database roles', () => {
  let urls: RoleUrls;
  let as: Register;
  beforeEach(async () => {
    url = await server.freshUrl();
    urls = await fillPostgres(url, nothing, key(9), () => true);
    as = await openPostgres(urls.as, network);
    await as.add(newDevice('a'));
    await as.putService({
      name: 'nms',
      role: 'nms',
      nodeId: '1'.repeat(32),
      publicKey: key(1),
      address4: '192.0.2.1',
      address6: null,
      port: 7441,
      tlsPort: null,
    });
    return () => as.close();
  });

  const denied = { code: '42501' };

  test('the AS of another CA is refused in one line, also after an update of a schema that knew no CA', async () => {
    const other = openPostgres(urls.as, network, { authority: key(8) });
    await expect(other).rejects.toMatchObject({ code: 'CONFIG_AUTHORITY', message: /certificates of another CA/ });
    await (await openPostgres(urls.as, network, { authority: key(9) })).close();
    await ask(url, 'DROP TABLE authority; ALTER TABLE service DROP COLUMN tls_port');
    await ask(url, 'UPDATE schema_version SET version = 1');
    await expect(openPostgres(urls.as, network)).rejects.toThrow(/version 1; run `cyphonic cloud migrate`/);
    expect(await updatePostgres(url, key(9))).toEqual({ before: 1, after: POSTGRES_SCHEMA });
    await expect(openPostgres(urls.as, network, { authority: key(8) })).rejects.toThrow(/another CA/);
    await (await openPostgres(urls.nms, network)).close();
  });

  test('a one-time secret pins the keys of one login only, however many replicas of the AS take it at once', async () => {
    const replicas = await Promise.all([1, 2, 3].map(() => openPostgres(urls.as, network)));
    const results = await Promise.all(
      replicas.map((replica, i) => {
        const keys = { signKey: key(10 + i), handshakeKey: key(20 + i), pendingCommonKey: key(30 + i) };
        const more = { mayPin: true, certificate: key(40 + i), keyExpires: 1 };
        return replica.change({ set: 'login', deviceId: 'a', ...keys, ...more });
      }),
    );
    expect(results.sort()).toEqual(['conflict', 'conflict', 'saved']);
    const [device] = await as.list();
    const winner = device!.signKey![0]! - 10;
    expect(device).toMatchObject({ handshakeKey: key(20 + winner), pendingCommonKey: key(30 + winner) });
    const losers = [0, 1, 2].filter((i) => i !== winner);
    const acknowledged = losers.map((i) => as.change({ set: 'acknowledged', deviceId: 'a', commonKey: key(30 + i) }));
    expect(await Promise.all(acknowledged)).toEqual(['conflict', 'conflict']);
    expect(await as.change({ set: 'acknowledged', deviceId: 'a', commonKey: key(30 + winner) })).toBe('saved');
    for (const replica of replicas) await replica.close();
  });

  test('an NMS does its work, but reads no credentials and changes no device', async () => {
    const nms = await openPostgres(urls.nms, network);
    const { nodeId } = (await as.list())[0]!;
    expect(await nms.query({ get: 'changes', since: 0 })).toMatchObject({ revision: 2, changed: [{ deviceId: 'a' }] });
    expect(await nms.query({ get: 'services' })).toMatchObject({ services: [{ name: 'nms' }] });
    expect(await nms.change({ set: 'seen', nodes: [{ nodeId, at: 5 }] })).toBe('saved');
    await expect(nms.query({ get: 'credentials', deviceId: 'a' })).rejects.toThrow(/permission denied/);
    await expect(nms.setEnabled('a', false)).rejects.toThrow(/permission denied/);
    await nms.close();
    for (const table of ['credential', 'audit']) {
      await expect(ask(urls.nms, `SELECT * FROM ${table}`)).rejects.toMatchObject(denied);
    }
    await expect(ask(urls.nms, 'UPDATE device SET disabled = true')).rejects.toMatchObject(denied);
    await expect(ask(urls.nms, 'DROP TABLE presence')).rejects.toMatchObject(denied);
  });

  test('a TRS reads services only', async () => {
    const trs = await openPostgres(urls.trs, network);
    expect(await trs.query({ get: 'services' })).toMatchObject({ services: [{ name: 'nms' }] });
    expect(await trs.revision()).toBe(2);
    await trs.close();
    for (const table of ['device', 'credential', 'presence', 'audit']) {
      await expect(ask(urls.trs, `SELECT * FROM ${table}`)).rejects.toMatchObject(denied);
    }
  });

  test('the AS adds to the audit log and changes nothing in it', async () => {
    expect(await as.audit(null, 10)).toHaveLength(2);
    await expect(ask(urls.as, 'DELETE FROM audit')).rejects.toMatchObject(denied);
    await expect(ask(urls.as, "UPDATE audit SET author = 'x'")).rejects.toMatchObject(denied);
  });
});
