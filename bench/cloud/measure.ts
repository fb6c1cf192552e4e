/**
 * Runs in the namespace that `npm run bench:cloud` makes: the services, and simulated nodes that speak the real protocol
 * to them over the network. All nodes come at once; then each kind of request is made as fast as it is answered, which
 * tells what one costs the service; then offered at increasing rates until the service falls behind, and its latencies
 * are those at half the highest rate it kept up with. The nodes run beside the service: what that rate is depends on
 * what the machine has left for both.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { takeTurns } from './closed-loop.ts';
import { measureLogins } from './logins.ts';
import { type LoadResult, offerLoad } from './open-loop.ts';
import { addDevices, Population, primitives } from './population.ts';
import { makeNetwork, nodeRange, Service, serviceAddress } from './processes.ts';
import { measureRelaying } from './relaying.ts';
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

/** Requests under way in a closed loop, and how many there are of them for each second of an open one. */
const AT_ONCE = 256;
const TURNS_PER_SECOND = 5_000;

/** `cpu`: of the service, in seconds for each request, with as many at once as it takes. */
type Row = { readonly what: string; readonly cpu: number; readonly highest: number; readonly half: LoadResult };
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

/** What a request costs, then the highest rate that the service keeps up with, and the latencies at half of it. */
async function measure(
  what: string,
  weight: number,
  service: Service,
  population: Population,
  ask: (i: number) => () => void,
): Promise<Row> {
  const { nodes } = population;
  let next = 0;
  const tick = (waitMs: number): void => population.tick(waitMs);
  const waited = (): number => population.behindMs;
  const begin = (done: (error: string | null) => void): void => {
    for (let tries = 0; tries < nodes.length; tries++) {
      const i = next++ % nodes.length;
      if (population.begin(nodes[i]!, ask(i), done)) return;
    }
    done('every node is waiting');
  };
  const turns = { atOnce: Math.min(AT_ONCE, nodes.length / 2), begin, tick };
  const requests = (seconds * TURNS_PER_SECOND) / weight;
  await takeTurns({ ...turns, requests });
  const before = service.seconds;
  const { answered, rate: kept } = await takeTurns({ ...turns, requests });
  const cpu = (service.seconds - before) / answered;

  const offer = (perSecond: number, length: number) => offerLoad({ perSecond, seconds: length, tick, begin, waited });
  let highest = 0;
  for (let perSecond = kept / 2; ; perSecond *= STEP) {
    const { offered, answered, rate, errors } = await offer(perSecond, seconds);
    if (answered < offered || rate < KEPT_UP * (offered / seconds)) {
      console.error(`${what}: ${perSecond.toFixed(0)}/s is too much (${rate.toFixed(0)}/s, ${JSON.stringify(errors)})`);
      break;
    }
    highest = rate;
  }
  return { what, cpu, highest, half: await offer((highest || kept / 2) / 2, seconds * 2) };
}

function sayHead(): void {
  console.log(
    '| requests | CPU of the service, µs each | per CPU second | kept up with here, 1/s | at half of it: p50, ms | p99, ms | nodes late themselves: p99, ms | p99 without that, ms | errors |',
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- |');
}

function say({ what, cpu, highest, half }: Row): void {
  const errors = Object.entries(half.errors).map(([name, count]) => `${name}: ${count}`);
  const cells = [
    what,
    (cpu * 1e6).toFixed(0),
    (1 / cpu).toFixed(0),
    highest.toFixed(0),
    half.p50.toFixed(2),
    half.p99.toFixed(2),
    half.ownP99.toFixed(2),
    half.withoutP99.toFixed(2),
    errors.join(', ') || 'none',
  ];
  console.log(`| ${cells.join(' | ')} |`);
}

function sayAbsorbed({ what, seconds, cpu, timeouts }: Absorbed): void {
  const each = ((cpu * 1e6) / nodes).toFixed(0);
  console.log(
    `${nodes} nodes ${what}, all at once: registered after ${seconds.toFixed(1)} s, ${cpu.toFixed(1)} s of CPU (${each} µs each); ${timeouts} requests had been given up after six tries`,
  );
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
    const wire = new TunWire(nodeRange);
    population = await Population.open(devices, { address: serviceAddress, port: ports.nms }, wire);
    const all = population;
    const nodeOf = (i: number) => all.nodes[i % nodes]!;
    const idle = nms.memory;
    const herd: Absorbed[] = [];
    const come = async (what: string): Promise<void> => {
      const absorbed = await absorb(what, nms, all);
      herd.push(absorbed);
      sayAbsorbed(absorbed);
    };
    await come('that it has not heard of before');
    const present = nms.memory;
    await come('that it knows');
    sayHead();
    const rows: Row[] = [];
    const load = async (what: string, weight: number, ask: (i: number) => () => void): Promise<void> => {
      const row = await measure(what, weight, nms, all, ask);
      rows.push(row);
      say(row);
    };
    await load('registration', 1, (i) => () => nodeOf(i).register());
    await load('keep-alive', 1, (i) => () => nodeOf(i).keepAlive());
    await load('direction, with a relay', 2, (i) => () => {
      const peer = nodeOf(i + 1 + Math.floor(Math.random() * (nodes - 1)));
      nodeOf(i).direct(peer.device.fqdn, primitives.random(16).toHex());
    });
    const memory = { nms: nms.memory, trs: trs.memory, as: as.memory, perNode: ((present - idle) * 1024) / nodes };
    console.log(
      `resident memory, MiB: NMS ${memory.nms.toFixed(0)} in the end, ${present.toFixed(0)} with ${nodes} nodes (${memory.perNode.toFixed(1)} KiB each above the start), TRS ${memory.trs.toFixed(0)}, AS ${memory.as.toFixed(0)}`,
    );
    const relayed = await measureRelaying(population, wire, trs, ports.trs, seconds);
    for (const { what, gigabits, rate, cpu } of relayed) {
      console.log(
        `relayed, in capsules of 1,400 octets ${what}: ${gigabits.toFixed(1)} Gbit at ${rate.toFixed(2)} Gbit/s, ${cpu.toFixed(2)} s of the TRS's CPU for each Gbit`,
      );
    }
    const logins = await measureLogins(directory, ports.as, Number(flags.logins), as);
    console.log(
      `logins, 1/s: ${logins.map(({ what, rate, cpu }) => `${what} ${rate.toFixed(0)} (${(cpu * 1e3).toFixed(1)} ms of CPU each)`).join(', ')}`,
    );
    if (flags.out !== undefined)
      writeFileSync(flags.out, `${JSON.stringify({ nodes, seconds, rows, herd, relayed, logins, memory }, null, 2)}\n`);
  } finally {
    population?.close();
    await Promise.all(services.map((service) => service.stop()));
    rmSync(directory, { recursive: true, force: true });
  }
}

await main();
