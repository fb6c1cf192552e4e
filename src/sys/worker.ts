/**
 * Starts worker threads. A worker's source is a file `src/<name>.worker.ts`; in the single executable it is an asset of
 * text, bundled, so that no file is needed.
 */

import { getAsset, isSea } from 'node:sea';
import { fileURLToPath } from 'node:url';
import { Worker, type WorkerOptions } from 'node:worker_threads';

export function assetOfWorker(name: string): string {
  return `worker/${name}.mjs`;
}

/** Where a worker's source is, for who starts threads himself; in the single executable only a name. */
export function workerFile(name: string): string {
  return isSea() ? assetOfWorker(name) : fileURLToPath(new URL(`../${name}.worker.ts`, import.meta.url));
}

/** `name` is the source's path below src without `.worker.ts`, such as `pipeline/inside`. */
export function startWorker(name: string, options: Omit<WorkerOptions, 'eval' | 'name'> = {}): Worker {
  const named = { ...options, name };
  return isSea()
    ? new Worker(getAsset(assetOfWorker(name), 'utf8'), { ...named, eval: true })
    : new Worker(new URL(`../${name}.worker.ts`, import.meta.url), named);
}
