/**
 * `npm run fuzz:proto [count] [seed]` decodes datagrams (10 million), `npm run fuzz:link` gives the adapter frames of its
 * inner link (1 million): counts the outcomes and measures the rate.
 */

import { fuzzLink } from '../test/net/link-fuzz.ts';
import { fuzz } from '../test/proto/fuzz.ts';
import type { Tally } from '../test/support/spoil.ts';

const link = process.argv[2] === 'link';
const count = Number(process.argv[3] ?? (link ? 1_000_000 : 10_000_000));
const seed = Number(process.argv[4] ?? Date.now() % 2 ** 31);
const step = link ? 50_000 : 500_000;

console.log(`${count} ${link ? 'frames' : 'datagrams'}, seed ${seed}`);
const tally: Tally = new Map();
const began = performance.now();
for (let done = 0; done < count; ) {
  const size = Math.min(step, count - done);
  (link ? fuzzLink : fuzz)(size, seed + done, tally);
  done += size;
  const rate = Math.round((1000 * done) / (performance.now() - began));
  console.log(`${done} done, ${rate}/s, ${Math.round(process.memoryUsage.rss() / 2 ** 20)} MiB`);
}
for (const [outcome, times] of [...tally].sort(([, a], [, b]) => b - a)) {
  console.log(`${outcome.padEnd(20)} ${String(times).padStart(9)} ${((100 * times) / count).toFixed(2).padStart(6)} %`);
}
