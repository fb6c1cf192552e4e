/** What only the register on disk promises: to survive `kill -9`, to be shared by processes, to keep its secrets. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { copySqlite, createSqlite, openSqlite } from '../../src/store/sqlite.ts';
import { eventually } from '../support/eventually.ts';
import { key, login, network, newDevice } from './network.ts';

let directory: string;
let file: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cyphonic-sqlite-'));
  file = join(directory, 'register.db');
  createSqlite(file);
});
afterEach(() => rmSync(directory, { recursive: true }));

function startWriter(prefix: string): { process: ChildProcess; lines: string[]; ended: Promise<unknown> } {
  const writer = spawn(process.execPath, [join(import.meta.dirname, 'writer.ts'), file, prefix], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  const reader = createInterface({ input: writer.stdout! });
  reader.on('line', (line) => lines.push(line));
  return { process: writer, lines, ended: Promise.all([once(writer, 'exit'), once(reader, 'close')]) };
}

test('kill -9 at any moment loses no change that was answered for', async () => {
  for (let round = 0; round < 4; round++) {
    const writer = startWriter(`r${round}-`);
    await vi.waitFor(() => expect(writer.lines.length).toBeGreaterThan(5 + round * 7), {
      timeout: 30_000,
      interval: 3,
    });
    writer.process.kill('SIGKILL');
    await writer.ended;
    const register = openSqlite(file, network);
    const devices = new Map((await register.list()).map((device) => [device.deviceId, device]));
    for (const line of writer.lines) {
      const [what, deviceId, value] = line.split(' ') as [string, string, string];
      if (what === 'added') expect(devices.get(deviceId)?.vip4).toBe(value);
      else expect([what, devices.get(deviceId)?.signKey]).toEqual(['saved', key(Number(value))]);
    }
    // At most the one change whose answer was cut off is there besides.
    expect(
      devices.size - writer.lines.filter((line) => line.startsWith(`added r${round}-`)).length,
    ).toBeLessThanOrEqual([...devices.keys()].filter((id) => !id.startsWith(`r${round}-`)).length + 1);
    await register.close();
  }
});

test('several processes write at once; each sees the others and is told', async () => {
  const register = openSqlite(file, network);
  const told: number[] = [];
  const stop = register.watch((revision) => told.push(revision), 5);
  const writers = [startWriter('x'), startWriter('y')];
  for (let i = 0; i < 20; i++) await register.add(newDevice(`own${i}`));
  for (const writer of writers) {
    await vi.waitFor(() => expect(writer.lines.length).toBeGreaterThan(10), { timeout: 30_000 });
    writer.process.kill('SIGKILL');
    await writer.ended;
  }
  const devices = await register.list();
  for (const prefix of ['own', 'x', 'y']) {
    expect(devices.filter((device) => device.deviceId.startsWith(prefix)).length).toBeGreaterThan(4);
  }
  expect(new Set(devices.map((device) => device.vip4)).size).toBe(devices.length);
  const revision = await register.revision();
  await eventually(() => expect(told.at(-1)).toBe(revision));
  expect(told).toEqual([...told].sort((a, b) => a - b));
  stop();
  await register.close();
});

test('only its user can read the register, its log and its shared memory', async () => {
  const register = openSqlite(file, network);
  await register.add(newDevice('a'));
  for (const suffix of ['', '-wal', '-shm']) expect(statSync(file + suffix).mode & 0o777).toBe(0o600);
  await register.close();
});

test('an existing file is not made into a register, a foreign one not opened as one', () => {
  expect(() => createSqlite(file)).toThrow(/already exists/);
  const other = join(directory, 'other.db');
  writeFileSync(other, 'not a database, and long enough to be taken for the header of one');
  expect(() => openSqlite(other, network)).toThrow(expect.objectContaining({ code: 'SYS_REGISTER' }));
  writeFileSync(other, '');
  expect(() => openSqlite(other, network)).toThrow(/no register/);
  expect(() => openSqlite(join(directory, 'missing.db'), network)).toThrow(
    expect.objectContaining({ code: 'SYS_REGISTER' }),
  );
  expect(() => createSqlite(join(directory, 'no', 'register.db'))).toThrow(
    expect.objectContaining({ code: 'SYS_REGISTER' }),
  );
});

test('a register of a newer program is left alone', () => {
  const database = new Database(file);
  database.pragma('user_version = 1000');
  database.close();
  const before = readFileSync(file);
  expect(() => openSqlite(file, network)).toThrow(/schema version 1000.*use the newer program/);
  expect(readFileSync(file)).toEqual(before);
});

test('a copy holds everything answered for, while others write', async () => {
  const register = openSqlite(file, network);
  await register.add(newDevice('a'));
  await register.change(login('a', 1));
  const copy = join(directory, 'copy.db');
  copySqlite(file, copy);
  await register.add(newDevice('later'));
  const copied = openSqlite(copy, network);
  expect((await copied.list()).map(({ deviceId, signKey }) => [deviceId, signKey])).toEqual([['a', key(1)]]);
  await copied.close();
  await register.close();
  chmodSync(copy, 0o600);
  expect(() => copySqlite(file, copy)).toThrow(expect.objectContaining({ code: 'SYS_REGISTER' }));
});
