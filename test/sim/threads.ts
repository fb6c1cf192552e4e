import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Outcome } from './scenario.ts';

/** Simulates these seeds on all processors; `finish` gets the outcomes as they come. */
export async function simulateAll(seeds: readonly number[], finish: (outcome: Outcome) => void): Promise<void> {
  const left = [...seeds];
  const threads = Array.from({ length: Math.min(left.length, availableParallelism()) }, async () => {
    const worker = new Worker(new URL('./worker.ts', import.meta.url));
    for (let seed = left.shift(); seed !== undefined; seed = left.shift()) {
      const outcome = Promise.withResolvers<Outcome>();
      worker.once('message', outcome.resolve).once('error', outcome.reject);
      worker.postMessage(seed);
      finish(await outcome.promise);
      worker.off('error', outcome.reject);
    }
    await worker.terminate();
  });
  await Promise.all(threads);
}
