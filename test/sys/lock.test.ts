import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockState, stateHolder } from '../../src/sys/lock.ts';
import { modulePath } from '../support/remote.ts';

let directory: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cyphonic-lock-'));
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

/** Another process that holds the directory. */
async function otherHolder(): Promise<ChildProcess> {
  const module = JSON.stringify(modulePath('src/sys/lock.ts'));
  const code = `
    const { lockState } = await import(${module});
    lockState(${JSON.stringify(directory)});
    console.log('held');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  await once(child.stdout!, 'data');
  return child;
}

describe('the lock of a state directory', () => {
  it('is had once in one process, and again after its release', () => {
    const lock = lockState(directory);
    expect(() => lockState(directory)).toThrow(`another daemon (pid ${process.pid})`);
    expect(stateHolder(directory)).toBe(process.pid);
    lock.release();
    expect(stateHolder(directory)).toBeNull();
    lockState(directory).release();
  });

  it('names the process that has it, in one line', async () => {
    const child = await otherHolder();
    expect(() => lockState(directory)).toThrow(
      expect.objectContaining({ code: 'USAGE_STATE_IN_USE', message: expect.stringContaining(`(pid ${child.pid})`) }),
    );
    expect(stateHolder(directory)).toBe(child.pid);
  });

  it('is free again once its process was killed', async () => {
    const child = await otherHolder();
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(stateHolder(directory)).toBeNull();
    lockState(directory).release();
  });

  it('tells an unusable directory from a used one', () => {
    expect(() => lockState(join(directory, 'nowhere'))).toThrow(
      expect.objectContaining({ code: 'CONFIG_STATE_DIRECTORY', message: expect.stringContaining('ENOENT') }),
    );
  });
});
