/** `npm run sim -- [seeds] [first]`: as many seeds as asked for, on all processors; fails if one of them does. */

import { availableParallelism } from 'node:os';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import type { Outcome } from './scenario.ts';
import { simulate, summary } from './simulate.ts';

const SEEDS = 1_000;

async function main(seeds: number, first: number): Promise<void> {
  let next = first;
  const failed: number[] = [];
  const finish = (outcome: Outcome): void => {
    process.stdout.write(`${summary(outcome)}\n`);
    if (outcome.failures.length === 0) return;
    failed.push(outcome.seed);
    process.stderr.write(outcome.failures.map((failure) => `seed ${outcome.seed}: ${failure}\n`).join(''));
  };
  const work = async (): Promise<void> => {
    while (next < first + seeds) finish(await runInThread(next++));
  };
  await Promise.all(Array.from({ length: Math.min(seeds, availableParallelism()) }, work));
  process.stdout.write(`${seeds - failed.length} of ${seeds} seeds passed\n`);
  if (failed.length > 0) process.stderr.write(`failed seeds: ${failed.sort((a, b) => a - b).join(' ')}\n`);
  process.exitCode = failed.length === 0 ? 0 : 1;
}

function runInThread(seed: number): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: seed });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

if (isMainThread) {
  const [seeds = SEEDS, first = 1] = process.argv.slice(2).map(Number);
  await main(seeds, first);
} else {
  parentPort?.postMessage(await simulate(workerData as number));
}
