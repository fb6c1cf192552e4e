/**
 * Runs in the namespace that `npm run bench:cloud` makes: the services, and simulated nodes that speak the real protocol
 * to them over the network. All nodes come at once; then each load is offered at increasing rates until the service falls
 * behind, and its latencies are those at half the highest rate it kept up with. The nodes run beside the service: on a
 * machine with little to spare it falls behind where processor time ends, so what one core can do is counted in the
 * service's own processor time.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { measureLogins } from './logins.ts';
import { type LoadResult, offerLoad } from './open-loop.ts';
import { addDevices, Population, primitives } from './population.ts';
import { makeNetwork, nodeRange, Service, serviceAddress } from './processes.ts';
import { TunWire } from './wire.ts';

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

/** `cpu`: of the service, in seconds for each request. */
type Measured = LoadResult & { readonly cpu: number };
type Row = { readonly what: string; readonly highest: Measured; readonly half: Measured };
type Absorbed = { readonly what: string; readonly seconds: number; readonly cpu: number; readonly timeouts: number };

/** All nodes register at once, and go on trying until they are answered. */
async function absorb(what: string, service: Service, population: Population): Promise<Absorbed> {
  const before = service.seconds;
  const began = performance.now();
  let left = population.nodes.length;
  let timeouts = 0;
  const register = (node: Population['nodes'][number]): void => {
    population.begin(
      node,
      () => node.register(),
      (error) => {
        if (error === null) left--;
        else {
          timeouts++;
          register(node);
        }
      },
    );
  };
  for (const node of population.nodes) {
    register(node);
    population.tick();
  }
  while (left > 0) {
    population.tick(1);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { what, seconds: (performance.now() - began) / 1_000, cpu: service.seconds - before, timeouts };
}

/** What is left when the highest rate is known: the latencies at half of it. */
async function findRate(
  what: string,
  from: number,
  service: Service,
  population: Population,
  ask: (i: number) => () => void,
): Promise<Row> {
  const { nodes } = population;
  let next = 0;
  const offer = async (perSecond: number, length: number): Promise<Measured> => {
    const before = service.seconds;
    const result = await offerLoad({
      perSecond,
      seconds: length,
      tick: (waitMs) => population.tick(waitMs),
      begin: (done) => {
        for (let tries = 0; tries < nodes.length; tries++) {
          const i = next++ % nodes.length;
          if (population.begin(nodes[i]!, ask(i), done)) return;
        }
        done('every node is waiting');
      },
    });
    return { ...result, cpu: (service.seconds - before) / result.answered };
  };
  let highest = await offer(from, seconds);
  for (;;) {
    const perSecond = highest.rate * STEP;
    const result = await offer(perSecond, seconds);
    const { offered, answered, rate, errors } = result;
    if (answered < offered || rate < KEPT_UP * (offered / seconds)) {
      console.error(`${what}: ${perSecond.toFixed(0)}/s is too much (${rate.toFixed(0)}/s, ${JSON.stringify(errors)})`);
      break;
    }
    highest = result;
  }
  return { what, highest, half: await offer(highest.rate / 2, seconds * 2) };
}

function print(rows: readonly Row[]): void {
  console.log(
    '| requests | kept up with, 1/s | CPU of the service, µs each | per CPU second | at half: CPU, µs each | p50, ms | p99, ms | errors |',
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- |');
  for (const { what, highest, half } of rows) {
    const cells = [
      what,
      highest.rate.toFixed(0),
      (highest.cpu * 1e6).toFixed(0),
      (1 / highest.cpu).toFixed(0),
      (half.cpu * 1e6).toFixed(0),
      half.p50.toFixed(2),
      half.p99.toFixed(2),
    ];
    console.log(
      `| ${[
        ...cells,
        Object.entries(half.errors)
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
    population = await Population.open(devices, { address: serviceAddress, port: ports.nms }, new TunWire(nodeRange));
    const all = population.nodes;
    const idle = nms.memory;
    const herd = [await absorb('that it has not heard of before', nms, population)];
    const present = nms.memory;
    herd.push(await absorb('that it knows', nms, population));
    const rows = [
      await findRate('registration', 1_000, nms, population, (i) => () => all[i]!.register()),
      await findRate('keep-alive', 3_000, nms, population, (i) => () => all[i]!.keepAlive()),
      await findRate('direction, with a relay', 200, nms, population, (i) => () => {
        const peer = all[(i + 1 + Math.floor(Math.random() * (all.length - 1))) % all.length]!;
        all[i]!.direct(peer.device.fqdn, primitives.random(16).toHex());
      }),
    ];
    const memory = { nms: nms.memory, trs: trs.memory, as: as.memory, perNode: ((present - idle) * 1024) / nodes };
    print(rows);
    for (const { what, seconds, cpu, timeouts } of herd) {
      const each = ((cpu * 1e6) / nodes).toFixed(0);
      console.log(
        `\n${nodes} nodes ${what}, all at once: registered after ${seconds.toFixed(1)} s, ${cpu.toFixed(1)} s of CPU (${each} µs each); ${timeouts} of their requests had been given up after six tries`,
      );
    }
    console.log(
      `resident memory, MiB: NMS ${memory.nms.toFixed(0)} in the end, ${present.toFixed(0)} with ${nodes} nodes (${memory.perNode.toFixed(1)} KiB each above the start), TRS ${memory.trs.toFixed(0)}, AS ${memory.as.toFixed(0)}`,
    );
    const logins = await measureLogins(directory, ports.as, Number(flags.logins), as);
    console.log(
      `logins, 1/s: ${logins.map(({ what, rate, cpu }) => `${what} ${rate.toFixed(0)} (${(cpu * 1e3).toFixed(1)} ms of CPU each)`).join(', ')}`,
    );
    if (flags.out !== undefined)
      writeFileSync(flags.out, `${JSON.stringify({ nodes, seconds, rows, herd, logins, memory }, null, 2)}\n`);
  } finally {
    population?.close();
    await Promise.all(services.map((service) => service.stop()));
    rmSync(directory, { recursive: true, force: true });
  }
}

await main();
