import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { tlsRootHash } from '../../../src/crypto/tls-certificate.ts';
import { decodeToken } from '../../../src/crypto/token.ts';
import { readKeyFile, readNetworkFile, readServiceFile } from '../../../src/roles/network-files.ts';
import { openSqlite } from '../../../src/store/sqlite.ts';
import { done, run } from './run.ts';

let scratch: string;
let count = 0;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'cyphonic-cloud-'));
});
afterAll(() => rmSync(scratch, { recursive: true }));

const freshPath = () => join(scratch, `net${count++}`);

async function initNetwork(...more: string[]): Promise<string> {
  const dir = freshPath();
  await done('cloud', 'init', '--dir', dir, '--domain', 'lab.example', '--address', '198.51.100.10', ...more);
  return dir;
}

async function json(...words: string[]): Promise<Record<string, unknown>> {
  return JSON.parse((await done(...words, '--json')).join('')) as Record<string, unknown>;
}

describe('cloud init', () => {
  test('makes a network that only its user can read, and says what to do next', async () => {
    const dir = freshPath();
    const out = await done(
      'cloud',
      'init',
      '--dir',
      dir,
      '--domain',
      'Lab.Example.',
      '--address',
      '198.51.100.10',
      '--address6',
      '2001:DB8:ff::10',
    );
    expect(out.join('\n')).toContain(`cyphonic cloud serve --dir ${dir}`);
    expect(statSync(dir).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(dir)) expect([name, statSync(join(dir, name)).mode & 0o777]).toEqual([name, 0o600]);
    const file = readNetworkFile(join(dir, 'cloud.yaml'));
    expect(file).toMatchObject({
      address4: '198.51.100.10',
      address6: '2001:db8:ff::10',
      asPort: 7440,
      network: { domain: 'lab.example', range4: { address: '100.80.0.0', length: 16 } },
    });
    expect(file.network.range6).toMatchObject({ address: expect.stringMatching(/^fd/), length: 64 });
    const services = file.serviceFiles.map((path) => readServiceFile(path));
    expect(services.map(({ role, port }) => [role, port])).toEqual([
      ['nms', 7441],
      ['trs', 7442],
    ]);
    const keys = [file.caKeyFile, ...services.map(({ keyFile }) => keyFile)].map((path) => readKeyFile(path).toHex());
    expect(new Set(keys).size).toBe(3);
    // The CA's private key is in no file but its own.
    const caKey = readFileSync(file.caKeyFile, 'utf8').trim();
    const others = readdirSync(dir).filter((name) => name !== 'ca.key');
    for (const name of others) expect(readFileSync(join(dir, name)).includes(caKey)).toBe(false);
    const register = openSqlite(file.registerFile, file.network);
    expect(await register.query({ get: 'services' })).toMatchObject({
      services: [
        { name: 'nms', address4: '198.51.100.10', address6: '2001:db8:ff::10', port: 7441 },
        { name: 'trs', port: 7442 },
      ],
    });
    await register.close();
  });

  test('two networks share no range, key or token', async () => {
    const [a, b] = (await Promise.all([initNetwork(), initNetwork()])) as [string, string];
    for (const name of ['ca.key', 'tls-root.key', 'api-token', 'nms.key']) {
      expect(readFileSync(join(a, name), 'utf8')).not.toBe(readFileSync(join(b, name), 'utf8'));
    }
    const range6 = (dir: string) => readNetworkFile(join(dir, 'cloud.yaml')).network.range6.address;
    expect(range6(a)).not.toBe(range6(b));
  });

  test('takes an empty directory, never one with a network or a part of one in it', async () => {
    const empty = freshPath();
    mkdirSync(empty, { mode: 0o755 });
    expect((await run(['cloud', 'init', '--dir', empty, '--domain', 'a.example', '--address', '192.0.2.1'])).code).toBe(
      0,
    );
    expect(statSync(empty).mode & 0o777).toBe(0o700);
    const before = readFileSync(join(empty, 'ca.key'), 'utf8');
    const again = await run(['cloud', 'init', '--dir', empty, '--domain', 'a.example', '--address', '192.0.2.1']);
    expect(again).toMatchObject({ code: 1, err: [expect.stringContaining('not overwritten')] });
    expect(readFileSync(join(empty, 'ca.key'), 'utf8')).toBe(before);
    const part = freshPath();
    mkdirSync(part);
    writeFileSync(join(part, 'nms.key'), 'x');
    expect((await run(['cloud', 'init', '--dir', part, '--domain', 'a.example', '--address', '192.0.2.1'])).code).toBe(
      1,
    );
    expect(readdirSync(part)).toEqual(['nms.key']);
  });

  test.each([
    ['--domain', 'not a domain'],
    ['--domain', `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.example`],
    ['--address', '2001:db8::1'],
    ['--address', 'cloud.example'],
    ['--address6', '192.0.2.1'],
    ['--vip4', '100.80.0.0/31'],
    ['--vip4', 'fd00::/64'],
    ['--vip6', 'fd00::'],
    ['--vip4', '198.51.100.0/24'],
    ['--as-port', '0'],
    ['--nms-port', '65536'],
    ['--trs-port', 'x'],
  ])('refuses %s %s in one line', async (option, value) => {
    const dir = freshPath();
    const words = [
      'cloud',
      'init',
      '--dir',
      dir,
      '--domain',
      'lab.example',
      '--address',
      '198.51.100.10',
      option,
      value,
    ];
    const { code, err } = await run(words);
    expect({ code, lines: err.length, err: err[0] }).toEqual({
      code: 2,
      lines: 1,
      err: expect.stringContaining(value),
    });
    expect(err[0]).not.toContain('\n');
    expect(() => statSync(dir)).toThrow();
  });
});

describe('device', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await initNetwork('--vip6', 'fd00:80::/64');
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
    await register.change({ set: 'seen', nodeId: nodeId as string, at: old });
    expect(await json('device', 'show', 'a', '--dir', dir)).toMatchObject({
      online: false,
      lastSeen: new Date(old).toISOString(),
    });
    await register.change({ set: 'seen', nodeId: nodeId as string, at: Date.now() });
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
    [['list', '--controller', 'https://192.0.2.1:7443'], 2],
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

describe('cloud.yaml', () => {
  test.each([
    [(text: string) => `${text}colour: red\n`, 'no setting "colour"'],
    [(text: string) => text.replace(/^domain.*\n/m, ''), '"domain" is missing'],
    [(text: string) => text.replace(/^as-port: .*/m, 'as-port: many'), '"as-port" is no port'],
    [(text: string) => text.replace(/^ca-public-key: .*/m, 'ca-public-key: AAAA'), '"ca-public-key" is no key'],
    [(text: string) => text.replace(/^address: .*\n/m, ''), 'both missing'],
    [() => ': : :', 'correct the file'],
    [() => '', 'no settings'],
  ])('damaged, is refused in one line (%#)', async (damage, message) => {
    const dir = await initNetwork();
    const path = join(dir, 'cloud.yaml');
    writeFileSync(path, damage(readFileSync(path, 'utf8')));
    const { code, err } = await run(['device', 'list', '--dir', dir]);
    expect([code, err.length, err[0]]).toEqual([2, 1, expect.stringContaining(message)]);
    expect(err[0]).not.toContain('\n');
  });

  test('a register of a newer program, or none, is refused in one line', async () => {
    const dir = await initNetwork();
    writeFileSync(join(dir, 'register.db'), 'damaged beyond recognition, but long enough for a header');
    expect(await run(['device', 'list', '--dir', dir])).toMatchObject({
      code: 1,
      err: [expect.stringContaining('restore a backup')],
    });
  });
});

describe('cloud service add', () => {
  test('registers one more service with keys of its own', async () => {
    const dir = await initNetwork();
    const [line] = await done('cloud', 'service', 'add', 'trs', 'trs-2', '--dir', dir, '--address', '203.0.113.5');
    const path = join(dir, 'trs-2.yaml');
    expect(line).toContain(`cyphonic trs serve --config ${path}`);
    const service = readServiceFile(path, 'trs');
    expect(service).toMatchObject({ name: 'trs-2', address4: '203.0.113.5', address6: null, port: 7442 });
    expect(readKeyFile(service.keyFile)).not.toEqual(readKeyFile(join(dir, 'trs.key')));
    expect(() => readServiceFile(path, 'nms')).toThrow(/role is trs/);
    for (const words of [
      ['trs', 'trs-2', '--address', '203.0.113.6'],
      ['nms', 'nms', '--address', '203.0.113.6'],
    ]) {
      expect((await run(['cloud', 'service', 'add', ...words, '--dir', dir])).code).toBe(1);
    }
    for (const words of [
      ['as', 'x'],
      ['trs', '../x'],
      ['trs', 'x'],
    ]) {
      expect((await run(['cloud', 'service', 'add', ...words, '--dir', dir])).code).toBe(2);
    }
  });
});

describe('cloud backup and restore', () => {
  test('bring back everything, into a new or empty directory only', async () => {
    const dir = await initNetwork();
    await done('device', 'add', 'a', '--dir', dir);
    const archive = join(scratch, 'backup.tar');
    await done('cloud', 'backup', '--dir', dir, archive);
    expect(statSync(archive).mode & 0o777).toBe(0o600);
    // Any tar program reads it too.
    const listed = execFileSync('tar', ['tf', archive], { encoding: 'utf8' }).trim().split('\n').sort();
    const names = readdirSync(dir).filter((name) => !/-(wal|shm)$/.test(name));
    expect(listed).toEqual([...names, 'SHA256SUMS'].sort());
    await done('device', 'add', 'later', '--dir', dir);

    const restored = freshPath();
    await done('cloud', 'restore', '--dir', restored, archive);
    expect(statSync(restored).mode & 0o777).toBe(0o700);
    for (const name of names.filter((each) => each !== 'register.db')) {
      expect(readFileSync(join(restored, name))).toEqual(readFileSync(join(dir, name)));
      expect(statSync(join(restored, name)).mode & 0o777).toBe(0o600);
    }
    expect(await json('device', 'list', '--dir', restored)).toMatchObject([{ deviceId: 'a' }]);
    const empty = freshPath();
    mkdirSync(empty);
    await done('cloud', 'restore', '--dir', empty, archive);

    for (const target of [dir, restored]) {
      const before = readdirSync(target);
      expect((await run(['cloud', 'restore', '--dir', target, archive])).code).toBe(1);
      expect(readdirSync(target)).toEqual(before);
    }
    expect((await run(['cloud', 'backup', '--dir', dir, archive])).code).toBe(1);
  });

  test('a damaged, cut-off or foreign backup restores nothing', async () => {
    const dir = await initNetwork();
    const archive = join(scratch, 'good.tar');
    await done('cloud', 'backup', '--dir', dir, archive);
    const good = readFileSync(archive);
    const bad = join(scratch, 'bad.tar');
    const variants = [
      good.subarray(0, good.length - 1024),
      good.subarray(0, 700),
      Buffer.alloc(0),
      Buffer.alloc(4096),
      Buffer.from('x'.repeat(4096)),
      ...[3, 130, 520, good.indexOf('domain: lab.example'), good.length - 1500].map((at) => {
        const copy = Buffer.from(good);
        copy[at]! ^= 1;
        return copy;
      }),
    ];
    const target = freshPath();
    for (const content of variants) {
      writeFileSync(bad, content);
      const { code, err } = await run(['cloud', 'restore', '--dir', target, bad]);
      expect([code, err.length, err[0]]).toEqual([1, 1, expect.stringContaining('cannot be restored')]);
    }
    // A name that leads out of the directory.
    writeFileSync(join(scratch, 'evil'), 'x');
    execFileSync('tar', ['cf', bad, '--format=ustar', '-P', '-C', scratch, '--transform=s,^,../,', 'evil']);
    expect((await run(['cloud', 'restore', '--dir', target, bad])).code).toBe(1);
    expect(() => statSync(target)).toThrow();
    expect((await run(['cloud', 'restore', '--dir', target, join(scratch, 'missing.tar')])).code).toBe(2);
  });
});

test('every command has help with an example', async () => {
  const commands = ['as serve', 'cloud init', 'cloud serve', 'cloud service add', 'cloud backup', 'cloud restore'];
  const devices = ['add', 'token', 'list', 'show', 'disable', 'enable', 'remove'].map((name) => `device ${name}`);
  for (const command of [...commands, ...devices]) {
    const { code, out } = await run([...command.split(' '), '--help']);
    expect([command, code, out.join('')]).toEqual([
      command,
      0,
      expect.stringContaining(`Example:\n  cyphonic ${command} `),
    ]);
  }
});
