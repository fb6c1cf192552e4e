/** A thread that simulates the seeds it is given, one after the other. */

import { parentPort } from 'node:worker_threads';
import { simulate } from './simulate.ts';

parentPort?.on('message', (seed: number) => {
  simulate(seed).then((outcome) => parentPort?.postMessage(outcome));
});
