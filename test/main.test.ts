/** The program's own share of the command line: options from flags, environment and file, and errors that say where help is. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const launcher = fileURLToPath(new URL('../bin/cyphonic', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'cyphonic-main-'));
afterAll(() => rmSync(directory, { recursive: true }));

function run(args: readonly string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(launcher, args, { env: { ...process.env, ...env }, encoding: 'utf8' });
  return { status, stdout, stderr };
}

function configuration(content: string): string {
  const file = join(directory, 'node.yaml');
  writeFileSync(file, content);
  return file;
}

const refused = (words: RegExp) => ({ status: 2, stdout: '', stderr: expect.stringMatching(words) });

describe('a wrong command line', () => {
  it.each([
    [['node', 'up', '--bogus'], /^cyphonic: unknown option '--bogus'; see `cyphonic node up --help`\n$/],
    [['node', 'up'], /^cyphonic: required option '--state <dir>' not specified; see `cyphonic node up --help`\n$/],
    [['bogus'], /^cyphonic: unknown command 'bogus'; see `cyphonic --help`\n$/],
    [['status', '--state', '/x', 'more'], /^cyphonic: too many arguments.*; see `cyphonic status --help`\n$/],
  ])('%s is answered in one line', (args, words) => {
    expect(run(args)).toEqual(refused(words));
  });

  it('does not keep --help from helping', () => {
    expect(run(['node', 'up', '--bogus', '--help'])).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^Usage/),
    });
  });
});

describe('a service', () => {
  const service = (more: string): string => {
    const file = join(directory, 'trs.yaml');
    const lines = [
      'role: trs',
      'name: trs',
      `node-id: ${'ab'.repeat(16)}`,
      'address: 192.0.2.1',
      'port: 7442',
      'key: trs.key',
    ];
    const network = ['register: register.db', 'domain: lab.example', 'vip4: 100.80.0.0/16', 'vip6: fd00:1::/64'];
    writeFileSync(file, [...lines, ...network, more, ''].join('\n'));
    return file;
  };

  it.each([
    ['', ['--address', '192.0.2.2'], /^cyphonic: --address 192\.0\.2\.2: replicas announce themselves.*set "shared"/],
    [
      'shared: redis://192.0.2.3',
      ['--address', '2001:db8::1'],
      /^cyphonic: --address 2001:db8::1: it is no IPv4 address/,
    ],
    ['shared: http://192.0.2.3', [], /^cyphonic: .*trs\.yaml: "shared" is no URL like redis:\/\//],
    ['behind-balancer: often', [], /^cyphonic: .*trs\.yaml: "behind-balancer" is neither true nor false/],
    ['', ['--grace', 'long'], /^cyphonic: --grace long: use 0 to 3600 seconds/],
  ])('with %j and %j is refused in one line', (more, args, words) => {
    expect(run(['trs', 'serve', '--config', service(more), ...args])).toEqual(refused(words));
  });
});

describe('a configuration file', () => {
  it.each([
    ['port: 70000\n', /port 70000: A port is 1 to 65535/],
    ['suite: rot13\n', /suite rot13: Allowed choices are/],
    ['port: [1, 2]\n', /"port" has a value of a wrong kind/],
    ['verbose: "yes"\n', /"verbose" has a value of a wrong kind/],
    ['no-port-prediction: 1\n', /"no-port-prediction" has a value of a wrong kind/],
    ['port-prediction: true\n', /there is no option "port-prediction"/],
    ['bogus: 1\n', /there is no option "bogus" \(known: state, /],
    ['- port\n', /it is not a list of/],
  ])('with %j is refused', (content, words) => {
    const file = configuration(content);
    expect(run(['node', 'up', '--state', directory, '--config', file])).toEqual(refused(words));
    expect(run(['node', 'up', '--state', directory], { CYPHONIC_CONFIG: file })).toEqual(refused(words));
  });

  it('gives what neither flags nor environment do', () => {
    const file = configuration('state: /dev/null/file\n');
    const up = ['node', 'up', '--config', file];
    expect(run(up)).toEqual(refused(/\/dev\/null\/file/));
    expect(run(up, { CYPHONIC_STATE: '/dev/null/environment' })).toEqual(refused(/\/dev\/null\/environment/));
    expect(run([...up, '--state', '/dev/null/flag'])).toEqual(refused(/\/dev\/null\/flag/));
  });
});
