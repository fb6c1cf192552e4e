import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Counters } from '../../../src/lib/counters.ts';
import type { Log } from '../../../src/lib/log.ts';
import { startAs } from '../../../src/roles/as/serve.ts';
import type { Running } from '../../../src/roles/context.ts';
import { type NetworkFile, readNetworkFile } from '../../../src/roles/network-files.ts';
import type { Register } from '../../../src/store/register.ts';
import { openSqlite } from '../../../src/store/sqlite.ts';
import { eventually } from '../../support/eventually.ts';
import { freePort } from '../cloud/port.ts';
import { done, run } from '../cloud/run.ts';
import { Client, reasonOf } from './client.ts';

let dir: string;
let file: NetworkFile;
let register: Register;
let running: Running | null;
let counters: Counters;
let lines: string[];
const record = (message: string, fields?: Record<string, unknown>) =>
  void lines.push(`${message} ${JSON.stringify(fields)}`);
const log: Log = { debug() {}, info: record, warn: record, error: record };

beforeEach(async () => {
  dir = join(mkdtempSync(join(tmpdir(), 'cyphonic-as-')), 'net');
  const port = String(await freePort());
  await done(
    'cloud',
    'init',
    '--dir',
    dir,
    '--domain',
    'lab.example',
    '--address',
    '127.0.0.1',
    '--address6',
    '::1',
    '--as-port',
    port,
    '--controller-port',
    String(await freePort()),
  );
  file = readNetworkFile(join(dir, 'cloud.yaml'));
  register = openSqlite(file.registerFile, file.network);
  counters = new Counters();
  lines = [];
  running = await startAs({ file, register, log, counters });
});
afterEach(async () => {
  await running?.stop();
  await register.close();
  rmSync(join(dir, '..'), { recursive: true });
});

const tokenOf = async (deviceId: string) => (await done('device', 'add', deviceId, '--dir', dir))[0]!;
const stateOf = async (deviceId: string) =>
  (JSON.parse((await done('device', 'show', deviceId, '--dir', dir, '--json')).join('')) as { state: string }).state;

test('a device enrols by its token over IPv4 and IPv6, once', async () => {
  for (const [deviceId, address] of [
    ['a', '127.0.0.1'],
    ['b', '::1'],
  ] as const) {
    const token = await tokenOf(deviceId);
    const client = new Client(token, address);
    const outcome = await client.login();
    expect(outcome).toMatchObject({
      status: 'accepted',
      session: { fqdn: `${deviceId}.lab.example`, domain: 'lab.example', nms4: { address: '127.0.0.1', port: 7441 } },
    });
    await eventually(async () => expect(await stateOf(deviceId)).toBe('enrolled'));
    expect(reasonOf(await client.login())).toBe('secretSpent');
    expect(reasonOf(await new Client(token, address).login())).toBe('secretSpent');
  }
  expect(counters.snapshot()).toMatchObject({
    'login-accepted': 2,
    'login-acknowledged': 2,
    'login-refused-secretSpent': 4,
  });
});

test('TLS 1.2, and what is no TLS, is refused, counted and logged', async () => {
  const attempt = (socket: ReturnType<typeof connectTcp>) =>
    new Promise((resolve) => {
      socket.once('error', () => {});
      socket.once('close', resolve);
    });
  let secured = false;
  const old = connectTls(
    { host: '127.0.0.1', port: file.asPort, rejectUnauthorized: false, maxVersion: 'TLSv1.2' },
    () => {
      secured = true;
    },
  );
  await attempt(old);
  expect(secured).toBe(false);
  await eventually(() => expect(counters.get('tls-refused')).toBe(1));
  const plain = connectTcp(file.asPort, '127.0.0.1', () => plain.write('GET / HTTP/1.0\r\n\r\n'));
  await attempt(plain);
  await eventually(() => expect(counters.snapshot()).toEqual({ 'tls-refused': 2 }));
  expect(lines).toEqual([
    expect.stringContaining('TLS connection refused'),
    expect.stringContaining('TLS connection refused'),
  ]);
});

test('a signature over another exporter value, and a login replayed on another connection, are refused', async () => {
  const client = new Client(await tokenOf('a'));
  const [first, second, third] = await Promise.all([client.connect(), client.connect(), client.connect()]);
  const honest = client.request(first);
  const refusals = [
    [second, honest],
    [third, client.request(third, new Uint8Array(32))],
  ] as const;
  for (const [connection, octets] of refusals) {
    connection.send(octets);
    expect(reasonOf(client.read(connection, await connection.receive()))).toBe('badCredentials');
  }
  expect(counters.get('login-refused-badCredentials')).toBe(2);
  expect(lines).toHaveLength(2);
  expect(await stateOf('a')).toBe('new');
  first.send(honest);
  expect(client.read(first, await first.receive()).status).toBe('accepted');
  first.close();
});

test('one site cannot hold all connections', async () => {
  const client = new Client(await tokenOf('a'), '::1');
  const held = Array.from({ length: 300 }, () => connectTcp(file.asPort, '127.0.0.1').on('error', () => {}));
  try {
    await eventually(() => expect(counters.get('site-limit')).toBe(300 - 256));
    expect((await client.login()).status).toBe('accepted');
  } finally {
    for (const socket of held) socket.destroy();
  }
  const other = new Client(await tokenOf('b'));
  await eventually(async () => expect((await other.login()).status).toBe('accepted'));
});

test('no number of sites holds all connections: where most of them come from, one gives way', async () => {
  await running!.stop();
  running = await startAs({ file, register, log, counters, maxStrangers: 8 });
  const hold = (localAddress: string) =>
    connectTcp({ port: file.asPort, host: '127.0.0.1', localAddress }).on('error', () => {});
  const held = [1, 2, 3].flatMap((site) => [1, 2, 3, 4].map((host) => hold(`127.9.${site}.${host}`)));
  try {
    await eventually(() => expect(counters.get('connection-gave-way')).toBe(4));
    const client = new Client(await tokenOf('a'));
    await eventually(async () => expect((await client.login()).status).toBe('accepted'));
  } finally {
    for (const socket of held) socket.destroy();
  }
});

test('messages may come octet by octet or all at once; what is no message ends the connection', async () => {
  const client = new Client(await tokenOf('a'));
  const slow = await client.connect();
  const request = client.request(slow);
  for (const octet of request) slow.send(Uint8Array.of(octet));
  expect(client.read(slow, await slow.receive()).status).toBe('accepted');
  slow.close();
  for (const garbage of [new Uint8Array(64), new Uint8Array(32).fill(0xff), request.with(12, 0x7f)]) {
    const connection = await client.connect();
    connection.send(garbage);
    await expect(connection.receive()).rejects.toThrow();
  }
});

test('a crash between saving and answering: the same keys log in again, others do not', async () => {
  const token = await tokenOf('a');
  await running?.stop();
  let saved: () => void = () => {};
  const crashed = new Promise<void>((resolve) => {
    saved = resolve;
  });
  const dying: Pick<Register, 'query' | 'change'> = {
    query: (query) => register.query(query),
    async change(change) {
      await register.change(change);
      saved();
      return new Promise(() => {});
    },
  };
  running = await startAs({ file, register: dying, log });
  const client = new Client(token);
  const connection = await client.connect();
  connection.send(client.request(connection));
  await crashed;
  await running.stop();
  await expect(connection.receive()).rejects.toThrow();
  running = await startAs({ file, register, log, counters });
  expect(reasonOf(await new Client(token).login())).toBe('keyMismatch');
  expect(reasonOf(await client.login())).toBe('accepted');
});

test('stopping ends open connections and frees the port', async () => {
  const connection = await new Client(await tokenOf('a')).connect();
  await running?.stop();
  await expect(connection.receive()).rejects.toThrow();
  running = await startAs({ file, register, log });
});

test('`as serve` serves until it is stopped', async () => {
  await running?.stop();
  running = null;
  let stop: () => void = () => {};
  const printed: string[] = [];
  const serving = run(['as', 'serve', '--config', join(dir, 'cloud.yaml')], {
    print: (line) => printed.push(line),
    stopped: new Promise((resolve) => {
      stop = resolve;
    }),
  });
  await eventually(() =>
    expect(printed).toEqual([`ready as: port ${file.asPort}/tcp, controller ${file.controllerPort}/tcp`]),
  );
  expect((await new Client(await tokenOf('a')).login()).status).toBe('accepted');
  stop();
  expect((await serving).code).toBe(0);
});

test('what keeps it from starting is said in one line', async () => {
  const config = ['as', 'serve', '--config', join(dir, 'cloud.yaml')];
  expect(await run(config)).toMatchObject({
    code: 1,
    err: [expect.stringContaining(`TCP port ${file.asPort} (EADDRINUSE)`)],
  });
  await running?.stop();
  running = null;
  const rootKey = readFileSync(join(dir, 'tls-root.key'));
  writeFileSync(join(dir, 'tls-root.key'), 'damaged');
  expect(await run(config)).toMatchObject({ code: 2, err: [expect.stringContaining('restore a backup')] });
  writeFileSync(join(dir, 'tls-root.key'), rootKey);
  writeFileSync(file.caKeyFile, readFileSync(join(dir, 'nms.key')));
  expect(await run(config)).toMatchObject({ code: 2, err: [expect.stringContaining('not the key of ca-public-key')] });
  rmSync(file.caKeyFile);
  expect(await run(config)).toMatchObject({ code: 2, err: [expect.stringContaining('ca.key (ENOENT)')] });
  expect(await run(['as', 'serve', '--config', join(dir, 'nms.yaml')])).toMatchObject({
    code: 2,
    err: [expect.any(String)],
  });
  // Nobody but the AS needs the CA's private key.
  expect(await tokenOf('a')).toMatch(/^cyp1_/);
});
