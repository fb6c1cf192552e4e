/** The workers that seal and open beside the I/O threads. Piscina owns their threads; each runs one task for life. */

import { Piscina } from 'piscina';
import type { Log } from '../lib/log.ts';
import { workerFile } from '../sys/worker.ts';
import type { PoolMemory } from './handling.ts';
import type { HandlingTask } from './handling.worker.ts';
import { boardMemory, JobHands } from './jobs.ts';

/** How long a worker that died stays away (ms): one that cannot live must not take the machine with it. */
const PAUSE_MS = 100;
const START_POLL_MS = 2;

export function poolMemory(workers: number): PoolMemory {
  return {
    seal: boardMemory(workers),
    open: boardMemory(workers),
    work: new SharedArrayBuffer(3 * Int32Array.BYTES_PER_ELEMENT),
  };
}

export class Pool {
  readonly size: number;
  readonly memory: PoolMemory;
  readonly #piscina: Piscina;
  readonly #log: Log;
  readonly #tasks: Promise<void>[];
  #stopping = false;

  constructor(size: number, log: Log) {
    this.size = size;
    this.memory = poolMemory(size);
    this.#log = log;
    this.#piscina = new Piscina({
      filename: workerFile('pipeline/handling'),
      minThreads: size,
      maxThreads: size,
      idleTimeout: Number.POSITIVE_INFINITY,
      recordTiming: false,
    });
    this.#tasks = Array.from({ length: size }, (_, worker) => this.#run(worker));
  }

  /** Threads in use; for tests. */
  get threads(): Piscina['threads'] {
    return this.#piscina.threads;
  }

  /** One worker, and the next one in its place whenever it dies. */
  async #run(worker: number): Promise<void> {
    const task: HandlingTask = { worker, memory: this.memory };
    while (!this.#stopping) {
      try {
        await this.#piscina.run(task);
      } catch (error) {
        if (this.#stopping) return;
        this.#log.error('a worker died and is replaced', { worker, why: String(error) });
        for (const board of [this.memory.seal, this.memory.open]) new JobHands(board, worker).lose();
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    }
  }

  /** Resolves once every worker waits for jobs. */
  get ready(): Promise<void> {
    const work = new Int32Array(this.memory.work);
    const look = async (): Promise<void> => {
      while (Atomics.load(work, 2) < this.size) await new Promise((resolve) => setTimeout(resolve, START_POLL_MS));
    };
    return look();
  }

  /** After the I/O threads have ended. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const work = new Int32Array(this.memory.work);
    Atomics.store(work, 1, 1);
    Atomics.add(work, 0, 1);
    Atomics.notify(work, 0);
    await Promise.all(this.#tasks);
    await this.#piscina.destroy();
  }
}
