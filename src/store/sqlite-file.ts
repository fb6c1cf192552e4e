/** How SQLite files are opened. The only importer of better-sqlite3. */

import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import Sqlite, { type Database } from 'better-sqlite3';
import { CyphonicError, raise } from '../lib/errors.ts';
import { migrations } from './migrations.ts';

export type { Database, Statement } from 'better-sqlite3';
export const { SqliteError } = Sqlite;

/** How long a writer waits for another process's transaction (ms). */
const BUSY_MS = 10_000;

/** Opens the register in a file; `empty` = it is to become one. */
export function openFile(file: string, empty: boolean): Database {
  let database: Database | undefined;
  try {
    database = new Sqlite(file, { fileMustExist: true, timeout: BUSY_MS });
    database.pragma('journal_mode = WAL');
    // An answered change survives a power failure (not only a crash of this process).
    database.pragma('synchronous = FULL');
    database.pragma('foreign_keys = ON');
    migrate(database, file, empty);
    return database;
  } catch (cause) {
    database?.close();
    if (cause instanceof SqliteError || cause instanceof TypeError) {
      raise('SYS_REGISTER', { file, why: `${cause.message}; check its owner and mode, or restore a backup` }, cause);
    }
    throw cause;
  }
}

function migrate(database: Database, file: string, empty: boolean): void {
  const version = () => database.pragma('user_version', { simple: true }) as number;
  if (version() > migrations.length) {
    raise('CONFIG_SCHEMA', { file, found: version(), known: migrations.length });
  }
  if (version() === 0 && !empty) raise('SYS_REGISTER', { file, why: 'it is no register; restore a backup' });
  // Under the write lock, as another process may be migrating at the same time.
  const run = database.transaction(() => {
    for (const step of migrations.slice(version())) database.exec(step);
    database.pragma(`user_version = ${migrations.length}`);
  });
  if (version() < migrations.length) run.immediate();
}

/**
 * Opens a file beside the register, of what can be made again: one that cannot be read, or that has another schema, gives way
 * to an empty one. It outlives the process, but the disk is waited for by nobody: after a power failure it may be damaged,
 * so that who first opens it after the system's start looks through it.
 */
export function openScratch(file: string, schema: string): Database {
  const version = crc32(schema) & 0x7fffffff;
  const boot = crc32(readFileSync('/proc/sys/kernel/random/boot_id')) & 0x7fffffff;
  const attempt = (): Database | null => {
    closeSync(openSync(file, 'a', 0o600));
    const database = new Sqlite(file, { timeout: 0 });
    try {
      database.pragma('journal_mode = WAL');
      database.pragma('synchronous = OFF');
      const found = database.pragma('user_version', { simple: true });
      if (found === 0) database.exec(`BEGIN; ${schema}; PRAGMA user_version = ${version}; COMMIT`);
      const sameBoot = database.pragma('application_id', { simple: true }) === boot;
      const isWhole = sameBoot || database.pragma('quick_check', { simple: true }) === 'ok';
      if (isWhole && (found === 0 || found === version)) {
        if (!sameBoot) database.pragma(`application_id = ${boot}`);
        return database;
      }
    } catch (cause) {
      const { code = '' } = cause as { code?: string };
      if (!/^SQLITE_(CORRUPT|NOTADB|ERROR)/.test(code)) throw cause;
    }
    database.close();
    return null;
  };
  try {
    const opened = attempt();
    if (opened !== null) return opened;
    for (const ending of ['', '-wal', '-shm']) rmSync(file + ending, { force: true });
    return attempt() ?? raise('SYS_REGISTER', { file, why: 'it cannot be made anew; remove it' });
  } catch (cause) {
    if (cause instanceof CyphonicError) throw cause;
    return raise('SYS_REGISTER', { file, why: `${(cause as Error).message}; check its owner and mode` }, cause);
  }
}
