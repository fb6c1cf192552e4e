/**
 * Runs in the namespace that `npm run bench:cloud` makes: the services, and simulated nodes that speak the real protocol
 * to them over real sockets. Every load is offered at increasing rates until the service falls behind; its latencies are
 * those at half the highest rate it kept up with.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { measureLogins } from './logins.ts';
import { type LoadResult, offerLoad } from './open-loop.ts';
import { addDevices, Population, primitives } from './population.ts';
import { makeNetwork, Service, serviceAddress } from './processes.ts';

const { values: flags } = parseArgs({
  options: {
    nodes: { type: 'string', default: '2000' },
    seconds: { type: 'string', default: '4' },
    logins: { type: 'string', default: '150' },
    out: { type: 'string' },
  },
});
const nodes = Number(flags.nodes);
const seconds = Number(flags.seconds);
const ports = { as: 7_440, nms: 7_441, trs: 7_442, controller: 7_443 };

/** A service kept up if it answered this share of what was offered, without an error. */
const KEPT_UP = 0.99;
const STEP = 1.3;

type Row = LoadResult & { readonly what: string; readonly cpuPerRequest: number; readonly highest: number };

/** What is left when `highest` is known: the latencies at half of it. */
async function findRate(
  what: string,
  from: number,
  service: Service,
  population: Population,
  ask: (i: number) => () => void,
): Promise<Row> {
  const { nodes } = population;
  let next = 0;
  const offer = (perSecond: number, length: number) =>
    offerLoad({
      perSecond,
      seconds: length,
      tick: () => population.tick(),
      begin: (done) => {
        for (let tries = 0; tries < nodes.length; tries++) {
          const i = next++ % nodes.length;
          if (population.begin(nodes[i]!, ask(i), done)) return;
        }
        done('every node is waiting');
      },
    });
  let highest = 0;
  for (let perSecond = from; ; perSecond *= STEP) {
    const { offered, answered, rate, errors } = await offer(perSecond, seconds);
    if (answered < offered || rate < KEPT_UP * (offered / seconds)) {
      console.error(`${what}: ${perSecond.toFixed(0)}/s is too much (${rate.toFixed(0)}/s, ${JSON.stringify(errors)})`);
      break;
    }
    highest = rate;
  }
  const before = service.seconds;
  const result = await offer(highest / 2, seconds * 2);
  return { ...result, what, highest, cpuPerRequest: (service.seconds - before) / result.answered };
}

function print(rows: readonly Row[]): void {
  console.log(
    '| requests | kept up with, 1/s | CPU of the service, µs each | per core, 1/s | at half: p50, ms | p99, ms | errors |',
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- |');
  for (const { what, highest, cpuPerRequest, p50, p99, errors } of rows) {
    const cells = [
      what,
      highest.toFixed(0),
      (cpuPerRequest * 1e6).toFixed(0),
      (1 / cpuPerRequest).toFixed(0),
      p50.toFixed(2),
      p99.toFixed(2),
    ];
    console.log(
      `| ${[
        ...cells,
        Object.entries(errors)
          .map(([name, count]) => `${name}: ${count}`)
          .join(', ') || 'none',
      ].join(' | ')} |`,
    );
  }
}

async function main(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'cyphonic-cloud-'));
  const services: Service[] = [];
  let population: Population | undefined;
  try {
    makeNetwork(directory, ports);
    const devices = await addDevices(directory, 'n', nodes);
    for (const role of ['trs', 'nms', 'as'] as const) services.push(await Service.start(role, directory));
    const [trs, nms, as] = services as [Service, Service, Service];
    population = await Population.open(devices, { address: serviceAddress, port: ports.nms });
    const all = population.nodes;
    const idle = nms.memory;
    const rows = [
      await findRate('registration', 1_000, nms, population, (i) => () => all[i]!.register()),
      await findRate('keep-alive', 3_000, nms, population, (i) => () => all[i]!.keepAlive()),
      await findRate('direction, with a relay', 200, nms, population, (i) => () => {
        const peer = all[(i + 1 + Math.floor(Math.random() * (all.length - 1))) % all.length]!;
        all[i]!.direct(peer.device.fqdn, primitives.random(16).toHex());
      }),
    ];
    const memory = { nms: nms.memory, trs: trs.memory, as: as.memory, perNode: ((nms.memory - idle) * 1024) / nodes };
    const logins = await measureLogins(directory, ports.as, Number(flags.logins), as);
    print(rows);
    console.log(
      `\nlogins, 1/s: ${logins.map(({ what, rate, cpu }) => `${what} ${rate.toFixed(0)} (${(cpu * 1e3).toFixed(1)} ms of CPU each)`).join(', ')}`,
    );
    console.log(
      `resident memory, MiB: NMS ${memory.nms.toFixed(0)} with ${nodes} nodes (${memory.perNode.toFixed(1)} KiB each above the start), TRS ${memory.trs.toFixed(0)}, AS ${memory.as.toFixed(0)}`,
    );
    if (flags.out !== undefined)
      writeFileSync(flags.out, `${JSON.stringify({ nodes, seconds, rows, logins, memory }, null, 2)}\n`);
  } finally {
    population?.close();
    await Promise.all(services.map((service) => service.stop()));
    rmSync(directory, { recursive: true, force: true });
  }
}

await main();
