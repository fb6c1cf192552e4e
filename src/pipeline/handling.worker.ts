/** A worker of the pool: one task that lasts as long as the pool. Jobs come through shared memory, see `jobs.ts`. */

import { Opener, type PoolMemory, Sealer } from './handling.ts';

export type HandlingTask = { readonly worker: number; readonly memory: PoolMemory };

/** Looks again after this long without being woken (ms). */
const LONGEST_WAIT_MS = 500;

export default function routineHandling({ worker, memory }: HandlingTask): void {
  const sealer = new Sealer(memory.seal, worker);
  const opener = new Opener(memory.open, worker);
  const work = new Int32Array(memory.work);
  Atomics.add(work, 2, 1);
  while (Atomics.load(work, 1) === 0) {
    const posted = Atomics.load(work, 0);
    const sealed = sealer.handle();
    const opened = opener.handle();
    if (!sealed && !opened) Atomics.wait(work, 0, posted, LONGEST_WAIT_MS);
  }
}
