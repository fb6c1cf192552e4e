import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { silentLog } from '../../src/lib/log.ts';
import { drain, readGrace } from '../../src/roles/drain.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cyphonic-drain-'));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

function hook(script: string): string {
  const file = join(directory, 'hook');
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
  return file;
}

/** Busy until it was asked so many times. */
function busyFor(times: number) {
  const service = { asked: 0, drained: 0, busy: () => ++service.asked <= times, drain: () => void service.drained++ };
  return service;
}

it('waits for what is in progress, and no longer', async () => {
  const service = busyFor(10);
  await drain([service, {}], { grace: '60' }, silentLog);
  expect(service).toMatchObject({ asked: 11, drained: 1 });
});

it('waits for nothing longer than the grace time', async () => {
  const service = busyFor(Number.POSITIVE_INFINITY);
  await drain([service], { grace: '1' }, silentLog);
  expect(service.asked).toBeGreaterThan(1);
  const none = busyFor(1);
  await drain([none], { grace: '0' }, silentLog);
  expect(none.asked).toBe(0);
});

it('leaves the routing first, then waits until nothing comes any more', async () => {
  const done = join(directory, 'done');
  const order: string[] = [];
  const service = { drain: () => order.push('drain'), busy: () => void order.push(existsSync(done) ? 'out' : 'in') };
  await drain([service as never], { grace: '60', drainHook: hook(`touch ${done}`) }, silentLog);
  expect(order[0]).toBe('drain');
  expect(new Set(order.slice(1))).toEqual(new Set(['out']));
  expect(order.length).toBeGreaterThan(2);
});

it.each([
  ['fails', 'echo no router >&2; exit 1', 'no router'],
  ['hangs', 'exec sleep 60', 'Command failed'],
])('stops all the same if the hook %s, and says so', async (_, script, why) => {
  const error = vi.fn();
  await drain([{}], { grace: '1', drainHook: hook(script) }, { ...silentLog, error });
  expect(error).toHaveBeenCalledExactlyOnceWith('the drain hook failed', {
    hook: join(directory, 'hook'),
    why: expect.stringContaining(why),
  });
});

it.each(['', '-1', 'x', '1e9'])('takes no grace time of "%s"', (text) => {
  expect(() => readGrace(text)).toThrow(/--grace .*use 0 to 3600 seconds/);
});
