/**
 * `npm run bench:workers [seconds]`: the thesis's experiment. Sealing by one thread, and by 2, 4 and 8 workers with and
 * without the stage that puts jobs in order again; several rounds, interleaved, medians.
 */

import { availableParallelism } from 'node:os';
import { silentLog } from '../src/lib/log.ts';
import { type TrialResult, trial } from '../src/pipeline/trial.ts';
import { Suite, suiteNames } from '../src/proto/constants.ts';
import { median } from './peers/report.ts';

const milliseconds = 1000 * Number(process.argv[2] ?? 0.5);
const ROUNDS = 3;
const settings = [1, 2, 4, 8].flatMap((workers) => [true, false].map((ordered) => ({ workers, ordered })));
settings.unshift({ workers: 0, ordered: true });

console.log(`${availableParallelism()} processors; Mbit/s of sealed datagrams, messages out of order`);
for (const suite of [Suite.aes256Gcm, Suite.chacha20Poly1305, Suite.cbcMd5]) {
  const results = new Map<(typeof settings)[number], TrialResult[]>(settings.map((setting) => [setting, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [setting, values] of results) {
      values.push(await trial({ ...setting, suite, milliseconds, log: silentLog }));
    }
  }
  const alone = median(results.get(settings[0]!)!.map((result) => result.megabitsPerSecond))!;
  for (const [{ workers, ordered }, values] of results) {
    const rate = median(values.map((result) => result.megabitsPerSecond))!;
    const reordered = values.reduce((sum, result) => sum + result.reordered, 0);
    const name = workers === 0 ? 'single thread' : `${workers} workers, ${ordered ? 'ordered' : 'not ordered'}`;
    console.log(
      `${suiteNames[suite].padEnd(18)} ${name.padEnd(24)} ${rate.toFixed(0).padStart(6)} (${(rate / alone).toFixed(2)}) ${reordered}`,
    );
  }
}
