/** Table operations as SQL. DeviceIDs are found by their lower-case octets, which sort the same under every locale. */

import { hash } from 'node:crypto';
import type pg from 'pg';
import type { AuditEntry, Credentials, Service } from '../lib/device.ts';
import { columnOf } from './columns.ts';
import type { DeviceRecord, Tombstone } from './record.ts';
import { FIRST_HOST } from './register.ts';
import type { Operations, Step } from './rules.ts';

type Client = pg.Pool | pg.PoolClient;
type Row = Record<string, unknown>;

/** Of a question, the same in all processes. */
const names = new Map<string, string>();

/** The rows that answer a question. The server reads and plans it once for each connection, which else is most of the work. */
async function ask<T extends object>(client: Client, question: string, values: unknown[]): Promise<T[]> {
  const name = names.get(question) ?? hash('sha256', question).slice(0, 32);
  names.set(question, name);
  return (await client.query<T>({ name, text: question, values })).rows;
}

/** Columns by field; what no record holds (lower-case keys) is added when writing. */
class Table<T extends object> {
  readonly #name: string;
  readonly #fields: readonly (keyof T & string)[];
  readonly #derived: Readonly<Record<string, (record: T) => unknown>>;
  readonly #put: string;

  constructor(
    name: string,
    key: string,
    fields: readonly (keyof T & string)[],
    derived: Readonly<Record<string, (record: T) => unknown>> = {},
  ) {
    this.#name = name;
    this.#fields = fields;
    this.#derived = derived;
    const columns = [...fields.map(columnOf), ...Object.keys(derived)];
    const updates = columns.filter((column) => column !== key).map((column) => `${column} = excluded.${column}`);
    this.#put = `INSERT INTO ${name} (${columns.join(', ')}) VALUES (${columns.map((_, i) => `$${i + 1}`).join(', ')})
      ON CONFLICT (${key}) DO UPDATE SET ${updates.join(', ')}`;
  }

  async put(client: Client, record: T): Promise<void> {
    const own = this.#fields.map((field) => toColumn(record[field]));
    const derived = Object.values(this.#derived).map((derive) => derive(record));
    await ask(client, this.#put, [...own, ...derived]);
  }

  /** `rest` is all of the question behind FROM. */
  async select(client: Client, rest: string, ...values: unknown[]): Promise<T[]> {
    const columns = this.#fields.map((field) => `${columnOf(field)} AS "${field}"`).join(', ');
    return (await ask<Row>(client, `SELECT ${columns} FROM ${this.#name} ${rest}`, values)) as T[];
  }
}

function toColumn(value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value) : value;
}

const keyOf = (deviceId: string): Buffer => Buffer.from(deviceId.toLowerCase());

export const device = new Table<DeviceRecord>(
  'device',
  'device_key',
  [
    'deviceId',
    'nodeId',
    'fqdn',
    'host',
    'vip4',
    'vip6',
    'groups',
    'kind',
    'adapter',
    'mac',
    'auth',
    'mode',
    'enrolled',
    'disabled',
    'signKey',
    'handshakeKey',
    'certificate',
    'commonKey',
    'pendingCommonKey',
    'keyExpires',
    'revision',
  ],
  {
    device_key: ({ deviceId }) => keyOf(deviceId),
    adapter_key: ({ adapter }) => (adapter === null ? null : keyOf(adapter)),
  },
);
export const credential = new Table<Credentials>(
  'credential',
  'device_key',
  ['deviceId', 'secretHash', 'secretExpires', 'secretUsed', 'keysReplaceable', 'trustedCa'],
  { device_key: ({ deviceId }) => keyOf(deviceId) },
);
export const removed = new Table<Tombstone>('removed', 'node_id', [
  'nodeId',
  'deviceId',
  'host',
  'heldUntil',
  'revision',
]);
export const presence = new Table<{ nodeId: string; lastSeen: number }>('presence', 'node_id', ['nodeId', 'lastSeen']);
export const service = new Table<Service>('service', 'name', [
  'name',
  'role',
  'nodeId',
  'publicKey',
  'address4',
  'address6',
  'port',
  'tlsPort',
]);

type Asynchronous = {
  [K in keyof Operations]: (client: Client, ...words: Parameters<Operations[K]>) => Promise<ReturnType<Operations[K]>>;
};

const operations: Asynchronous = {
  revision: (client) => number(client, 'SELECT revision AS n FROM change_counter'),
  nextRevision: (client) =>
    number(client, 'UPDATE change_counter SET revision = revision + 1 WHERE one RETURNING revision AS n'),
  async device(client, { by, value }) {
    const wanted = value.toLowerCase();
    const found = {
      deviceId: () => device.select(client, 'WHERE device_key = $1', keyOf(value)),
      nodeId: () => device.select(client, 'WHERE node_id = $1', wanted),
      fqdn: () => device.select(client, 'WHERE fqdn = $1', wanted),
      vip: () => device.select(client, 'WHERE vip4 = $1 OR vip6 = $1', wanted),
      mac: () => device.select(client, 'WHERE mac = $1', wanted),
    };
    return (await found[by]())[0] ?? null;
  },
  devices(client, page) {
    if (page === undefined) return device.select(client, 'ORDER BY device_key');
    const after = keyOf(page.after ?? '');
    if (page.adapter === undefined) {
      return device.select(client, 'WHERE device_key > $1 ORDER BY device_key LIMIT $2', after, page.limit);
    }
    const rest = 'WHERE adapter_key = $1 AND device_key > $2 ORDER BY device_key LIMIT $3';
    return device.select(client, rest, keyOf(page.adapter), after, page.limit);
  },
  devicesSince: (client, since) => device.select(client, 'WHERE revision > $1 ORDER BY revision', since),
  generalNodesOf: (client, adapter) => device.select(client, 'WHERE adapter_key = $1', keyOf(adapter)),
  putDevice: (client, record) => device.put(client, record),
  async deleteDevice(client, { deviceId }) {
    // Credentials and presence go with it: foreign keys.
    await ask(client, 'DELETE FROM device WHERE device_key = $1', [keyOf(deviceId)]);
  },
  credentials: async (client, deviceId) =>
    (await credential.select(client, 'WHERE device_key = $1', keyOf(deviceId)))[0] ?? null,
  putCredentials: (client, given) => credential.put(client, given),
  removedSince: (client, since) => removed.select(client, 'WHERE revision > $1 ORDER BY revision', since),
  putRemoved: (client, tombstone) => removed.put(client, tombstone),
  nextHost: (client, now) =>
    number(
      client,
      `SELECT max(next) AS n FROM (SELECT $2::INT8 AS next UNION ALL SELECT max(host) + 1 FROM device
       UNION ALL SELECT max(host) + 1 FROM removed WHERE held_until > $1) AS candidate`,
      now,
      FIRST_HOST,
    ),
  freeHost: (client, now) =>
    number(
      client,
      `WITH taken AS (SELECT host FROM device UNION SELECT host FROM removed WHERE held_until > $1)
       SELECT min(host) AS n FROM (SELECT $2::INT8 AS host UNION ALL SELECT host + 1 FROM taken) AS candidate
       WHERE host NOT IN (SELECT host FROM taken)`,
      now,
      FIRST_HOST,
    ),
  async lastSeen(client, nodeIds) {
    const rows = await presence.select(client, 'WHERE node_id = ANY ($1)', nodeIds);
    return new Map(rows.map(({ nodeId, lastSeen }) => [nodeId, lastSeen]));
  },
  async putLastSeen(client, seen) {
    await ask(
      client,
      `INSERT INTO presence (node_id, last_seen)
       SELECT device.node_id, seen.at FROM unnest($1::TEXT[], $2::INT8[]) AS seen (node_id, at)
       JOIN device ON device.node_id = seen.node_id
       ON CONFLICT (node_id) DO UPDATE SET last_seen = greatest(presence.last_seen, excluded.last_seen)`,
      [seen.map(({ nodeId }) => nodeId), seen.map(({ at }) => at)],
    );
  },
  async putAudit(client, { at, by, action, subject }) {
    await ask(
      client,
      `INSERT INTO audit (number, at, author, action, subject)
       VALUES ((SELECT coalesce(max(number), 0) + 1 FROM audit), $1, $2, $3, $4)`,
      [at, by, action, subject],
    );
  },
  async audit(client, before, limit) {
    const question = `SELECT number, at, author AS by, action, subject FROM audit
      WHERE number < $1 ORDER BY number DESC LIMIT $2`;
    return ask<AuditEntry>(client, question, [before, limit]);
  },
  services: (client) => service.select(client, "ORDER BY convert_to(name, 'UTF8')"),
  putService: (client, given) => service.put(client, given),
};

export function carryOut(client: Client, { operation, words }: Step): Promise<unknown> {
  return (operations[operation] as (client: Client, ...words: unknown[]) => Promise<unknown>)(client, ...words);
}

async function number(client: Client, question: string, ...values: unknown[]): Promise<number> {
  const rows = await ask<{ n: number }>(client, question, values);
  return rows[0]!.n;
}
