import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const scripts = fileURLToPath(new URL('../../deploy/docker/', import.meta.url));
let directory: string;

/** Runs a script of the image with a `cyphonic` that prints how it was called, and an `id` that says who we are. */
function run(script: string, args: readonly string[], env: Record<string, string> = {}, uid = 7440) {
  writeFileSync(join(directory, 'id'), `#!/bin/sh\necho ${uid}\n`);
  chmodSync(join(directory, 'id'), 0o755);
  const { status, stdout, stderr } = spawnSync('/bin/sh', [join(scripts, script), ...args], {
    encoding: 'utf8',
    env: { PATH: `${directory}:/usr/bin:/bin`, ...env },
  });
  return { status, stdout: stdout.trim(), stderr: stderr.trim() };
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'cyphonic-docker-'));
  writeFileSync(
    join(directory, 'cyphonic'),
    '#!/bin/sh\necho "$* dir=$CYPHONIC_DIR state=$CYPHONIC_STATE"\nexit $((RESULT))\n',
  );
  chmodSync(join(directory, 'cyphonic'), 0o755);
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('the container entry point', () => {
  const places = 'dir=/var/lib/cyphonic state=/var/lib/cyphonic';

  it.each([
    ['cloud', [], `cloud serve ${places}`],
    ['as', ['--config', '/etc/as.yaml'], `as serve --config /etc/as.yaml ${places}`],
    ['nms', [], `nms serve ${places}`],
    ['trs', [], `trs serve ${places}`],
  ])('runs the %s role', (role, args, expected) => {
    expect(run('entrypoint.sh', args, { CYPHONIC_ROLE: role })).toEqual({ status: 0, stdout: expected, stderr: '' });
  });

  it('runs the given command without a role, and passes its exit code on', () => {
    const result = run('entrypoint.sh', ['cloud', 'init', '--domain', 'lab.example'], { RESULT: '4' });
    expect(result).toMatchObject({ status: 4, stdout: `cloud init --domain lab.example ${places}` });
  });

  it.each(['node', 'adapter'])('runs a %s only as root', (role) => {
    expect(run('entrypoint.sh', ['--port', '7444'], { CYPHONIC_ROLE: role }, 0)).toMatchObject({
      status: 0,
      stdout: `${role} up --port 7444 ${places}`,
    });
    const refused = run('entrypoint.sh', [], { CYPHONIC_ROLE: role });
    expect(refused).toMatchObject({ status: 2, stdout: '' });
    expect(refused.stderr).toContain('--cap-add NET_ADMIN');
  });

  it('keeps places that were given, and refuses an unknown role', () => {
    expect(run('entrypoint.sh', [], { CYPHONIC_ROLE: 'cloud', CYPHONIC_DIR: '/data' }).stdout).toContain('dir=/data');
    expect(run('entrypoint.sh', [], { CYPHONIC_ROLE: 'kitchen' })).toMatchObject({ status: 2, stdout: '' });
  });
});

describe('the container health check', () => {
  const header = '  sl  local_address rem_address   st\n';
  const socket = (port: number, state: string) =>
    `   0: 00000000:${port.toString(16).toUpperCase()} 00000000:0000 ${state} 0\n`;

  const healthy = (role: string, tcp: string, udp: string) => {
    writeFileSync(join(directory, 'tcp6'), header + tcp);
    writeFileSync(join(directory, 'udp'), header + udp);
    return run('healthcheck.sh', [], { CYPHONIC_ROLE: role, CYPHONIC_PROC_NET: directory }).status === 0;
  };

  it('finds the port of each service', () => {
    expect(healthy('as', socket(7440, '0A'), '')).toBe(true);
    expect(healthy('as', socket(7440, '01'), '')).toBe(false);
    expect(healthy('nms', '', socket(7441, '07'))).toBe(true);
    expect(healthy('nms', '', socket(7442, '07'))).toBe(false);
    expect(healthy('trs', '', socket(7442, '07'))).toBe(true);
    expect(healthy('cloud', socket(7440, '0A'), socket(7441, '07') + socket(7442, '07'))).toBe(true);
    expect(healthy('cloud', socket(7440, '0A'), socket(7441, '07'))).toBe(false);
  });

  it.each(['node', 'adapter'])('asks a %s for its status', (role) => {
    expect(run('healthcheck.sh', [], { CYPHONIC_ROLE: role }).status).toBe(0);
    expect(run('healthcheck.sh', [], { CYPHONIC_ROLE: role, RESULT: '3' }).status).toBe(3);
  });
});
