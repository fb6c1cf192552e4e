/** A real PostgreSQL of its own for one test file, on a Unix socket in a directory that goes with it. */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { connectPostgres, transaction } from '../../src/store/postgres.ts';
import { migratePostgres } from '../../src/store/postgres-schema.ts';
import { succeeds } from '../support/succeeds.ts';

/** Where Debian keeps the programs of the latest version it has. */
const programs = globSync('/usr/lib/postgresql/*/bin')
  .filter((path) => existsSync(join(path, 'initdb')))
  .sort()
  .at(-1);
export const noPostgres = programs === undefined;
if (noPostgres) console.warn('there is no PostgreSQL: the register on it is not tested (package postgresql)');

export type PostgresServer = {
  /** Of the server's first process, which all others are children of. */
  readonly pid: number;
  /** A new empty database, as its owner. */
  freshUrl(): Promise<string>;
  stop(): Promise<void>;
  /** `kill -9` of all its processes. */
  crash(): Promise<void>;
  start(): Promise<void>;
};

const START_MS = 20_000;

/** `durable`: what is committed is on the disk, which tests have no use for. */
export async function startPostgres({ durable = false } = {}): Promise<PostgresServer> {
  const directory = mkdtempSync(join(tmpdir(), 'cyphonic-pg-'));
  // The server refuses to run as root.
  const nobody = process.getuid?.() === 0 ? idsOf('postgres') : null;
  if (nobody !== null) chownSync(directory, nobody.uid, nobody.gid);
  const data = join(directory, 'data');
  const options = { cwd: directory, stdio: 'ignore', ...(nobody ?? {}) } as const;
  execFileSync(join(programs!, 'initdb'), ['-D', data, '-U', 'owner', '-A', 'trust', '-N', '--locale=C'], options);
  let count = 0;
  let server: ReturnType<typeof spawn>;
  const url = (database: string): string => `postgres://owner@${encodeURIComponent(directory)}/${database}`;
  const start = async (): Promise<void> => {
    const words = [
      '-D',
      data,
      '-k',
      directory,
      '-c',
      'listen_addresses=',
      '-c',
      `fsync=${durable ? 'on' : 'off'}`,
      '-c',
      'max_connections=200',
    ];
    const deadline = performance.now() + START_MS;
    server = spawn(join(programs!, 'postgres'), words, options);
    for (;;) {
      const client = new pg.Client(url('postgres'));
      client.on('error', () => {});
      if (await succeeds(client.connect())) return client.end();
      // What a crash left may still be in use for a moment: a process of the killed server, its shared memory.
      if (server.exitCode !== null) {
        if (performance.now() > deadline) throw new RangeError(`postgres ended with ${server.exitCode}`);
        server = spawn(join(programs!, 'postgres'), words, options);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const ended = once(server, 'exit');
    server.kill(signal);
    await ended;
  };
  await start();
  return {
    get pid() {
      return server.pid!;
    },
    start,
    async freshUrl() {
      const client = new pg.Client(url('postgres'));
      await client.connect();
      const name = `network${count++}`;
      await client.query(`CREATE DATABASE ${name}`);
      await client.end();
      return url(name);
    },
    async crash() {
      // The server's own processes would outlive it for a moment and keep the next one from starting.
      const children = readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, 'utf8').match(/\d+/g) ?? [];
      const ended = end('SIGKILL');
      for (const child of children) {
        try {
          process.kill(Number(child), 'SIGKILL');
        } catch {
          // Ended in the meantime.
        }
      }
      await ended;
    },
    async stop() {
      await end('SIGQUIT');
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** An empty register in an empty database. */
export async function makePostgres(url: string): Promise<void> {
  const pool = connectPostgres(url);
  await transaction(pool, migratePostgres);
  await pool.end();
}

function idsOf(user: string): { uid: number; gid: number } {
  const id = (option: string): number => Number(execFileSync('id', [option, user], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}
