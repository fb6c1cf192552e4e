/** A thread that simulates the seeds it is given, one after the other. */

import { parentPort, workerData } from 'node:worker_threads';
import { simulate, type Variant } from './simulate.ts';

parentPort?.on('message', (seed: number) => {
  simulate(seed, workerData as Variant).then((outcome) => parentPort?.postMessage(outcome));
});
