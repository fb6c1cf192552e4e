/** `cyphonic device … --controller` against `--dir`: the same words, the same outcome. */

import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { issueTlsServer, makeTlsRoot } from '../../../src/crypto/tls-certificate.ts';
import { run, useNetworks } from '../cloud/run.ts';
import { type Bench, startBench } from './bench.ts';

const { initNetwork, scratch } = useNetworks();
let bench: Bench;
let through: string[];

beforeEach(async () => {
  bench = await startBench(initNetwork);
  const root = bench.file.tlsRootFile;
  const token = join(bench.dir, 'api-token');
  through = ['--controller', bench.url, '--api-token-file', token, '--controller-ca', root];
});
afterEach(() => bench.stop());

const device = (words: string[], more = through) => run(['device', ...words, ...more]);

it('does what --dir does', async () => {
  const password = join(scratch, 'password');
  writeFileSync(password, 'correct horse\n');
  const words: string[][] = [
    ['add', 'gw', '--group', 'staff'],
    ['add', 'cam', '--adapter', 'gw', '--mac', '02:00:00:00:00:01'],
    ['add', 'p', '--password-file', password, '--mode', 'ipv4', '--json'],
    ['list'],
    ['list', '--json'],
    ['show', 'cam'],
    ['disable', 'gw', '--json'],
    ['enable', 'gw'],
    ['token', 'p'],
    ['token', 'gw'],
    ['remove', 'cam'],
    // And what is refused.
    ['show', 'cam'],
    ['add', 'gw'],
    ['add', 'UPPER', '--group', 'UPPER'],
    ['add', 'x', '--mac', '02:00:00:00:00:01'],
    ['add', '-x-'],
    ['add', 'x', '--adapter', 'gw', '--mac', 'no'],
    ['token', 'nobody'],
  ];
  const local = await initNetwork('--address', '127.0.0.1', '--vip6', 'fd00::/64');
  // Random parts differ; what is the same in both outcomes is everything else.
  const plain = (text: string) => text.replaceAll(/cyp1_[\w-]+/g, 'TOKEN').replaceAll(/[\da-f]{32}/g, 'NODE');
  for (const each of words) {
    const [there, here] = [await device(each), await run(['device', ...each, '--dir', local])];
    const shape = ({ code, out, err }: typeof here) => ({ code, out: out.map(plain), err: err.map(plain) });
    expect({ each, ...shape(there) }).toEqual({ each, ...shape(here) });
  }
});

it('takes root and token from the directory where it is at hand', async () => {
  expect(await device(['add', 'a'], ['--controller', bench.url, '--dir', bench.dir])).toMatchObject({ code: 0 });
  expect(await bench.register.audit(null, 1)).toMatchObject([{ by: 'token:admin', action: 'add', subject: 'a' }]);
});

it('lists more devices than a page has', async () => {
  const all = Array.from({ length: 1_002 }, (_, i) => `d${String(i).padStart(4, '0')}`);
  const given = { groups: [], adapter: null, mac: null, auth: 'token', mode: 'ipv4' } as const;
  for (const deviceId of all) {
    await bench.register.add({ ...given, deviceId, secretHash: null, secretExpires: null, trustedCa: null });
  }
  const listed = JSON.parse((await device(['list', '--json'])).out.join('')) as { deviceId: string }[];
  expect(listed.map(({ deviceId }) => deviceId)).toEqual(all);
});

it('says in one line what is wrong', async () => {
  const reader = join(scratch, 'reader');
  writeFileSync(reader, `${bench.reader}\n`);
  const odd = join(scratch, 'odd');
  writeFileSync(odd, 'two\nlines');
  const [, , , , , ca] = through as [string, string, string, string, string, string];
  const cases: [string[], number, string][] = [
    [['--controller', bench.url, '--api-token-file', reader, '--controller-ca', ca], 4, 'scope admin'],
    [['--controller', bench.url, '--api-token-file', odd, '--controller-ca', ca], 1, 'ERR_INVALID_CHAR'],
    [['--controller', bench.url, '--api-token-file', ca, '--controller-ca', ca], 1, 'did not do it'],
    [['--controller', 'http://127.0.0.1', '--api-token-file', reader, '--controller-ca', ca], 2, 'use one like https'],
    [['--controller', bench.url, '--controller-ca', ca], 2, '--api-token-file'],
    [['--controller', bench.url, '--api-token-file', reader], 2, '--controller-ca'],
    [['--controller', 'https://127.0.0.1:1', '--api-token-file', reader, '--controller-ca', ca], 1, 'ECONNREFUSED'],
  ];
  for (const [more, code, message] of cases) {
    const outcome = await device(['add', 'x'], more);
    expect([outcome.code, outcome.err.length, outcome.err[0]]).toEqual([code, 1, expect.stringContaining(message)]);
    expect(outcome.err[0]).not.toContain('\n');
    expect(outcome.err[0]).not.toContain(bench.reader);
  }
});

it('sends no token to whoever has no certificate of this network', async () => {
  const asked: unknown[] = [];
  const root = await makeTlsRoot('lab.example', Date.now());
  const wrongs = [
    await issueTlsServer(root, ['controller.lab.example'], ['127.0.0.1'], Date.now()),
    // Of the right root, but another service.
    await issueTlsServer(
      { certificate: bench.root, privateKey: readFileSync(bench.file.tlsRootKeyFile, 'utf8') },
      ['as.lab.example'],
      ['192.0.2.1'],
      Date.now(),
    ),
  ];
  for (const { certificate, privateKey } of wrongs) {
    const server = createServer({ cert: certificate, key: privateKey }, (request, response) => {
      asked.push(request.headers);
      response.end('{}');
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const outcome = await device(['show', 'a'], [through[0]!, url, ...through.slice(2)]);
    expect([outcome.code, outcome.err]).toEqual([1, [expect.stringContaining('did not do it')]]);
    server.close();
  }
  expect(asked).toEqual([]);
});

it('api-token makes, lists and removes tokens while the controller runs', async () => {
  const run1 = (...words: string[]) => run(['cloud', 'api-token', ...words, '--dir', bench.dir]);
  const [token] = (await run1('add', 'monitor')).out;
  expect((await bench.ask('/v1/devices', { token: token! })).status).toBe(200);
  expect((await bench.ask('/v1/devices/a', { method: 'DELETE', token: token! })).status).toBe(403);
  expect((await run1('list')).out).toEqual(['admin admin', 'watch read', 'monitor read']);
  expect(readFileSync(bench.file.apiTokensFile, 'utf8')).not.toContain(token);
  expect((await run1('add', 'monitor')).code).toBe(2);
  expect((await run1('add', 'x', '--scope', 'root')).code).toBe(2);
  expect((await run1('remove', 'monitor')).code).toBe(0);
  expect((await bench.ask('/v1/devices', { token: token! })).status).toBe(401);
  expect((await run1('remove', 'monitor')).code).toBe(2);
  const by = `local:uid=${process.getuid?.()}`;
  expect(await bench.register.audit(null, 2)).toMatchObject([
    { by, action: 'revoke', subject: 'monitor' },
    { by, action: 'grant', subject: 'monitor' },
  ]);
});
