/** The real program: `cloud serve` as a process of its own, and what its `kill -9` leaves. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { LoginOutcome } from '../../../src/core/node/login.ts';
import { readNetworkFile } from '../../../src/roles/network-files.ts';
import type { Register } from '../../../src/store/register.ts';
import { openSqlite } from '../../../src/store/sqlite.ts';
import { eventually } from '../../support/eventually.ts';
import { Client, reasonOf } from '../as/client.ts';
import { freePort, freeUdpPorts } from './port.ts';
import { done } from './run.ts';

const main = join(import.meta.dirname, '../../../src/main.ts');
let dir: string;
let register: Register;
let server: ChildProcess;

beforeEach(async () => {
  dir = join(mkdtempSync(join(tmpdir(), 'cyphonic-serve-')), 'net');
  const [asPort, controllerPort, [nmsPort, trsPort]] = await Promise.all([freePort(), freePort(), freeUdpPorts(2)]);
  const ports = [
    '--as-port',
    `${asPort}`,
    '--controller-port',
    `${controllerPort}`,
    '--nms-port',
    `${nmsPort}`,
    '--trs-port',
    `${trsPort}`,
  ];
  await done('cloud', 'init', '--dir', dir, '--domain', 'lab.example', '--address', '127.0.0.1', ...ports);
  const file = readNetworkFile(join(dir, 'cloud.yaml'));
  register = openSqlite(file.registerFile, file.network);
});
afterEach(async () => {
  server.kill('SIGKILL');
  await register.close();
  rmSync(join(dir, '..'), { recursive: true });
});

/** Starts `cloud serve`; its first line. */
async function serve(env: Record<string, string> = {}): Promise<string> {
  server = spawn(process.execPath, [main, 'cloud', 'serve', '--dir', dir], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, ...env },
  });
  const [line] = (await once(createInterface({ input: server.stdout! }), 'line')) as [string];
  return line;
}

async function end(signal: 'SIGKILL' | 'SIGTERM'): Promise<unknown> {
  const ended = once(server, 'exit');
  server.kill(signal);
  return (await ended)[0];
}

async function deviceOf(deviceId: string) {
  const answer = await register.query({ get: 'device', selector: { by: 'deviceId', value: deviceId } });
  return answer.got === 'device' ? answer.device : null;
}

test('says ready when all of it listens, logs devices in, and ends cleanly when asked to', async () => {
  expect(await serve()).toMatch(
    /^ready cloud lab\.example: as \d+\/tcp, nms \d+\/udp, trs \d+\/udp, controller \d+\/tcp$/,
  );
  const [token] = await done('device', 'add', 'a', '--dir', dir);
  expect((await new Client(token!).login()).status).toBe('accepted');
  await eventually(async () => expect((await deviceOf('a'))?.state).toBe('enrolled'));
  expect(await end('SIGTERM')).toBe(0);
});

test('shows what it does: every role is ready, and a login is counted and timed', async () => {
  const port = await freePort();
  await serve({ CYPHONIC_METRICS: `127.0.0.1:${port}` });
  const ask = async (path: string) => {
    const reply = await fetch(`http://127.0.0.1:${port}${path}`);
    return { status: reply.status, lines: (await reply.text()).trimEnd().split('\n') };
  };
  expect(await ask('/readyz')).toEqual({ status: 200, lines: ['ready'] });
  const [token] = await done('device', 'add', 'a', '--dir', dir);
  expect((await new Client(token!).login()).status).toBe('accepted');
  const { lines } = await ask('/metrics');
  for (const role of ['as', 'nms', 'trs', 'controller']) {
    expect(lines).toContain(`cyphonic_ready{role="${role}",service="${role}"} 1`);
  }
  const of = 'role="as",service="as",result="accepted",reason=""';
  expect(lines).toContain(`cyphonic_logins_total{${of}} 1`);
  expect(lines).toContain(`cyphonic_login_seconds_count{${of}} 1`);
  expect(lines).toContain('cyphonic_nodes_present{role="nms",service="nms"} 0');
  expect(await end('SIGTERM')).toBe(0);
});

test('kill -9 between saving a login and answering it: what was answered is kept, the rest can be repeated', async () => {
  for (let round = 0; round < 4; round++) {
    const deviceId = `d${round}`;
    const [token] = await done('device', 'add', deviceId, '--dir', dir);
    await serve();
    const client = new Client(token!);
    const connection = await client.connect();
    // The moment the change is on disk; the answer is on its way at best.
    const saved = new Promise<void>((resolve) => {
      const stop = register.watch(() => {
        stop();
        resolve();
      }, 1);
    });
    connection.send(client.request(connection));
    await saved;
    await end('SIGKILL');
    const outcome: LoginOutcome | null = await connection.receive().then(
      (octets) => client.read(connection, octets),
      () => null,
    );
    connection.close();

    const device = await deviceOf(deviceId);
    expect(device?.signKey).toEqual(client.identity.sign.publicKey);
    if (outcome?.status === 'accepted') expect(device?.pendingCommonKey).toEqual(outcome.session.commonKey);
    await serve();
    expect(reasonOf(await new Client(token!).login())).toBe('keyMismatch');
    expect(reasonOf(await client.login())).toBe('accepted');
    await eventually(async () => expect((await deviceOf(deviceId))?.state).toBe('enrolled'));
    await end('SIGTERM');
  }
}, 180_000);
