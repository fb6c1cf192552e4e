/**
 * What it costs to lose one of three replicas: `npm run bench:replicas`. The laboratory of `test/lab/replicas.test.ts` with
 * more nodes and for longer: one host is stopped with each of the thesis's waiting times, one is killed, all are started
 * anew one after the other, and what was asked meanwhile is counted. The spread of nodes over replicas comes first.
 */

import { parseArgs } from 'node:util';
import type { LoadReport } from '../test/lab/toolkit/cloud-load.ts';
import { Lab } from '../test/lab/toolkit/lab.ts';
import { all, Load } from '../test/lab/toolkit/load.ts';
import { RoutedCloud } from '../test/lab/toolkit/routed-cloud.ts';

/** Share of 54,230 requests that failed in the thesis, by the waiting time. */
const thesis = new Map([
  [0, '4.37 %'],
  [3, '2.34 %'],
  [5, '0 %'],
]);

const { values: flags } = parseArgs({
  options: {
    nodes: { type: 'string', default: '3000' },
    rate: { type: 'string', default: '600' },
    seconds: { type: 'string', default: '30' },
  },
});
const seconds = Number(flags.seconds);

function row(what: string, report: LoadReport, before: string): string {
  const results = all.map((kind) => report[kind]);
  for (const kind of all) {
    const { errors } = report[kind];
    if (Object.keys(errors).length > 0) console.error(what, kind, errors);
  }
  const offered = results.reduce((sum, { offered }) => sum + offered, 0);
  const failed = offered - results.reduce((sum, { answered }) => sum + answered, 0);
  const longest = all.map((kind) => `${kind} ${report[kind].longest.toFixed(0)}`).join(', ');
  const share = `${failed} (${((100 * failed) / offered).toFixed(2)} %)`;
  return `| ${[what, offered, share, before, report.retried, longest].join(' | ')} |`;
}

const lab = new Lab('replicas');
const cloud = await RoutedCloud.open(lab);
try {
  const load = new Load(lab, cloud, { nodes: Number(flags.nodes), rate: Number(flags.rate) });
  await load.ready(600_000);
  const present = cloud.replicas.map((replica) => replica.metric('nms', 'cyphonic_nodes_present'));
  const spread = await Promise.all(present);
  const total = spread.reduce((a, b) => a + b);
  const shares = spread.map((count) => `${count} (${((100 * count) / total).toFixed(1)} %)`);
  console.log(`nodes heard by each replica: ${shares.join(', ')}\n`);
  console.log('| one of three replicas | requests | failed | thesis | logins tried again | longest, ms |');
  console.log('| --- | --- | --- | --- | --- | --- |');
  const [first, second] = cloud.replicas as [RoutedCloud['replicas'][0], RoutedCloud['replicas'][0]];
  for (const [wait, before] of thesis) {
    await first.stop();
    await first.start(wait);
    await cloud.spreads(cloud.replicas);
    const report = await load.during(async () => void (await first.stop()), all, seconds);
    console.log(row(`stopped, grace ${wait} s`, report, before));
    await first.start();
    await cloud.spreads(cloud.replicas);
  }
  console.log(row('killed', await load.during(() => second.kill(), all, seconds), ''));
  await second.start();
  await cloud.spreads(cloud.replicas);

  const oneByOne = async (): Promise<void> => {
    for (const replica of cloud.replicas) {
      await replica.stop();
      await replica.start();
      await cloud.spreads(cloud.replicas);
    }
  };
  console.log(row('all of them, one after the other', await load.during(oneByOne, all, 2 * seconds), ''));
} finally {
  await lab.close();
  await cloud.close();
}
process.exit(0);
