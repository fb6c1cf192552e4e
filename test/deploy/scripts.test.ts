/** The shell scripts by which a checkout is run and prepared, with stand-ins for what they call. */

import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import { version } from '../../src/version.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cyphonic-scripts-'));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

function script(path: string, text: string): void {
  const file = join(directory, path);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, `#!/bin/sh\n${text}\n`);
  chmodSync(file, 0o755);
}

function run(file: string, args: readonly string[], { cwd = '/', env = {} } = {}) {
  const { status, stdout, stderr, pid } = spawnSync(file, args, { cwd, env, encoding: 'utf8' });
  return { status, stdout, stderr, pid };
}

describe('bin/cyphonic', () => {
  const path = { PATH: '/usr/bin:/bin' };

  it("runs the project's own Node through a symbolic link, from anywhere, as one process", () => {
    cpSync(join(root, 'bin'), join(directory, 'checkout/bin'), { recursive: true });
    script('checkout/node_modules/node/bin/node', 'echo "$$|$*"');
    symlinkSync(join(directory, 'checkout/bin/cyphonic'), join(directory, 'link'));
    const { status, stdout, pid } = run(join(directory, 'link'), ['status', '--state', 'a b'], { env: path });
    expect(status).toBe(0);
    expect(stdout.split('|')[0]).toBe(String(pid));
    expect(stdout).toContain(`${directory}/checkout/src/main.ts status --state a b`);
  });

  it('says in one line what to do before npm ci', () => {
    cpSync(join(root, 'bin'), join(directory, 'checkout/bin'), { recursive: true });
    const { status, stdout, stderr } = run(join(directory, 'checkout/bin/cyphonic'), [], { env: path });
    expect({ status, stdout, lines: stderr.split('\n').length }).toEqual({ status: 1, stdout: '', lines: 2 });
    expect(stderr).toContain(`run 'npm ci' in ${directory}/checkout`);
  });

  it('has the version of the package', () => {
    expect(version).toBe(manifest.version);
  });
});

describe('scripts/prepare.sh', () => {
  beforeEach(() => {
    cpSync(join(root, 'scripts'), join(directory, 'scripts'), { recursive: true });
    for (const tool of ['dirname', 'sh']) symlinkSync(`/bin/${tool}`, linkIn('tools', tool));
    symlinkSync(process.execPath, linkIn('tools', 'node'));
    script('tools/npm', 'echo "npm $*"');
    script('tools/id', 'echo 1000');
  });

  function linkIn(folder: string, name: string): string {
    mkdirSync(join(directory, folder), { recursive: true });
    return join(directory, folder, name);
  }

  function prepare(...tools: readonly string[]) {
    // The script adds /usr/sbin and /sbin to the path: only names that exist nowhere are missing for certain.
    return run('/bin/sh', [join(directory, 'scripts/prepare.sh'), ...tools], {
      env: { PATH: join(directory, 'tools') },
    });
  }

  function install(versions: Record<string, string>): void {
    const packages = Object.fromEntries(
      Object.entries(versions).map(([name, v]) => [`node_modules/${name}`, { version: v }]),
    );
    mkdirSync(join(directory, 'node_modules'), { recursive: true });
    writeFileSync(join(directory, 'node_modules/.package-lock.json'), JSON.stringify({ packages }));
    script('node_modules/.bin/node', '');
  }

  function want(packages: Record<string, { version: string; optional?: boolean }>): void {
    writeFileSync(join(directory, 'package-lock.json'), JSON.stringify({ packages: { '': {}, ...packages } }));
  }

  it('installs npm packages if they are missing or not those of the lock file', () => {
    want({
      'node_modules/a': { version: '1.0.0' },
      'node_modules/other-platform': { version: '1.0.0', optional: true },
    });
    expect(prepare().stdout).toContain('npm ci');
    install({ a: '0.9.0' });
    expect(prepare().stdout).toContain('npm ci');
    install({});
    expect(prepare().stdout).toContain('npm ci');
    install({ a: '1.0.0' });
    expect(prepare()).toMatchObject({ status: 0, stdout: '', stderr: '' });
  });

  it('says what it installs through sudo, once per package, and goes on if that fails', () => {
    want({});
    install({});
    script('tools/apt-get', 'exit 1');
    script('tools/sudo', 'shift 4; echo "sudo $*"; exit 1');
    const { status, stdout, stderr } = prepare('no-such-tool', 'sh', 'no-such-tool', 'nor-this-one');
    expect(status).toBe(0);
    expect(stdout).toBe(
      'Installing system packages with sudo apt-get: no-such-tool nor-this-one\nsudo sh no-such-tool nor-this-one\n',
    );
    expect(stderr).toContain('apt-get install no-such-tool nor-this-one');
  });

  it('names what is missing where it cannot install', () => {
    want({});
    install({});
    expect(prepare('no-such-tool')).toMatchObject({
      status: 0,
      stderr: expect.stringContaining('by hand: no-such-tool'),
    });
    script('tools/apt-get', 'exit 1');
    expect(prepare('no-such-tool').stderr).toContain('as root, run: apt-get install no-such-tool');
  });
});
