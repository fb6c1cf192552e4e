/** What a TRS uses of the processor for what it relays: capsules of full size on many paths, one by one and put together. */

import { viewOf } from '../../src/lib/bytes.ts';
import type { Endpoint } from '../../src/lib/ip.ts';
import { HeaderOffset } from '../../src/proto/header.ts';
import { Flag, messageTable } from '../../src/proto/messages.ts';
import { SenderKind } from '../../src/proto/options.ts';
import { type Population, primitives } from './population.ts';
import { type Service, serviceAddress } from './processes.ts';
import type { TunWire } from './wire.ts';

export type Relayed = { readonly what: string; readonly gigabits: number; readonly rate: number; readonly cpu: number };

const PATHS = 32;
const CAPSULE = 1_400;
/** As many as one packet holds. */
const TOGETHER = 44;
/** Octets on their way, so that none are lost. */
const UNDER_WAY = 1 << 20;

type Node = Population['nodes'][number];

/** A capsule on a path, as a TRS sees it. */
function capsuleOf(pathId: string): Uint8Array {
  const octets = new Uint8Array(CAPSULE).fill(0x5a);
  const view = viewOf(octets);
  octets.set([1, Flag.relayed, messageTable.capsule.type, 0], HeaderOffset.version);
  view.setUint16(HeaderOffset.length, CAPSULE);
  view.setUint16(HeaderOffset.nextOption, 0);
  octets.set(Uint8Array.fromHex(pathId), HeaderOffset.id);
  return octets;
}

async function settled(population: Population, node: Node, ask: () => void): Promise<void> {
  let outcome: string | null | undefined;
  population.begin(node, ask, (error) => {
    outcome = error;
  });
  while (outcome === undefined) {
    population.tick(1);
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (outcome !== null) throw new Error(`no relayed path: ${outcome}`);
}

/** A path between two nodes, with both sides bound at the TRS. */
async function openPath(population: Population, a: Node, b: Node, trs: Endpoint): Promise<string> {
  const pathId = primitives.random(16).toHex();
  const directions: FakeDirection[] = [];
  population.directed = (direction) => directions.push(direction);
  await settled(population, a, () => a.direct(b.device.fqdn, pathId));
  population.directed = () => {};
  const direction = directions.find(({ body }) => body.pathId === pathId)!;
  await settled(population, a, () => a.bind(direction, SenderKind.initiator, trs));
  await settled(population, b, () => b.bind(direction, SenderKind.responder, trs));
  return pathId;
}
type FakeDirection = Node['directed'][number];

export async function measureRelaying(
  population: Population,
  wire: TunWire,
  service: Service,
  port: number,
  seconds: number,
): Promise<Relayed[]> {
  const trs = { address: serviceAddress, port };
  const paths: { readonly from: Endpoint; readonly one: Uint8Array; readonly many: Uint8Array }[] = [];
  for (let i = 0; i < PATHS; i++) {
    const [a, b] = [population.nodes[2 * i]!, population.nodes[2 * i + 1]!];
    const one = capsuleOf(await openPath(population, a, b, trs));
    const many = new Uint8Array(TOGETHER * CAPSULE);
    for (let at = 0; at < many.length; at += CAPSULE) many.set(one, at);
    paths.push({ from: a.mapped, one, many });
  }
  const measure = (what: string, send: (i: number) => number): Relayed => {
    let sent = 0;
    let relayed = 0;
    const before = service.seconds;
    const began = performance.now();
    for (let i = 0; performance.now() - began < seconds * 1_000; i++) {
      sent += send(i % PATHS);
      if (i % PATHS === 0) relayed += wire.drain(0);
      while (sent - relayed > UNDER_WAY) {
        const more = wire.drain(200);
        relayed += more;
        // What was lost never comes.
        if (more === 0) sent = relayed;
      }
    }
    for (let more = 1; more > 0; relayed += more) more = wire.drain(200);
    const gigabits = (relayed * 8) / 1e9;
    const cpu = (service.seconds - before) / gigabits;
    return { what, gigabits, rate: (gigabits * 1_000) / (performance.now() - began), cpu };
  };
  const one = (i: number): number => {
    wire.sendMerged(paths[i]!.from, trs, paths[i]!.one, CAPSULE);
    return CAPSULE;
  };
  const many = (i: number): number => {
    wire.sendMerged(paths[i]!.from, trs, paths[i]!.many, CAPSULE);
    return TOGETHER * CAPSULE;
  };
  measure('warm-up', one);
  measure('warm-up', many);
  return [measure('that arrive one by one', one), measure(`that arrive ${TOGETHER} at once`, many)];
}
