/**
 * The schema of the register on PostgreSQL, as numbered steps like those of SQLite: one that was ever released is never
 * edited. Types and clauses are those that CockroachDB has too.
 */

import type pg from 'pg';

const steps: readonly string[] = [
  `
  CREATE TABLE schema_version (one BOOL PRIMARY KEY DEFAULT true CHECK (one), version INT8 NOT NULL);
  INSERT INTO schema_version (version) VALUES (0);
  CREATE TABLE change_counter (one BOOL PRIMARY KEY DEFAULT true CHECK (one), revision INT8 NOT NULL);
  INSERT INTO change_counter (revision) VALUES (0);

  CREATE TABLE device (
    device_key BYTEA PRIMARY KEY,
    device_id TEXT NOT NULL,
    node_id TEXT NOT NULL UNIQUE,
    fqdn TEXT NOT NULL UNIQUE,
    host INT8 NOT NULL UNIQUE,
    vip4 TEXT UNIQUE,
    vip6 TEXT UNIQUE,
    groups TEXT[] NOT NULL,
    kind TEXT NOT NULL,
    adapter TEXT,
    adapter_key BYTEA REFERENCES device (device_key),
    mac TEXT UNIQUE,
    auth TEXT NOT NULL,
    mode TEXT NOT NULL,
    enrolled BOOL NOT NULL,
    disabled BOOL NOT NULL,
    sign_key BYTEA,
    handshake_key BYTEA,
    certificate BYTEA,
    common_key BYTEA,
    pending_common_key BYTEA,
    key_expires INT8,
    revision INT8 NOT NULL
  );
  CREATE INDEX device_adapter ON device (adapter_key);
  CREATE INDEX device_revision ON device (revision);

  CREATE TABLE credential (
    device_key BYTEA PRIMARY KEY REFERENCES device (device_key) ON DELETE CASCADE,
    device_id TEXT NOT NULL,
    secret_hash TEXT,
    secret_expires INT8,
    secret_used BOOL NOT NULL,
    keys_replaceable BOOL NOT NULL,
    trusted_ca TEXT
  );

  CREATE TABLE presence (
    node_id TEXT PRIMARY KEY REFERENCES device (node_id) ON DELETE CASCADE,
    last_seen INT8 NOT NULL
  );

  CREATE TABLE removed (
    node_id TEXT PRIMARY KEY,
    device_id TEXT NOT NULL,
    host INT8 NOT NULL,
    held_until INT8 NOT NULL,
    revision INT8 NOT NULL
  );
  CREATE INDEX removed_revision ON removed (revision);

  CREATE TABLE service (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    node_id TEXT NOT NULL UNIQUE,
    public_key BYTEA NOT NULL,
    address4 TEXT,
    address6 TEXT,
    port INT8 NOT NULL
  );

  CREATE TABLE audit (
    number INT8 PRIMARY KEY,
    at INT8 NOT NULL,
    author TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL
  );
  `,
  // The public key of the CA whose certificates the register holds: replicas of an AS must have the same.
  `
  CREATE TABLE authority (one BOOL PRIMARY KEY DEFAULT true CHECK (one), public_key BYTEA NOT NULL);
  `,
  'ALTER TABLE service ADD COLUMN tls_port INT8;',
];

export const POSTGRES_SCHEMA = steps.length;

/** What each service may do (protocol section 6): an NMS and a TRS read no password hashes or enrolment secrets. */
export const privileges = {
  as: {
    'SELECT, INSERT, UPDATE, DELETE': ['device', 'credential', 'presence', 'removed', 'service'],
    'SELECT, INSERT': ['audit'],
    'SELECT, UPDATE': ['change_counter'],
    SELECT: ['schema_version', 'authority'],
  },
  nms: {
    'SELECT, INSERT, UPDATE': ['presence'],
    SELECT: ['device', 'removed', 'service', 'change_counter', 'schema_version'],
  },
  trs: { SELECT: ['service', 'change_counter', 'schema_version'] },
} as const satisfies Record<string, Record<string, readonly string[]>>;

/** The version of the schema on the server; 0 = there is no register. */
export async function schemaVersion(pool: pg.Pool | pg.PoolClient): Promise<number> {
  try {
    const { rows } = await pool.query<{ version: number }>('SELECT version FROM schema_version');
    return rows[0]?.version ?? 0;
  } catch (error) {
    if ((error as pg.DatabaseError).code === '42P01') return 0;
    throw error;
  }
}

/** Brings the schema up to date, within the caller's transaction. */
export async function migratePostgres(client: pg.PoolClient): Promise<void> {
  const version = await schemaVersionWithin(client);
  for (const step of steps.slice(version)) await client.query(step);
  await client.query('UPDATE schema_version SET version = $1 WHERE one', [POSTGRES_SCHEMA]);
}

/** An error would end the transaction: looks first whether the table is there. */
async function schemaVersionWithin(client: pg.PoolClient): Promise<number> {
  const { rows } = await client.query<{ found: string | null }>("SELECT to_regclass('schema_version')::TEXT AS found");
  return rows[0]?.found == null ? 0 : schemaVersion(client);
}
