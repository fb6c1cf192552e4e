import { describe, expect, it } from 'vitest';
import { silentLog } from '../../src/lib/log.ts';
import { Opener, Sealer } from '../../src/pipeline/handling.ts';
import { boardMemory, JobHands } from '../../src/pipeline/jobs.ts';
import { Pool } from '../../src/pipeline/pool.ts';
import { bestWorkers, trial } from '../../src/pipeline/trial.ts';

describe('a pool', () => {
  it.each([1, 3])('of %i workers sends in the order of arrival', async (workers) => {
    const result = await trial({ workers, milliseconds: 200, log: silentLog });
    expect(result.reordered).toBe(0);
    expect(result.datagramsPerSecond).toBeGreaterThan(0);
  });

  it('replaces a worker that dies', async () => {
    const said: string[] = [];
    const pool = new Pool(2, { ...silentLog, error: (text) => void said.push(text) });
    await pool.ready;
    const begun = new Int32Array(pool.memory.work);
    const [first] = pool.threads;
    await first?.terminate();
    while (Atomics.load(begun, 2) < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(said).toEqual(['a worker died and is replaced']);
    await pool.stop();
  });

  it('ends when it is told to, also before it is up', async () => {
    await new Pool(2, silentLog).stop();
  });
});

describe('workers: auto', () => {
  it('takes none or as many as it tried', async () => {
    let tried = Number.NaN;
    const log = { ...silentLog, info: (_: string, fields?: object) => void ({ tried } = fields as { tried: number }) };
    const chosen = await bestWorkers(log);
    expect([0, tried]).toContain(chosen);
  });
});

it('handling finds nothing to do on an empty board', () => {
  const board = boardMemory(1);
  expect(new Sealer(board, 0).handle()).toBe(false);
  expect(new Opener(board, 0).handle()).toBe(false);
  expect(new JobHands(board, 0).take()).toBe(-1);
});
