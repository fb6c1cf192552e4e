/**
 * `npm run sim -- [--replicas N] [seeds] [first]`: as many seeds as asked for, on all processors; fails if one of them does.
 * With replicas of the NMS, the trouble is theirs.
 */

import { parseArgs } from 'node:util';
import { summary } from './simulate.ts';
import { simulateAll } from './threads.ts';

const SEEDS = 1_000;

const { values, positionals } = parseArgs({
  options: { replicas: { type: 'string', default: '1' } },
  allowPositionals: true,
});
const [seeds = SEEDS, first = 1] = positionals.map(Number);
const failed: number[] = [];
await simulateAll(
  Array.from({ length: seeds }, (_, i) => first + i),
  (outcome) => {
    const { seed, failures } = outcome;
    process.stdout.write(`${summary(outcome)}\n`);
    process.stderr.write(failures.map((failure) => `seed ${seed}: ${failure}\n`).join(''));
    if (failures.length > 0) failed.push(seed);
  },
  { replicas: Number(values.replicas) },
);
process.stdout.write(`${seeds - failed.length} of ${seeds} seeds passed\n`);
if (failed.length > 0) process.stderr.write(`failed seeds: ${failed.sort((a, b) => a - b).join(' ')}\n`);
process.exitCode = failed.length === 0 ? 0 : 1;
