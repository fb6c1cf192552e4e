import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeEach, describe, expect, test } from 'vitest';
import { tlsRootHash } from '../../../src/crypto/tls-certificate.ts';
import { decodeToken } from '../../../src/crypto/token.ts';
import { readNetworkFile } from '../../../src/roles/network-files.ts';
import { openSqlite } from '../../../src/store/sqlite.ts';
import { makeCertificate } from '../../support/certificates.ts';
import { done, json, run, useNetworks } from './run.ts';

const { initNetwork, scratch } = useNetworks();
const launcher = fileURLToPath(new URL('../../../bin/cyphonic', import.meta.url));

describe('device', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await initNetwork('--vip6', 'fd00:80::/64');
  });

  test('list tells all of it, also what no pipe holds at once', async () => {
    const file = readNetworkFile(join(dir, 'cloud.yaml'));
    const register = openSqlite(file.registerFile, file.network);
    const given = { groups: [], adapter: null, mac: null, auth: 'token', mode: 'dual', trustedCa: null } as const;
    const count = 1_200;
    for (let i = 0; i < count; i++) {
      await register.add({ ...given, deviceId: `d${i}`, secretHash: null, secretExpires: null });
    }
    await register.close();
    const { stdout, status } = spawnSync(launcher, ['device', 'list', '--dir', dir, '--json'], { encoding: 'utf8' });
    expect(status).toBe(0);
    expect(stdout.length).toBeGreaterThan(300_000);
    expect(JSON.parse(stdout)).toHaveLength(count);
  });

  test('add prints one token that holds what the device needs; show and list tell of it', async () => {
    const out = await done('device', 'add', 'Laptop', '--dir', dir, '--group', 'staff', '--group', 'it');
    expect(out).toEqual([expect.stringMatching(/^cyp1_[\w-]+$/)]);
    const file = readNetworkFile(join(dir, 'cloud.yaml'));
    expect(decodeToken(out[0]!)).toEqual({
      as4: '198.51.100.10',
      as6: null,
      port: 7440,
      caKey: file.caPublicKey,
      rootHash: tlsRootHash(readFileSync(join(dir, 'tls-root.pem'), 'utf8')),
      domain: 'lab.example',
      deviceId: 'Laptop',
      secret: expect.any(Uint8Array) as Uint8Array,
    });
    const shown = {
      deviceId: 'Laptop',
      nodeId: expect.stringMatching(/^[\da-f]{32}$/) as string,
      fqdn: 'laptop.lab.example',
      vip4: '100.80.0.2',
      vip6: 'fd00:80::2',
      groups: ['staff', 'it'],
      kind: 'node',
      adapter: null,
      mac: null,
      auth: 'token',
      mode: 'dual',
      state: 'new',
      online: false,
      lastSeen: null,
    };
    expect(await json('device', 'show', 'laptop', '--dir', dir)).toEqual(shown);
    expect(await json('device', 'list', '--dir', dir)).toEqual([shown]);
    expect((await done('device', 'list', '--dir', dir))[1]).toMatch(
      /^Laptop +laptop\.lab\.example +100\.80\.0\.2 +fd00:80::2 +node +new +no$/,
    );
    expect(await done('device', 'show', 'laptop', '--dir', dir)).toContain('groups    staff it');
    expect(await json('device', 'add', 'b', '--dir', dir)).toMatchObject({
      fqdn: 'b.lab.example',
      token: expect.stringMatching(/^cyp1_/),
    });
  });

  test('a password takes the place of the secret', async () => {
    const passwordFile = join(dir, 'password');
    writeFileSync(passwordFile, 'correct horse\n');
    const [token] = await done('device', 'add', 'a', '--dir', dir, '--password-file', passwordFile);
    expect(decodeToken(token!)?.secret).toBeNull();
    expect((await json('device', 'show', 'a', '--dir', dir)).auth).toBe('password');
    expect(await done('device', 'token', 'a', '--dir', dir)).toEqual([token]);
  });

  test('a general node gets a name and addresses but no token', async () => {
    await done('device', 'add', 'gw', '--dir', dir);
    const words = ['device', 'add', 'cam1', '--dir', dir, '--adapter', 'gw', '--mac', '02-00-00-00-00-AB'];
    expect(await done(...words)).toEqual(['cam1.lab.example 100.80.0.3 fd00:80::3']);
    expect(await json('device', 'show', 'cam1', '--dir', dir)).toMatchObject({
      kind: 'general',
      adapter: 'gw',
      mac: '02:00:00:00:00:ab',
      auth: 'mac',
    });
    expect((await json('device', 'show', 'gw', '--dir', dir)).kind).toBe('adapter');
    expect(await run(['device', 'token', 'cam1', '--dir', dir])).toMatchObject({
      code: 1,
      err: [expect.stringContaining('no token')],
    });
    expect(await run(['device', 'remove', 'gw', '--dir', dir])).toMatchObject({
      code: 1,
      err: [expect.stringContaining('1 general')],
    });
  });

  test('a general node with a certificate needs the PEM of a CA', async () => {
    await done('device', 'add', 'gw', '--dir', dir);
    const maker = await makeCertificate({ name: 'Maker', ca: 0 });
    const camera = await makeCertificate({ name: 'cam1', issuer: maker });
    const caFile = join(dir, 'ca.pem');
    const add = ['device', 'add', 'cam1', '--dir', dir, '--adapter', 'gw', '--mac', '02:00:00:00:00:ab'];
    const refusals = [
      ['no certificate', 'no PEM'],
      [camera.certificate, 'CN=cam1: it is not a CA'],
      [`${maker.certificate}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----`, 'no PEM'],
    ] as const;
    for (const [content, why] of refusals) {
      writeFileSync(caFile, content);
      const { code, err } = await run([...add, '--auth', 'certificate', '--ca', caFile]);
      expect([code, err.join('')]).toEqual([2, expect.stringContaining(why)]);
    }
    writeFileSync(caFile, maker.certificate);
    expect(await run([...add, '--ca', caFile])).toMatchObject({ code: 2 });
    await done(...add, '--auth', 'certificate', '--ca', caFile);
    expect((await json('device', 'show', 'cam1', '--dir', dir)).auth).toBe('certificate');
  });

  test('disable, enable, remove; a new token differs from the old', async () => {
    const [token] = await done('device', 'add', 'a', '--dir', dir);
    expect((await json('device', 'disable', 'a', '--dir', dir)).state).toBe('disabled');
    expect((await json('device', 'enable', 'A', '--dir', dir)).state).toBe('new');
    const [renewed] = await done('device', 'token', 'a', '--dir', dir);
    expect(decodeToken(renewed!)?.secret).not.toEqual(decodeToken(token!)?.secret);
    expect((await json('device', 'remove', 'a', '--dir', dir)).deviceId).toBe('a');
    expect(await json('device', 'list', '--dir', dir)).toEqual([]);
    for (const what of ['show', 'remove', 'disable', 'enable', 'token']) {
      const { code, out, err } = await run(['device', what, 'a', '--dir', dir]);
      expect([what, code, out, err.length]).toEqual([what, 1, [], 1]);
    }
  });

  test('who was heard of in the last 90 seconds is online', async () => {
    await done('device', 'add', 'a', '--dir', dir);
    const { nodeId } = await json('device', 'show', 'a', '--dir', dir);
    const file = readNetworkFile(join(dir, 'cloud.yaml'));
    const register = openSqlite(file.registerFile, file.network);
    const old = Date.now() - 100_000;
    await register.change({ set: 'seen', nodes: [{ nodeId: nodeId as string, at: old }] });
    expect(await json('device', 'show', 'a', '--dir', dir)).toMatchObject({
      online: false,
      lastSeen: new Date(old).toISOString(),
    });
    await register.change({ set: 'seen', nodes: [{ nodeId: nodeId as string, at: Date.now() }] });
    expect((await json('device', 'show', 'a', '--dir', dir)).online).toBe(true);
    await register.close();
  });

  test.each([
    [['add', 'under_score'], 2],
    [['add', 'a'.repeat(64)], 2],
    [['add', '-a'], 2],
    [['add', 'a.b'], 2],
    [['add', 'x', '--group', 'A B'], 2],
    [['add', 'x', ...Array.from({ length: 9 }, (_, i) => ['--group', `g${i}`]).flat()], 2],
    [['add', 'x', '--mac', '02:00:00:00:00:01'], 2],
    [['add', 'x', '--adapter', 'gw'], 2],
    [['add', 'x', '--adapter', 'gw', '--mac', '03:00:00:00:00:01'], 2],
    [['add', 'x', '--adapter', 'gw', '--mac', '02:00:00:00:00:01', '--auth', 'password'], 2],
    [['add', 'x', '--adapter', 'gw', '--mac', '02:00:00:00:00:01', '--auth', 'certificate'], 2],
    [['add', 'x', '--adapter', 'gw', '--mac', '02:00:00:00:00:01', '--auth', 'token'], 2],
    [['add', 'x', '--adapter', 'nobody', '--mac', '02:00:00:00:00:01'], 1],
    [['add', 'x', '--mode', 'ipv5'], 2],
    [['add', 'x', '--password-file', '/nonexistent/password'], 2],
    [['add', 'GW'], 1],
    [['add'], 2],
    [['frobnicate'], 2],
  ])('device %j ends with %i and one line', async (words, expected) => {
    await done('device', 'add', 'gw', '--dir', dir);
    const { code, out, err } = await run(['device', ...words, '--dir', dir]);
    expect({ code, out, lines: err.join('').trimEnd().split('\n').length }).toEqual({
      code: expected,
      out: [],
      lines: 1,
    });
    expect(await json('device', 'list', '--dir', dir)).toHaveLength(1);
  });

  test('a directory without a network is named', async () => {
    for (const words of [
      ['device', 'list'],
      ['cloud', 'serve'],
      ['cloud', 'backup', '/tmp/never'],
    ]) {
      const { code, err } = await run([...words, '--dir', join(scratch, 'nothing')]);
      expect([code, err.length, err[0]]).toEqual([2, 1, expect.stringContaining('no network in')]);
    }
    expect((await run(['device', 'list'])).code).toBe(2);
  });
});
