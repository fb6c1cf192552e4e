/**
 * The register on a PostgreSQL server, shared by the services of several machines. The only importer of pg. The SQL is
 * what CockroachDB takes too: no LISTEN, no advisory locks, retries when the server asks for them. Changes take the row
 * of the change counter first and so come one after the other; whoever reads a revision has all earlier ones.
 */

import pg from 'pg';
import type {
  AuditAction,
  AuditEntry,
  Device,
  Network,
  NewDevice,
  RegisterAnswer,
  RegisterChange,
  RegisterQuery,
  SaveResult,
  Service,
} from '../lib/device.ts';
import { CyphonicError, raise } from '../lib/errors.ts';
import { POSTGRES_SCHEMA, schemaVersion } from './postgres-schema.ts';
import { carryOut } from './postgres-tables.ts';
import { type Author, LOCAL, type NewSecret, type Page, type Register } from './register.ts';
import { Rules, type Steps } from './rules.ts';

const CONNECTIONS = 8;
const CONNECT_MS = 5_000;
const STATEMENT_MS = 10_000;
/** Tries of a transaction that the server could not put in order with others: of many at once, one succeeds each time. */
const TRIES = 40;
const RETRY_MS = 20;
const RETRY_MAX_MS = 200;
/** serialization_failure and deadlock_detected: nothing of the transaction was kept. */
const retryable = new Set(['40001', '40P01']);

/** Worth waiting for: the network, connection exceptions, too many connections, a server that starts or stops. */
const transient = /^(E[A-Z_]+|08...|53300|57P0.)$/;

/** Numbers of our columns are below 2^53; keys are plain octets, not Buffers. */
const types: pg.CustomTypesConfig = {
  getTypeParser(oid, format) {
    if (oid === pg.types.builtins.INT8) return Number;
    if (oid === pg.types.builtins.BYTEA) return (text: string) => Uint8Array.fromHex(text.slice(2));
    return pg.types.getTypeParser(oid, format);
  },
};

/** For messages: the server and database, never the password. */
export function describePostgres(url: string): string {
  const parsed = URL.parse(url);
  if (parsed === null) return 'postgres://(unreadable)';
  return `postgres://${decodeURIComponent(parsed.host)}${parsed.pathname}`;
}

export function connectPostgres(url: string): pg.Pool {
  let pool: pg.Pool;
  try {
    pool = new pg.Pool({
      connectionString: url,
      types,
      max: CONNECTIONS,
      connectionTimeoutMillis: CONNECT_MS,
      query_timeout: STATEMENT_MS,
      application_name: 'cyphonic',
    });
  } catch (cause) {
    return fail(url, cause);
  }
  // Idle connections end when the server does; the next question makes new ones.
  pool.on('error', () => {});
  // Of one in use, whoever uses it hears by its question; without a listener the process would end.
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}

export type PostgresOptions = {
  readonly clock?: () => number;
  /** Public key of the CA that issues the certificates; absent = none are issued here. */
  readonly authority?: Uint8Array;
};

export async function openPostgres(
  url: string,
  network: Network,
  { clock, authority }: PostgresOptions = {},
): Promise<Register> {
  const pool = connectPostgres(url);
  try {
    const found = await schemaVersion(pool);
    const file = describePostgres(url);
    const known = POSTGRES_SCHEMA;
    if (found === 0) {
      raise('SYS_REGISTER', { file, why: 'there is no register; make one with `cyphonic cloud migrate`' });
    }
    if (found > known) raise('CONFIG_SCHEMA', { file, found, known });
    if (found < known) {
      raise('SYS_REGISTER', { file, why: `its schema is of version ${found}; run \`cyphonic cloud migrate\`` });
    }
    if (authority !== undefined) {
      const { rows } = await pool.query<{ public_key: Uint8Array }>('SELECT public_key FROM authority');
      const other = rows.find((row) => Buffer.compare(row.public_key, authority) !== 0);
      if (other !== undefined) raise('CONFIG_AUTHORITY', { file });
    }
  } catch (error) {
    await pool.end();
    return fail(url, error);
  }
  return new PostgresRegister(pool, url, new Rules(network, clock));
}

/** Our own errors stay as they are; those of server and network become one. */
export function fail(url: string, cause: unknown): never {
  if (cause instanceof CyphonicError) throw cause;
  const { code, message } = cause as NodeJS.ErrnoException;
  const isTransient = code === undefined ? /timeout|terminated/.test(message) : transient.test(code);
  raise('SYS_REGISTER', { file: describePostgres(url), why: message || code, transient: isTransient }, cause);
}

class PostgresRegister implements Register {
  readonly #pool: pg.Pool;
  readonly #url: string;
  readonly #rules: Rules;
  readonly #watchers = new Set<{ look(): Promise<void>; stop(): void }>();

  constructor(pool: pg.Pool, url: string, rules: Rules) {
    this.#pool = pool;
    this.#url = url;
    this.#rules = rules;
  }

  query(query: RegisterQuery): Promise<RegisterAnswer> {
    return this.#read(() => this.#rules.answer(query));
  }

  change(change: RegisterChange): Promise<SaveResult> {
    // Presence is no change that anybody waits for: it does not queue with the others.
    if (change.set === 'seen') return this.#read(() => this.#rules.apply(change));
    return this.#commit(() => this.#rules.apply(change));
  }

  add(given: NewDevice, by?: Author): Promise<Device> {
    return this.#commit(() => this.#rules.add(given, by));
  }

  remove(deviceId: string, by?: Author): Promise<void> {
    return this.#commit(() => this.#rules.remove(deviceId, by));
  }

  setEnabled(deviceId: string, enabled: boolean, by?: Author): Promise<Device> {
    return this.#commit(() => this.#rules.setEnabled(deviceId, enabled, by));
  }

  renewSecret(deviceId: string, secret: NewSecret | null, by?: Author): Promise<Device> {
    return this.#commit(() => this.#rules.renewSecret(deviceId, secret, by));
  }

  list(page?: Page): Promise<readonly Device[]> {
    return this.#read(() => this.#rules.list(page));
  }

  putService(service: Service, by?: Author): Promise<void> {
    return this.#commit(() => this.#rules.putService(service, by));
  }

  note(action: AuditAction, subject: string, by: Author = LOCAL): Promise<void> {
    return this.#commit(() => this.#rules.note(action, subject, by));
  }

  audit(before: number | null, limit: number): Promise<readonly AuditEntry[]> {
    return this.#read(() => this.#rules.audit(before, limit));
  }

  revision(): Promise<number> {
    return this.#read(() => this.#rules.revision());
  }

  watch(callback: (revision: number) => void, intervalMs: number): () => void {
    let known: number | null = null;
    let stopped = false;
    const look = async (): Promise<void> => {
      // A server that does not answer is no change; the questions that follow one say so.
      const revision = await this.revision().catch(() => null);
      if (revision === null || stopped || (known !== null && revision <= known)) return;
      const first = known === null;
      known = revision;
      if (!first) callback(revision);
    };
    const begun = look();
    const timer = setInterval(() => void begun.then(look), intervalMs);
    timer.unref();
    const watcher = {
      look: () => begun.then(look),
      stop() {
        stopped = true;
        clearInterval(timer);
      },
    };
    this.#watchers.add(watcher);
    return () => {
      watcher.stop();
      this.#watchers.delete(watcher);
    };
  }

  async close(): Promise<void> {
    for (const watcher of this.#watchers) watcher.stop();
    this.#watchers.clear();
    await this.#pool.end();
  }

  async #read<T>(make: () => Steps<T>): Promise<T> {
    try {
      return await retrying(() => run(this.#pool, make()));
    } catch (error) {
      return fail(this.#url, error);
    }
  }

  /** One transaction; once it is kept, this process's watchers look at once. */
  async #commit<T>(make: () => Steps<T>): Promise<T> {
    try {
      const result = await transaction(this.#pool, async (client) => {
        await client.query('SELECT revision FROM change_counter FOR UPDATE');
        return run(client, make());
      });
      for (const watcher of this.#watchers) void watcher.look();
      return result;
    } catch (error) {
      return fail(this.#url, error);
    }
  }
}

async function run<T>(on: pg.Pool | pg.PoolClient, steps: Steps<T>): Promise<T> {
  for (let step = steps.next(); ; step = steps.next(await carryOut(on, step.value))) {
    if (step.done) return step.value;
  }
}

/** Runs `work` as one transaction, again if the server asks for it. */
export function transaction<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  return retrying(async () => {
    const client = await pool.connect();
    let broken: Error | undefined;
    try {
      await client.query('BEGIN');
      const result = await work(client);
      await client.query('COMMIT');
      return result;
    } catch (error) {
      await client.query('ROLLBACK').catch((cause: Error) => {
        broken = cause;
      });
      throw error;
    } finally {
      client.release(broken);
    }
  });
}

/** Under serialisable isolation (CockroachDB's only one) a single statement may be asked for again, too. */
async function retrying<T>(attempt: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      if (tries >= TRIES || !retryable.has((error as pg.DatabaseError).code ?? '')) throw error;
    }
    const delay = Math.min(RETRY_MAX_MS, RETRY_MS * tries) * (0.5 + Math.random());
    await new Promise((resolve) => setTimeout(resolve, delay));
  }
}
