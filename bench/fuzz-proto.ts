/** `npm run fuzz:proto [count] [seed]`: decodes datagrams (10 million), counts the outcomes and measures the rate. */

import { fuzz, type Tally } from '../test/proto/fuzz.ts';

const count = Number(process.argv[2] ?? 10_000_000);
const seed = Number(process.argv[3] ?? Date.now() % 2 ** 31);
const step = 500_000;

console.log(`${count} datagrams, seed ${seed}`);
const tally: Tally = new Map();
const began = performance.now();
for (let done = 0; done < count; ) {
  const size = Math.min(step, count - done);
  fuzz(size, seed + done, tally);
  done += size;
  const rate = Math.round((1000 * done) / (performance.now() - began));
  console.log(`${done} done, ${rate}/s, ${Math.round(process.memoryUsage.rss() / 2 ** 20)} MiB`);
}
for (const [outcome, times] of [...tally].sort(([, a], [, b]) => b - a)) {
  console.log(`${outcome.padEnd(20)} ${String(times).padStart(9)} ${((100 * times) / count).toFixed(2).padStart(6)} %`);
}
