/** Makes a register on a PostgreSQL server: schema, content and a database role for each kind of service. */

import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { raise } from '../lib/errors.ts';
import { connectPostgres, describePostgres, fail, transaction } from './postgres.ts';
import { migratePostgres, privileges, schemaVersion } from './postgres-schema.ts';
import { credential, device, presence, removed, service } from './postgres-tables.ts';
import type { Snapshot } from './sqlite.ts';

export type DatabaseRole = keyof typeof privileges;
const databaseRoles = Object.keys(privileges) as DatabaseRole[];

/** The URLs by which each kind of service reaches the register from now on. */
export type RoleUrls = Readonly<Record<DatabaseRole, string>>;

/**
 * Fills an empty database. `stillSo` is asked before anything is kept: false if the content has changed meanwhile.
 * All of it is kept or nothing, the database roles included.
 */
export function fillPostgres(
  url: string,
  content: Snapshot,
  authority: Uint8Array,
  stillSo: () => boolean,
): Promise<RoleUrls> {
  return withOwner(url, async (client) => {
    const { rows } = await client.query<{ found: string | null }>("SELECT to_regclass('device')::TEXT AS found");
    if (rows[0]?.found != null) raise('SYS_NOT_EMPTY', { path: describePostgres(url) });
    await migratePostgres(client);
    await putAuthority(client, authority);
    await insert(client, content);
    const urls = await makeRoles(client, url);
    if (!stillSo()) raise('CONFIG_DATABASE', { url: describePostgres(url), why: 'stop the cloud before it is moved' });
    return urls;
  });
}

/** Brings the schema of a register that is there up to date; the versions before and after. */
export function updatePostgres(url: string, authority: Uint8Array): Promise<{ before: number; after: number }> {
  return withOwner(url, async (client) => {
    const before = await schemaVersion(client);
    await migratePostgres(client);
    await putAuthority(client, authority);
    await grant(client);
    return { before, after: await schemaVersion(client) };
  });
}

async function withOwner<T>(url: string, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const pool = connectPostgres(url);
  try {
    return await transaction(pool, work);
  } catch (error) {
    return fail(url, error);
  } finally {
    await pool.end();
  }
}

async function putAuthority(client: pg.PoolClient, authority: Uint8Array): Promise<void> {
  await client.query('INSERT INTO authority (public_key) VALUES ($1) ON CONFLICT (one) DO NOTHING', [authority]);
}

async function insert(client: pg.PoolClient, content: Snapshot): Promise<void> {
  await client.query('UPDATE change_counter SET revision = $1 WHERE one', [content.revision]);
  // Adapters are there before their general nodes.
  const ordered = [...content.devices].sort((a, b) => Number(a.adapter !== null) - Number(b.adapter !== null));
  for (const record of ordered) await device.put(client, record);
  for (const record of content.credentials) await credential.put(client, record);
  for (const record of content.removed) await removed.put(client, record);
  for (const [nodeId, lastSeen] of content.lastSeen) await presence.put(client, { nodeId, lastSeen });
  for (const record of content.services) await service.put(client, record);
  for (const { number, at, by, action, subject } of content.audit) {
    const row = [number, at, by, action, subject];
    await client.query('INSERT INTO audit (number, at, author, action, subject) VALUES ($1, $2, $3, $4, $5)', row);
  }
}

/** One login role for each kind of service, with a new password; roles belong to the server, hence the database's name. */
async function makeRoles(client: pg.PoolClient, url: string): Promise<RoleUrls> {
  const { rows } = await client.query<{ name: string; place: string }>(
    'SELECT current_database() AS name, current_schema() AS place',
  );
  const { name, place } = rows[0]!;
  const urls: Partial<Record<DatabaseRole, string>> = {};
  for (const role of databaseRoles) {
    const user = `${name}_${role}`;
    const password = randomBytes(24).toString('hex');
    const quoted = client.escapeIdentifier(user);
    const known = await client.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [user]);
    const verb = known.rowCount === 0 ? 'CREATE' : 'ALTER';
    await client.query(`${verb} ROLE ${quoted} LOGIN PASSWORD ${client.escapeLiteral(password)}`);
    await client.query(`GRANT USAGE ON SCHEMA ${client.escapeIdentifier(place)} TO ${quoted}`);
    const own = new URL(url);
    own.username = user;
    own.password = password;
    urls[role] = own.href;
  }
  await grant(client);
  return urls as RoleUrls;
}

/** What each role may do with the tables there are. */
async function grant(client: pg.PoolClient): Promise<void> {
  const { rows } = await client.query<{ name: string }>('SELECT current_database() AS name');
  const known = await client.query<{ rolname: string }>('SELECT rolname FROM pg_roles');
  for (const role of databaseRoles) {
    const name = `${rows[0]!.name}_${role}`;
    // An owner may have left out making them.
    if (!known.rows.some(({ rolname }) => rolname === name)) continue;
    const user = client.escapeIdentifier(name);
    for (const [rights, tables] of Object.entries(privileges[role])) {
      await client.query(`GRANT ${rights} ON ${tables.join(', ')} TO ${user}`);
    }
  }
}
