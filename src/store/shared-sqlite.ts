/**
 * What replicas share, where there is one process only: in a file, so that it still knows where its devices are after a
 * `kill -9`. What happens within one interval is one transaction, which reads see at once and a crash takes back.
 */

import { LocalChannels } from './local-channels.ts';
import type { Shared } from './shared.ts';
import { type Database, openScratch } from './sqlite-file.ts';

/** From the first change until it is written, with what came after it (ms): so little that nobody notices the writing. */
const INTERVAL_MS = 250;

const schema = `
  CREATE TABLE records (key TEXT PRIMARY KEY, value TEXT NOT NULL, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX records_until ON records (until);
  CREATE TABLE members (
    name TEXT NOT NULL, member TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (name, member)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX members_until ON members (until)`;

export class SqliteShared extends LocalChannels implements Shared {
  readonly #clock: () => number;
  readonly #database: Database;
  readonly #statements: ReturnType<typeof prepare>;
  #commit: NodeJS.Timeout | undefined;
  readonly alone = true;
  #reachable = true;

  /** The clock is the wall's, as times outlive the process. */
  constructor(file: string, clock: () => number = Date.now) {
    super();
    this.#clock = clock;
    this.#database = openScratch(file, schema);
    this.#statements = prepare(this.#database);
  }

  get reachable(): boolean {
    return this.#reachable;
  }

  async keep(key: string, value: string, lifeMs: number): Promise<void> {
    this.#change();
    this.#statements.keep.run(key, value, this.#clock() + lifeMs);
  }

  async claim(key: string, value: string, lifeMs: number): Promise<boolean> {
    this.#change();
    const now = this.#clock();
    return this.#statements.claim.run({ key, value, until: now + lifeMs, now }).changes > 0;
  }

  async recall(keys: readonly string[]): Promise<(string | null)[]> {
    const now = this.#clock();
    return keys.map((key) => this.#statements.recall.get(key, now) ?? null);
  }

  async include(set: string, member: string, lifeMs: number): Promise<void> {
    this.#change();
    this.#statements.include.run(set, member, this.#clock() + lifeMs);
  }

  async members(set: string): Promise<string[]> {
    return this.#statements.members.all(set, this.#clock());
  }

  async exclude(set: string, member: string): Promise<void> {
    this.#change();
    this.#statements.exclude.run(set, member);
  }

  async take(set: string): Promise<string[]> {
    this.#change();
    const taken = this.#statements.members.all(set, this.#clock());
    this.#statements.remove.run(set);
    return taken;
  }

  override async close(): Promise<void> {
    this.#flush();
    this.#database.close();
    await super.close();
  }

  /** Throws if the file cannot be written. */
  #change(): void {
    if (this.#database.inTransaction) return;
    this.#database.exec('BEGIN IMMEDIATE');
    this.#commit = setTimeout(() => this.#flush(), INTERVAL_MS);
  }

  #flush(): void {
    clearTimeout(this.#commit);
    if (!this.#database.inTransaction) return;
    try {
      const now = this.#clock();
      this.#statements.sweepRecords.run(now);
      this.#statements.sweepMembers.run(now);
      this.#database.exec('COMMIT');
      this.#reachable = true;
    } catch {
      // A full disk: what was said is forgotten, and told again when it is due.
      this.#reachable = false;
      if (this.#database.inTransaction) this.#database.exec('ROLLBACK');
    }
  }
}

function prepare(database: Database) {
  return {
    keep: database.prepare<[string, string, number]>('REPLACE INTO records VALUES (?, ?, ?)'),
    claim: database.prepare<[{ key: string; value: string; until: number; now: number }]>(
      `INSERT INTO records VALUES (@key, @value, @until)
       ON CONFLICT (key) DO UPDATE SET value = excluded.value, until = excluded.until WHERE until <= @now`,
    ),
    recall: database.prepare<[string, number], string>('SELECT value FROM records WHERE key = ? AND until > ?').pluck(),
    include: database.prepare<[string, string, number]>(
      'INSERT INTO members VALUES (?, ?, ?) ON CONFLICT (name, member) DO UPDATE SET until = excluded.until',
    ),
    members: database
      .prepare<[string, number], string>('SELECT member FROM members WHERE name = ? AND until > ?')
      .pluck(),
    exclude: database.prepare<[string, string]>('DELETE FROM members WHERE name = ? AND member = ?'),
    remove: database.prepare<[string]>('DELETE FROM members WHERE name = ?'),
    sweepRecords: database.prepare<[number]>('DELETE FROM records WHERE until <= ?'),
    sweepMembers: database.prepare<[number]>('DELETE FROM members WHERE until <= ?'),
  };
}
