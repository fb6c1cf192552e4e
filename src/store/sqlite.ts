/** The register in one SQLite file, shared by all processes of one machine. */

import { closeSync, openSync } from 'node:fs';
import type { AuditEntry, Credentials, DeviceSelector, Network, Service, Sighting } from '../lib/device.ts';
import { raise } from '../lib/errors.ts';
import { columnOf } from './columns.ts';
import { EmbeddedRegister, type Tables } from './embedded.ts';
import type { DeviceRecord, Tombstone } from './record.ts';
import { FIRST_HOST, type Page } from './register.ts';
import { type Database, openFile, SqliteError, type Statement } from './sqlite-file.ts';

export function openSqlite(file: string, network: Network, clock?: () => number): EmbeddedRegister {
  return new EmbeddedRegister(new SqliteTables(openFile(file, false)), network, clock);
}

/** Makes an empty register that only the user of this process may read; an existing file is not touched. */
export function createSqlite(file: string): void {
  try {
    // SQLite gives its write-ahead log and shared memory the mode of this file.
    closeSync(openSync(file, 'wx', 0o600));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') raise('SYS_NOT_EMPTY', { path: file }, cause);
    raise('SYS_REGISTER', { file, why: (cause as Error).message }, cause);
  }
  openFile(file, true).close();
}

/** Writes a consistent copy of the register, whoever else is using it, into a new file. */
export function copySqlite(file: string, target: string): void {
  const database = openFile(file, false);
  try {
    database.prepare('VACUUM INTO ?').run(target);
  } catch (cause) {
    raise('SYS_REGISTER', { file, why: `copying it failed (${(cause as Error).message})` }, cause);
  } finally {
    database.close();
  }
}

/** All of a register at one moment. */
export type Snapshot = {
  readonly revision: number;
  readonly devices: readonly DeviceRecord[];
  readonly credentials: readonly Credentials[];
  readonly removed: readonly Tombstone[];
  readonly lastSeen: ReadonlyMap<string, number>;
  readonly services: readonly Service[];
  readonly audit: readonly AuditEntry[];
};

export function readSqlite(file: string): Snapshot {
  const tables = new SqliteTables(openFile(file, false));
  try {
    return tables.transaction(() => {
      const devices = tables.devices();
      return {
        revision: tables.revision(),
        devices,
        credentials: devices.map(({ deviceId }) => tables.credentials(deviceId)!),
        removed: tables.removedSince(0),
        lastSeen: tables.lastSeen(devices.map(({ nodeId }) => nodeId)),
        services: tables.services(),
        audit: tables.audit(Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
      };
    });
  } finally {
    tables.close();
  }
}

type Value = string | number | bigint | Uint8Array | null;
type Row = Record<string, Value>;

/** How a field that SQLite has no type for stands in its column. */
type Column = { readonly toColumn: (value: never) => Value; readonly fromColumn: (value: Value) => unknown };
const flag: Column = { toColumn: (value: boolean) => (value ? 1 : 0), fromColumn: (value) => value === 1 };
const list: Column = {
  toColumn: (value: readonly string[]) => JSON.stringify(value),
  fromColumn: (value) => JSON.parse(value as string) as string[],
};
/** Plain views, not the Buffers of the database driver. */
const plain: Column = {
  toColumn: (value: Value) => value,
  fromColumn: (value) => (value instanceof Uint8Array ? new Uint8Array(value) : value),
};

/** One table: its columns are the fields in snake case. */
class Table<T> {
  readonly #columns: readonly (readonly [field: string, column: string, Column])[];
  readonly #database: Database;
  readonly #put: Statement;
  readonly #name: string;

  constructor(database: Database, name: string, key: string, fields: { readonly [F in keyof T]-?: Column }) {
    this.#database = database;
    this.#name = name;
    this.#columns = Object.entries<Column>(fields).map(([field, column]) => [field, columnOf(field), column]);
    const names = this.#columns.map(([, column]) => column);
    const updates = names.filter((column) => column !== key).map((column) => `${column} = excluded.${column}`);
    this.#put = database.prepare(
      `INSERT INTO ${name} (${names.join(', ')}) VALUES (${names.map((column) => `@${column}`).join(', ')})
       ON CONFLICT (${key}) DO UPDATE SET ${updates.join(', ')}`,
    );
  }

  put(record: T): void {
    const fields = record as Record<string, never>;
    this.#put.run(
      Object.fromEntries(this.#columns.map(([field, column, { toColumn }]) => [column, toColumn(fields[field]!)])),
    );
  }

  /** A prepared question, `rest` being all of it behind FROM. */
  select(rest: string): (...values: Value[]) => T[] {
    const names = this.#columns.map(([, column]) => column).join(', ');
    const statement = this.#database.prepare(`SELECT ${names} FROM ${this.#name} ${rest}`);
    return (...values) => (statement.all(...values) as Row[]).map((row) => this.#fromRow(row));
  }

  #fromRow(row: Row): T {
    return Object.fromEntries(
      this.#columns.map(([field, column, { fromColumn }]) => [field, fromColumn(row[column]!)]),
    ) as T;
  }
}

function tablesOf(database: Database) {
  return {
    device: new Table<DeviceRecord>(database, 'device', 'device_id', {
      deviceId: plain,
      nodeId: plain,
      fqdn: plain,
      host: plain,
      vip4: plain,
      vip6: plain,
      groups: list,
      kind: plain,
      adapter: plain,
      mac: plain,
      auth: plain,
      mode: plain,
      enrolled: flag,
      disabled: flag,
      signKey: plain,
      handshakeKey: plain,
      certificate: plain,
      commonKey: plain,
      pendingCommonKey: plain,
      keyExpires: plain,
      revision: plain,
    }),
    credential: new Table<Credentials>(database, 'credential', 'device_id', {
      deviceId: plain,
      secretHash: plain,
      secretExpires: plain,
      secretUsed: flag,
      keysReplaceable: flag,
      trustedCa: plain,
    }),
    removed: new Table<Tombstone>(database, 'removed', 'node_id', {
      nodeId: plain,
      deviceId: plain,
      host: plain,
      heldUntil: plain,
      revision: plain,
    }),
    presence: new Table<{ nodeId: string; lastSeen: number }>(database, 'presence', 'node_id', {
      nodeId: plain,
      lastSeen: plain,
    }),
    service: new Table<Service>(database, 'service', 'name', {
      name: plain,
      role: plain,
      nodeId: plain,
      publicKey: plain,
      address4: plain,
      address6: plain,
      port: plain,
      tlsPort: plain,
    }),
  };
}

class SqliteTables implements Tables {
  readonly #database: Database;
  readonly #tables;
  readonly #questions;

  constructor(database: Database) {
    this.#database = database;
    const tables = tablesOf(database);
    this.#tables = tables;
    const byVip = tables.device.select('WHERE vip4 = ? OR vip6 = ?');
    this.#questions = {
      deviceBy: {
        deviceId: tables.device.select('WHERE device_id = ?'),
        nodeId: tables.device.select('WHERE node_id = ?'),
        fqdn: tables.device.select('WHERE fqdn = ?'),
        vip: (value: string) => byVip(value, value),
        mac: tables.device.select('WHERE mac = ?'),
      },
      devices: tables.device.select('ORDER BY device_id'),
      pageOfAll: tables.device.select('WHERE device_id > ? ORDER BY device_id LIMIT ?'),
      pageOf: tables.device.select('WHERE adapter = ? AND device_id > ? ORDER BY device_id LIMIT ?'),
      putLastSeen: database.prepare<Sighting>(
        `INSERT INTO presence (node_id, last_seen) SELECT node_id, @at FROM device WHERE node_id = @nodeId
         ON CONFLICT (node_id) DO UPDATE SET last_seen = max(last_seen, excluded.last_seen)`,
      ),
      putAudit: database.prepare(
        'INSERT INTO audit (at, author, action, subject) VALUES (@at, @by, @action, @subject)',
      ),
      audit: database.prepare<[number, number], AuditEntry>(
        'SELECT number, at, author AS by, action, subject FROM audit WHERE number < ? ORDER BY number DESC LIMIT ?',
      ),
      devicesSince: tables.device.select('WHERE revision > ? ORDER BY revision'),
      generalNodesOf: tables.device.select('WHERE adapter = ?'),
      credentials: tables.credential.select('WHERE device_id = ?'),
      removedSince: tables.removed.select('WHERE revision > ? ORDER BY revision'),
      presence: tables.presence.select('WHERE node_id = ?'),
      services: tables.service.select('ORDER BY name'),
      revision: database.prepare<[], number>('SELECT revision FROM change_counter').pluck(),
      nextRevision: database
        .prepare<[], number>('UPDATE change_counter SET revision = revision + 1 RETURNING revision')
        .pluck(),
      deleteDevice: database.prepare('DELETE FROM device WHERE device_id = ?'),
      nextHost: database
        .prepare<{ now: number; first: number }, number>(
          `SELECT max(next) FROM (SELECT @first AS next UNION ALL SELECT max(host) + 1 FROM device
           UNION ALL SELECT max(host) + 1 FROM removed WHERE held_until > @now)`,
        )
        .pluck(),
      freeHost: database
        .prepare<{ now: number; first: number }, number>(
          `WITH taken (host) AS (SELECT host FROM device UNION SELECT host FROM removed WHERE held_until > @now)
           SELECT min(host) FROM (SELECT @first AS host UNION ALL SELECT host + 1 FROM taken)
           WHERE host NOT IN (SELECT host FROM taken)`,
        )
        .pluck(),
    };
  }

  transaction<T>(work: () => T): T {
    try {
      return this.#database.transaction(work).immediate();
    } catch (cause) {
      if (!(cause instanceof SqliteError)) throw cause;
      return raise('SYS_REGISTER', { file: this.#database.name, why: cause.message }, cause);
    }
  }

  revision(): number {
    return this.#questions.revision.get()!;
  }

  nextRevision(): number {
    return this.#questions.nextRevision.get()!;
  }

  device({ by, value }: DeviceSelector): DeviceRecord | null {
    return this.#questions.deviceBy[by](value.toLowerCase())[0] ?? null;
  }

  devices(page?: Page): DeviceRecord[] {
    if (page === undefined) return this.#questions.devices();
    const { after, limit, adapter } = page;
    const { pageOf, pageOfAll } = this.#questions;
    return adapter === undefined ? pageOfAll(after ?? '', limit) : pageOf(adapter, after ?? '', limit);
  }

  devicesSince(revision: number): DeviceRecord[] {
    return this.#questions.devicesSince(revision);
  }

  generalNodesOf(adapter: string): DeviceRecord[] {
    return this.#questions.generalNodesOf(adapter);
  }

  putDevice(record: DeviceRecord): void {
    this.#tables.device.put(record);
  }

  /** Credentials and presence go with it: foreign keys. */
  deleteDevice(record: DeviceRecord): void {
    this.#questions.deleteDevice.run(record.deviceId);
  }

  credentials(deviceId: string): Credentials | null {
    return this.#questions.credentials(deviceId)[0] ?? null;
  }

  putCredentials(credentials: Credentials): void {
    this.#tables.credential.put(credentials);
  }

  removedSince(revision: number): Tombstone[] {
    return this.#questions.removedSince(revision);
  }

  putRemoved(tombstone: Tombstone): void {
    this.#tables.removed.put(tombstone);
  }

  nextHost(now: number): number {
    return this.#questions.nextHost.get({ now, first: FIRST_HOST })!;
  }

  freeHost(now: number): number {
    return this.#questions.freeHost.get({ now, first: FIRST_HOST })!;
  }

  lastSeen(nodeIds: readonly string[]): Map<string, number> {
    const found = nodeIds.flatMap((nodeId) => this.#questions.presence(nodeId));
    return new Map(found.map(({ nodeId, lastSeen }) => [nodeId, lastSeen]));
  }

  putLastSeen(seen: readonly Sighting[]): void {
    for (const sighting of seen) this.#questions.putLastSeen.run(sighting);
  }

  putAudit(entry: Omit<AuditEntry, 'number'>): void {
    this.#questions.putAudit.run(entry);
  }

  audit(before: number, limit: number): AuditEntry[] {
    return this.#questions.audit.all(before, limit);
  }

  services(): Service[] {
    return this.#questions.services();
  }

  putService(service: Service): void {
    this.#tables.service.put(service);
  }

  watchOthers(callback: () => void, intervalMs: number): () => void {
    // Moves when another connection committed; costs no read of the database.
    const version = () => this.#database.pragma('data_version', { simple: true });
    let known = version();
    const timer = setInterval(() => {
      const current = version();
      if (current === known) return;
      known = current;
      callback();
    }, intervalMs);
    timer.unref();
    return () => clearInterval(timer);
  }

  close(): void {
    this.#database.close();
  }
}
