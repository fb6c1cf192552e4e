import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Outcome } from './scenario.ts';
import type { Variant } from './simulate.ts';

/** A seed takes seconds; one that takes this long goes round in circles (ms). */
const HUNG_MS = 600_000;

/** Simulates these seeds on all processors; `finish` gets the outcomes as they come. */
export async function simulateAll(
  seeds: readonly number[],
  finish: (outcome: Outcome) => void,
  variant: Variant = {},
): Promise<void> {
  const left = [...seeds];
  const threads = Array.from({ length: Math.min(left.length, availableParallelism()) }, async () => {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData: variant });
    try {
      for (let seed = left.shift(); seed !== undefined; seed = left.shift()) finish(await simulateIn(worker, seed));
    } finally {
      await worker.terminate();
    }
  });
  await Promise.all(threads);
}

async function simulateIn(worker: Worker, seed: number): Promise<Outcome> {
  const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
  const hung = setTimeout(() => reject(new RangeError(`seed ${seed} does not end`)), HUNG_MS);
  worker.once('message', resolve).once('error', reject);
  worker.postMessage(seed);
  try {
    return await promise;
  } finally {
    clearTimeout(hung);
    worker.off('message', resolve).off('error', reject);
  }
}
