/**
 * What happens to the replicas of an NMS in a few minutes. Half of the nodes are left alone, and pairs of them talk before it
 * begins: whatever happens to replicas, they must go on doing so. The others come, go and move meanwhile.
 */

import type { Front } from './replicas.ts';
import type { Scenario } from './scenario.ts';

const KINDS = { kill: 4, drain: 4, all: 1, flush: 3, down: 2, cut: 3, register: 2 };
const NODE_KINDS = { crash: 3, stop: 2, move: 3 };
/** When all that were to talk do so. */
const CALM_MS = 40_000;
const START_MS = 5_000;
const MAX_GONE_MS = 20_000;
/** Some losses in a row are the weather's; this long a silence is not (ms). */
const LOST_MS = 10_000;

/** Plans the trouble and returns when the last of it is over (ms). */
export function planReplicaTrouble(scenario: Scenario, front: Front): number {
  const { clock, random, nodes, pairs } = scenario;
  const end = CALM_MS + random.between(60_000, 120_000);
  const restless = nodes.slice(nodes.length / 2);
  for (const pair of pairs) {
    const calm = !restless.some((node) => pair.has(node));
    clock.at(calm ? random.between(START_MS, CALM_MS / 2) : random.between(CALM_MS, end), () => pair.start());
    if (calm) clock.at(CALM_MS, () => pair.watch());
  }
  for (let left = random.whole(4, 12); left > 0; left--) {
    const at = random.between(CALM_MS, end);
    const gone = Math.min(random.between(0, MAX_GONE_MS), end - at);
    clock.at(at, () => happen(scenario, front, random.weighted(KINDS), gone));
  }
  for (let left = random.whole(0, restless.length); left > 0; left--) {
    const at = random.between(CALM_MS, end);
    clock.at(at, () => happenTo(scenario, random.pick(restless), random.between(0, (end - at) / 2)));
  }
  // Whatever overlapped: everybody is back at the end.
  clock.at(end, () => {
    for (const replica of front.replicas) front.start(replica);
  });
  return end;
}

/** What is wrong with pairs that nothing happened to but to the replicas. */
export function lostPairs({ pairs }: Scenario): string[] {
  const lost = pairs.filter((pair) => pair.silence > LOST_MS);
  return lost.map((pair) => `was established and silent for ${pair.silence.toFixed(0)} ms: ${pair.describe()}`);
}

function happen({ clock, random }: Scenario, front: Front, kind: keyof typeof KINDS, gone: number): void {
  const replica = random.pick(front.replicas);
  const { shared } = front;
  switch (kind) {
    case 'kill':
      front.kill(replica);
      clock.after(gone, () => front.start(replica));
      break;
    case 'drain':
      front.drain(replica);
      clock.after(gone, () => front.start(replica));
      break;
    case 'all':
      for (const one of front.replicas) {
        front.kill(one);
        clock.after(gone * random.unit(), () => front.start(one));
      }
      break;
    case 'flush':
      shared.flush();
      break;
    case 'down':
      shared.down = true;
      clock.after(gone, () => {
        shared.down = false;
        shared.flush();
      });
      break;
    case 'cut':
      replica.cut = true;
      clock.after(gone, () => {
        replica.cut = false;
      });
      break;
    case 'register':
      front.registerDown = true;
      clock.after(gone, () => {
        front.registerDown = false;
      });
      break;
  }
}

function happenTo({ clock, random, topology }: Scenario, node: Scenario['nodes'][0], gone: number): void {
  switch (random.weighted(NODE_KINDS)) {
    case 'crash':
      node.kill();
      clock.after(gone, () => node.start());
      break;
    case 'stop':
      node.stop();
      clock.after(gone, () => node.start());
      break;
    case 'move':
      node.move(topology.socket());
      break;
  }
}
