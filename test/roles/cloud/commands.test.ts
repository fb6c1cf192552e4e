import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readKeyFile, readNetworkFile, readServiceFile } from '../../../src/roles/network-files.ts';
import { openSqlite } from '../../../src/store/sqlite.ts';
import { done, run, useNetworks } from './run.ts';

const { freshPath, initNetwork } = useNetworks();

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

  test.each(['/proc/network/here', '/dev/null/network'])('says in one line that %s cannot be made', async (dir) => {
    const outcome = await run(['cloud', 'init', '--dir', dir, '--domain', 'a.example', '--address', '192.0.2.1']);
    expect(outcome).toMatchObject({ code: 1, err: [expect.stringContaining(`cannot write ${dir}`)] });
  });

  test('makes the directories above it', async () => {
    const dir = join(freshPath(), 'deep', 'er');
    await done('cloud', 'init', '--dir', dir, '--domain', 'a.example', '--address', '192.0.2.1');
    expect(statSync(join(dir, 'cloud.yaml')).isFile()).toBe(true);
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

describe('cloud.yaml', () => {
  test.each([
    [(text: string) => `${text}colour: red\n`, 'no setting "colour"'],
    [(text: string) => text.replace(/^domain.*\n/m, ''), '"domain" is missing'],
    [(text: string) => text.replace(/^as-port: .*/m, 'as-port: many'), '"as-port" is no port'],
    [(text: string) => text.replace(/^ca-public-key: .*/m, 'ca-public-key: AAAA'), '"ca-public-key" is no key'],
    [(text: string) => text.replace(/^address: .*\n/m, ''), 'both missing'],
    [(text: string) => `${text}metrics: nowhere\n`, '"metrics" is no ADDRESS:PORT'],
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
