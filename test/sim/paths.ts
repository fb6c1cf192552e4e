/**
 * The path between two nodes against a model of what their networks allow: `npm run sim:paths -- [seeds] [first]`. A
 * seed is a pair with random NATs, firewalls, families, loss, moves, crashes and services that go and come. When all is
 * quiet again they must talk, and directly if the model says so. A failing seed has its message flow drawn into a file.
 */

import type { NatType } from './nat.ts';
import type { SimNode } from './node.ts';
import { Scenario } from './scenario.ts';
import { draw } from './simulate.ts';

const SEEDS = 10_000;
const EVENTS = 8;
/** All ways are looked at again every 60 s; doubled for chance. */
const OPTIMISED_MS = 130_000;
/** By strictness (protocol section 4); nothing in between counts as a full cone. */
const order: readonly NatType[] = ['fullCone', 'addressRestricted', 'portRestricted', 'symmetric'];

type Verdict = 'direct' | 'relay' | 'either';

/** What a pair's networks allow, by the tables of protocol section 4. */
export function model(a: SimNode, b: SimNode): Verdict {
  if (a.host.address6 !== null && b.host.address6 !== null) return 'direct';
  if (a.host.address4 === null || b.host.address4 === null) return 'relay';
  if (a.host.segment === b.host.segment) return 'direct';
  const [first, second] = [natsOf(a), natsOf(b)];
  // Behind one NAT that sends nothing back, in different networks of it.
  if (first.some((nat) => second.includes(nat))) return 'either';
  const [low, high] = [first, second]
    .map((nats) => Math.max(0, ...nats.map(({ type }) => order.indexOf(type))))
    .sort((x, y) => x - y);
  return order[high!] === 'symmetric' && order[low!] !== 'fullCone' ? 'either' : 'direct';
}

function natsOf({ host }: SimNode) {
  const nats = [];
  for (let { router } = host.segment; router !== null; router = router.outside.router) nats.push(router.nat);
  return nats;
}

/** What is wrong with a seed, and how its pair talks in the end. */
export async function pathSeed(seed: number): Promise<{ readonly failures: readonly string[]; readonly path: string }> {
  const options = { seed, nodes: 2, maxPairs: 1, events: EVENTS };
  const found: string[] = [];
  let path = '';
  const run = (scenario: Scenario): void => {
    found.length = 0;
    found.push(...scenario.run().failures);
    scenario.network.weather = { loss: 0, duplication: 0, reordering: 0, heldBack: 0 };
    scenario.clock.run(scenario.clock.ms + OPTIMISED_MS);
    const [a, b] = scenario.nodes as [SimNode, SimNode];
    const ends = [endOf(a, b), endOf(b, a)];
    path = ends.map((end) => end?.path ?? 'none').join('/');
    const verdict = model(a, b);
    for (const end of ends) {
      const direct = end?.path === 'direct' || end?.path === 'lan';
      if (end?.state !== 'up' || (verdict === 'direct' && !direct) || (verdict === 'relay' && direct)) {
        found.push(`${scenario.pairs[0]!.describe()}: ${path}, the model says ${verdict}`);
        break;
      }
    }
  };
  run(await Scenario.build(options));
  if (found.length === 0) return { failures: [], path };
  const file = await draw(options, 0, run);
  return { failures: [...found, `drawn in ${file}`], path };
}

function endOf(node: SimNode, peer: SimNode) {
  return node.snapshot?.peers.find(({ fqdn }) => fqdn === peer.device.fqdn);
}

if (import.meta.main) {
  const [seeds = SEEDS, first = 1] = process.argv.slice(2).map(Number);
  const paths = new Map<string, number>();
  let failed = 0;
  for (let seed = first; seed < first + seeds; seed++) {
    const { failures, path } = await pathSeed(seed);
    paths.set(path, (paths.get(path) ?? 0) + 1);
    process.stderr.write(failures.map((failure) => `seed ${seed}: ${failure}\n`).join(''));
    if (failures.length > 0) failed += 1;
  }
  const seen = [...paths].sort(([, a], [, b]) => b - a).map(([path, count]) => `${path} ${count}`);
  process.stdout.write(`${seeds - failed} of ${seeds} seeds as the model says: ${seen.join(', ')}\n`);
  process.exitCode = failed === 0 ? 0 : 1;
}
