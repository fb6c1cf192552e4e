/**
 * `npm run bench:stores -- [--devices 100000] [--seconds 4]`: what one PostgreSQL and one Redis take from the services of a
 * network, by the same code that the services use, and what each question costs them of the processor. Both are real
 * servers of Debian on this machine; PostgreSQL keeps what it commits on the disk.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Network } from '../src/lib/device.ts';
import { parsePrefix } from '../src/lib/ip.ts';
import { connectPostgres, openPostgres } from '../src/store/postgres.ts';
import { openRedis } from '../src/store/redis.ts';
import { login, newDevice } from '../test/store/network.ts';
import { makePostgres, startPostgres } from '../test/store/postgres-server.ts';
import { startRedis } from '../test/store/redis-server.ts';
import { cpuSeconds } from './process-figures.ts';

const { values: flags } = parseArgs({
  options: { devices: { type: 'string', default: '100000' }, seconds: { type: 'string', default: '4' } },
});
const devices = Number(flags.devices);
const seconds = Number(flags.seconds);
const network: Network = {
  domain: 'bench.example',
  range4: parsePrefix('10.64.0.0/10')!,
  range6: parsePrefix('fd00:1::/64')!,
};
/** As many as an NMS writes in one statement. */
const SIGHTINGS = 4_096;
/** A node's record of itself among replicas is about so long. */
const RECORD = 'x'.repeat(300);
const RECORD_MS = 135_000;

/** A server process and its children. */
function family(pid: number): number[] {
  const children = readdirSync('/proc').filter((name) => {
    try {
      return (
        /^\d+$/.test(name) && Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${name}/status`, 'utf8'))?.[1]) === pid
      );
    } catch {
      return false;
    }
  });
  return [pid, ...children.map(Number)];
}

/** `atOnce` askers do `ask` again and again; prints how often in a second, counted in units of `each`. */
async function measure(
  what: string,
  pid: number,
  atOnce: number,
  ask: (i: number) => Promise<unknown>,
  each = 1,
): Promise<void> {
  let next = 0;
  // Connections are made before their processes are counted.
  await Promise.all(Array.from({ length: atOnce }, () => ask(next++)));
  const processes = family(pid);
  const before = cpuSeconds(processes);
  const began = performance.now();
  let done = 0;
  const asker = async (): Promise<void> => {
    while (performance.now() - began < seconds * 1_000) {
      await ask(next++);
      done += each;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, asker));
  const cpu = (cpuSeconds(processes) - before) / done;
  const rate = (done * 1_000) / (performance.now() - began);
  console.log(`| ${[what, atOnce, rate.toFixed(0), (cpu * 1e6).toFixed(1), (1 / cpu).toFixed(0)].join(' | ')} |`);
}

const nodeId = (i: number): string => (i % devices).toString(16).padStart(32, '0');

async function onPostgres(): Promise<void> {
  const server = await startPostgres({ durable: true });
  try {
    const url = await server.freshUrl();
    await makePostgres(url);
    const register = await openPostgres(url, network);
    await register.add(newDevice('n'));
    await register.change(login('n', 1));
    const pool = connectPostgres(url);
    const columns = {
      device_key: "convert_to('n' || i, 'UTF8')",
      device_id: "'n' || i",
      node_id: "lpad(to_hex(i), 32, '0')",
    };
    const more = { fqdn: "'n' || i || '.bench.example'", host: 'i + 10', vip4: "'4.' || i", vip6: "'6.' || i" };
    const changed = { ...columns, ...more };
    const same = ['groups', 'kind', 'auth', 'mode', 'enrolled', 'disabled', 'sign_key', 'handshake_key', 'certificate'];
    const rest = [...same, 'common_key', 'pending_common_key', 'key_expires', 'revision'];
    const names = [...Object.keys(changed), ...rest].join(', ');
    const values = [...Object.values(changed), ...rest.map((name) => `d.${name}`)].join(', ');
    await pool.query(`INSERT INTO device (${names}) SELECT ${values} FROM device d, generate_series(0, $1::INT) i`, [
      devices - 1,
    ]);
    await pool.query(
      `INSERT INTO credential (device_key, device_id, secret_used, keys_replaceable)
       SELECT device_key, device_id, false, false FROM device WHERE device_key <> $1`,
      [Buffer.from('n')],
    );
    await pool.query('VACUUM ANALYZE');
    await pool.end();

    const { pid } = server;
    const seen = (batch: number): Promise<unknown> => {
      const first = batch * SIGHTINGS;
      const nodes = Array.from({ length: SIGHTINGS }, (_, i) => ({ nodeId: nodeId(first + i), at: Date.now() }));
      return register.change({ set: 'seen', nodes });
    };
    await measure('PostgreSQL: rows of nodes seen, by one NMS', pid, 1, seen, SIGHTINGS);
    await measure('PostgreSQL: rows of nodes seen, by three', pid, 3, seen, SIGHTINGS);
    const find = (i: number): Promise<unknown> =>
      register.query({ get: 'device', selector: { by: 'nodeId', value: nodeId(i * 7_919) } });
    await measure('PostgreSQL: questions for a device', pid, 8, find);
    const logIn = async (i: number): Promise<void> => {
      const deviceId = `n${i % devices}`;
      const given = login(deviceId, 1);
      await register.change(given);
      await register.change({ set: 'acknowledged', deviceId, commonKey: given.pendingCommonKey });
    };
    await measure('PostgreSQL: logins (two transactions each)', pid, 8, logIn);
    await measure('PostgreSQL: devices added', pid, 1, (i) => register.add(newDevice(`new${i}`)));
    await register.close();
  } finally {
    await server.stop();
  }
}

async function onRedis(): Promise<void> {
  const server = await startRedis();
  try {
    const shared = await openRedis(server.url, network.domain);
    const { pid } = server;
    await measure('Redis: records kept', pid, 64, (i) => shared.keep(`node ${nodeId(i)}`, RECORD, RECORD_MS));
    const keys = (i: number): string[] => ['node', 'at4', 'at6', 'atstreamed'].map((name) => `${name} ${nodeId(i)}`);
    await measure('Redis: questions for a node (four records)', pid, 64, (i) => shared.recall(keys(i)));
    await measure('Redis: additions to a set', pid, 64, (i) =>
      shared.include(`peers ${nodeId(i)}`, nodeId(i + 1), RECORD_MS),
    );
    await shared.subscribe('replica 1', () => {});
    await measure('Redis: messages passed on', pid, 64, () => shared.publish('replica 1', RECORD));
    await shared.close();
  } finally {
    await server.stop();
  }
}

console.log('| what | at once | 1/s | CPU of the server, µs each | per CPU second |');
console.log('| --- | --- | --- | --- | --- |');
await onPostgres();
await onRedis();
