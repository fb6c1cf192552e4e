/** The laboratory cleans up after itself, whatever happens. */

import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { until } from './toolkit/command.ts';
import type { Lab } from './toolkit/lab.ts';
import { Program } from './toolkit/program.ts';
import { describeLab, inLab } from './toolkit/suite.ts';

const occupant = fileURLToPath(new URL('./toolkit/occupant.ts', import.meta.url));

function namespacesOf(pid: number): string[] {
  return readdirSync('/run/netns').filter((name) => name.startsWith(`cyphonic-${pid}-`));
}

function runs(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** A process with a laboratory and a program in it. */
async function occupied(manner: 'obedient' | 'stubborn' = 'obedient'): Promise<{ owner: Program; inhabitant: number }> {
  const owner = new Program('owner', [process.execPath, occupant, manner]);
  const [, pid] = await owner.output(/^inhabitant (\d+)$/m);
  expect(namespacesOf(owner.pid)).toHaveLength(1);
  return { owner, inhabitant: Number(pid) };
}

describeLab('a laboratory', () => {
  it('is gone after SIGTERM, also with a program in it that does not end by itself', async () => {
    const { owner, inhabitant } = await occupied('stubborn');
    process.kill(owner.pid, 'SIGTERM');
    expect(await owner.exited).toMatchObject({ code: 143 });
    expect(namespacesOf(owner.pid)).toEqual([]);
    expect(runs(inhabitant)).toBe(false);
  });

  it('is removed by the next one if its process was killed', async () => {
    const { owner, inhabitant } = await occupied();
    process.kill(owner.pid, 'SIGKILL');
    // Its output stays open in the program it left behind: only the process is waited for.
    await until(() => !runs(owner.pid), { what: 'the owner to be gone' });
    const next = new Program('next', [process.execPath, occupant]);
    await next.output(/^inhabitant/m);
    // Another file's laboratory may have begun it.
    await until(() => namespacesOf(owner.pid).length === 0, { what: 'what it left to be gone' });
    await until(() => !runs(inhabitant), { what: 'the inhabitant to be gone' });
    await next.stop();
  });

  it('leaves the laboratories of living processes alone', async () => {
    const { owner } = await occupied();
    const next = await occupied();
    expect(namespacesOf(owner.pid)).toHaveLength(1);
    await Promise.all([owner.stop(), next.owner.stop()]);
  });

  it('gives each namespace its own resolver file, written in place', () =>
    inLab('resolver', async (lab: Lab) => {
      const host = lab.namespace('host');
      host.resolver('nameserver 192.0.2.53\n');
      expect(host.sh('cat /etc/resolv.conf')).toBe('nameserver 192.0.2.53\n');
      host.sh('echo "nameserver 192.0.2.54" >/etc/resolv.conf');
      expect(host.sh('cat /etc/resolv.conf')).toBe('nameserver 192.0.2.54\n');
      const other = lab.namespace('other');
      expect(other.sh('cat /etc/resolv.conf')).not.toContain('192.0.2.54');
    }));

  it('reports what a program that fails has said', () =>
    inLab('failure', async (lab) => {
      const host = lab.namespace('host');
      await expect(host.run(['sh', '-c', 'echo out; echo err >&2; exit 3'])).rejects.toThrow(/ended: 3.*out.*err/s);
      expect(lab.report()).toContain('err');
    }));
});
