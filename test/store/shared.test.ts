/** What every store that replicas share must keep to, whatever it is made of. */

import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { describeRedis } from '../../src/store/redis.ts';
import { openShared, type Shared } from '../../src/store/shared.ts';
import { MemoryShared } from '../../src/store/shared-memory.ts';
import { SqliteShared } from '../../src/store/shared-sqlite.ts';
import { until } from '../lab/toolkit/command.ts';
import { noRedis, type RedisServer, startRedis } from './redis-server.ts';

const directory = mkdtempSync(join(tmpdir(), 'cyphonic-shared-'));
const file = join(directory, 'register.db.presence');
let redis: RedisServer;
const opened: Shared[] = [];

beforeAll(async () => {
  if (!noRedis) redis = await startRedis();
});

afterEach(async () => {
  for (const shared of opened.splice(0)) await shared.close();
  for (const name of readdirSync(directory)) rmSync(join(directory, name));
});

afterAll(async () => {
  rmSync(directory, { recursive: true });
  await redis?.stop();
});

async function open(url: string | null, network = 'lab.example'): Promise<Shared> {
  const shared = await openShared(url, network);
  opened.push(shared);
  return shared;
}

const memory = new MemoryShared();
const stores = [
  { name: 'memory', skip: false, replicas: async () => [memory, memory] as const },
  {
    name: 'SQLite',
    skip: false,
    replicas: async () => {
      const one = await open(file);
      return [one, one] as const;
    },
  },
  {
    name: 'Redis',
    skip: noRedis,
    replicas: async () => {
      await redis.command('FLUSHALL');
      return [await open(redis.url), await open(redis.url)] as const;
    },
  },
];

describe.each(stores)('replicas on $name', ({ skip, replicas }) => {
  it.skipIf(skip)('recall what others keep, the latest, as long as it lives', async () => {
    const [a, b] = await replicas();
    await a.keep('node 1', 'here', 60_000);
    await a.keep('node 2', 'there', 1);
    await b.keep('node 1', 'there', 60_000);
    await until(async () => (await a.recall(['node 2']))[0] === null, { what: 'the end of a record' });
    expect(await a.recall(['node 1', 'node 2', 'node 3'])).toEqual(['there', null, null]);
  });

  it.skipIf(skip)('claim what nobody has, as long as that lives', async () => {
    const [a, b] = await replicas();
    expect(await Promise.all([a.claim('number 1', 'a', 60_000), b.claim('number 1', 'b', 60_000)])).toEqual([
      true,
      false,
    ]);
    expect(await b.recall(['number 1'])).toEqual(['a']);
    await a.claim('number 2', 'a', 1);
    await until(() => b.claim('number 2', 'b', 60_000), { what: 'the end of a claim' });
  });

  it.skipIf(skip)('add to sets together', async () => {
    const [a, b] = await replicas();
    await a.include('paths', '1', 60_000);
    await b.include('paths', '2', 60_000);
    await b.include('paths', '2', 60_000);
    await a.include('short', '1', 1);
    expect((await a.members('paths')).sort()).toEqual(['1', '2']);
    await a.exclude('paths', '1');
    expect(await b.members('paths')).toEqual(['2']);
    await until(async () => (await b.members('short')).length === 0, { what: 'the end of a set' });
    expect(await b.members('none')).toEqual([]);
  });

  it.skipIf(skip)('take a set once', async () => {
    const [a, b] = await replicas();
    for (const member of ['1', '2', '3']) await a.include('taken', member, 60_000);
    const taken = await Promise.all([a.take('taken'), b.take('taken'), a.take('taken')]);
    expect(taken.flat().sort()).toEqual(['1', '2', '3']);
    expect(taken.filter((members) => members.length > 0)).toHaveLength(1);
  });

  it.skipIf(skip)('hear what is said to them, and nothing else', async () => {
    const [a, b] = await replicas();
    const heard: string[] = [];
    const stop = await b.subscribe('one', (message) => heard.push(message));
    await a.publish('two', 'not for you');
    await a.publish('one', 'ä "quoted" \n\0');
    await until(() => heard.length > 0, { what: 'the message' });
    expect(heard).toEqual(['ä "quoted" \n\0']);
    stop();
    const marked: string[] = [];
    await b.subscribe('mark', (message) => marked.push(message));
    await a.publish('one', 'too late');
    await a.publish('mark', 'mark');
    await until(() => marked.length > 0, { what: 'the mark' });
    expect(heard).toHaveLength(1);
  });
});

describe('SQLite', () => {
  const PAGE = 4096;
  const LIFE_MS = 60_000;
  let wall = 1_000_000;
  const start = (): SqliteShared => {
    const shared = new SqliteShared(file, () => wall);
    opened.push(shared);
    return shared;
  };
  /** As a `kill -9` leaves the files: what is committed, and no more. */
  const crash = (): void => {
    for (const ending of ['', '-wal', '-shm']) copyFileSync(file + ending, `${file}2${ending}`);
    for (const ending of ['', '-wal', '-shm']) renameSync(`${file}2${ending}`, file + ending);
  };

  it('still knows after a crash what was kept, except for the last moment and what has run out meanwhile', async () => {
    const before = start();
    await before.keep('node 1', 'here', LIFE_MS);
    await before.keep('node 2', 'there', LIFE_MS / 2);
    for (const member of ['1', '2']) await before.include('paths', member, LIFE_MS);
    await before.include('short', '1', LIFE_MS / 2);
    const other = new Database(file, { readonly: true });
    await until(() => other.prepare('SELECT 1 FROM records').get() !== undefined, { what: 'the records on disk' });
    other.close();
    await before.keep('node 1', 'too late', LIFE_MS);
    expect(await before.recall(['node 1'])).toEqual(['too late']);
    crash();
    wall += LIFE_MS / 2;
    const after = start();
    expect(await after.recall(['node 1', 'node 2'])).toEqual(['here', null]);
    expect((await after.members('paths')).sort()).toEqual(['1', '2']);
    expect(await after.members('short')).toEqual([]);
    // What has run out leaves the file too, and a set that begins anew is not the former one.
    await after.include('short', '2', LIFE_MS);
    await after.close();
    const left = new Database(file, { readonly: true });
    expect(left.prepare('SELECT key FROM records').pluck().all()).toEqual(['node 1']);
    expect(left.prepare("SELECT member FROM members WHERE name = 'short'").pluck().all()).toEqual(['2']);
    left.close();
  });

  it('writes once for all that happens within a second', async () => {
    const shared = start();
    const frames = (): number => statSync(`${file}-wal`).size;
    await shared.keep('node 0', 'here', LIFE_MS);
    const before = frames();
    for (let i = 0; i < 1_000; i++) await shared.keep(`node ${i}`, 'here', LIFE_MS);
    expect(frames()).toBe(before);
    await until(() => frames() > before, { what: 'the write' });
    expect(await shared.recall(['node 999'])).toEqual(['here']);
  });

  it('begins anew where its file cannot be read, or is of another version, which nobody else may read', async () => {
    writeFileSync(file, 'no database at all, but long enough to have a header that could be one'.repeat(100));
    const shared = start();
    await shared.keep('node 1', 'here', LIFE_MS);
    await shared.close();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const database = new Database(file);
    database.exec('DROP TABLE records; PRAGMA user_version = 7');
    database.close();
    expect(await start().recall(['node 1'])).toEqual([null]);
  });

  it('looks through its file after a start of the system, and begins anew where that is damaged', async () => {
    const fill = async (): Promise<void> => {
      const shared = start();
      for (let i = 0; i < 1_000; i++) await shared.include(`paths ${i}`, 'here', LIFE_MS);
      await shared.close();
    };
    const otherBoot = (): void => {
      const database = new Database(file);
      database.pragma('application_id = 1');
      database.close();
    };
    await fill();
    otherBoot();
    expect(await start().members('paths 999')).toEqual(['here']);
    await opened.pop()!.close();
    otherBoot();
    const octets = readFileSync(file);
    octets.fill(0xff, 4 * PAGE, octets.length - PAGE);
    writeFileSync(file, octets);
    const anew = start();
    expect(await anew.members('paths 999')).toEqual([]);
    await anew.include('paths 999', 'there', LIFE_MS);
    expect(await anew.members('paths 999')).toEqual(['there']);
  });

  it('says in one line where it cannot be', async () => {
    await expect(openShared(join(directory, 'nowhere', 'presence'), 'lab.example')).rejects.toThrow(
      /^cannot use the .*ENOENT/,
    );
  });
});

describe.skipIf(noRedis)('Redis', () => {
  it('is no common ground of two networks', async () => {
    const [a, b] = [await open(redis.url), await open(redis.url, 'other.example')];
    await a.keep('node 1', 'here', 60_000);
    expect(await b.recall(['node 1'])).toEqual([null]);
  });

  it('may go and come back: what is asked meanwhile is refused at once, listeners listen again', async () => {
    const [a, b] = [await open(redis.url), await open(redis.url)];
    const heard: string[] = [];
    await b.subscribe('one', (message) => heard.push(message));
    await redis.crash();
    await until(() => !a.reachable && !b.reachable, { what: 'the loss of the server' });
    await expect(a.keep('node 1', 'here', 60_000)).rejects.toThrow();
    await expect(a.recall(['node 1'])).rejects.toThrow();
    await redis.start();
    await until(() => a.reachable && b.reachable, { what: 'the connections' });
    expect(await a.recall(['node 1'])).toEqual([null]);
    await until(
      async () => {
        await a.publish('one', 'again').catch(() => {});
        return heard.includes('again');
      },
      { what: 'a message after the return' },
    );
  });

  it('that is not there ends in one line without the password', async () => {
    const url = 'redis://:secret@127.0.0.1:1/0';
    await expect(open(url)).rejects.toThrow(/^no Redis at redis:\/\/127\.0\.0\.1:1\/0/);
    expect(describeRedis(url)).not.toContain('secret');
  });
});
