/** What happens to a network in a few minutes: crashes, moves, routers rebooted, clocks set. */

import type { Clock } from './clock.ts';
import type { SimNode } from './node.ts';
import type { Scenario } from './scenario.ts';

const KINDS = {
  /** A daemon dies and comes back. */
  crash: 25,
  /** A daemon is stopped and comes back. */
  stop: 8,
  /** A host moves to another network. */
  move: 25,
  /** A host has no network for a while. */
  unplug: 8,
  /** A home router loses its mappings and gets another address. */
  router: 12,
  /** A wall clock jumps. */
  clock: 15,
  nms: 2,
  trs: 3,
};

const DAY = 86_400_000;
/** A little less than what certificates allow two clocks to differ (ms). */
const MAX_BEHIND_MS = 4 * 60_000;
/** Ahead of the others a clock may be by the rest of a certificate's life (ms). */
const MAX_AHEAD_MS = 2 * DAY;

/** Plans the trouble and returns when the last of it is over (ms). */
export function plan(scenario: Scenario): number {
  const { clock, random } = scenario;
  // Some networks live long enough for keys to be renewed.
  const duration = random.chance(0.85) ? random.between(30_000, 70_000) : random.between(130_000, 190_000);
  const { events = Math.ceil(scenario.nodes.length / 2) } = scenario.options;
  const count = random.whole(0, events);
  for (let i = 0; i < count; i++) {
    const at = random.between(0, duration);
    // Everybody is back at the end.
    const length = Math.min(random.chance(0.8) ? random.between(0, 8_000) : random.between(0, 100_000), duration - at);
    clock.at(at, () => happen(scenario, random.weighted(KINDS), length));
  }
  return duration;
}

function happen(scenario: Scenario, kind: keyof typeof KINDS, length: number): void {
  const { clock, cloud, random, topology } = scenario;
  const node = random.pick(scenario.nodes);
  switch (kind) {
    case 'crash':
      node.kill();
      clock.after(length, () => node.start());
      break;
    case 'stop':
      node.stop();
      clock.after(length, () => node.start());
      break;
    case 'move':
      node.move(topology.socket());
      break;
    case 'unplug':
      unplug(node, clock, length);
      break;
    case 'router':
      if (topology.routers.length > 0) topology.reboot(random.pick(topology.routers));
      break;
    case 'clock':
      node.setWallError(
        random.chance(0.5) ? random.between(-MAX_BEHIND_MS, MAX_BEHIND_MS) : random.between(0, MAX_AHEAD_MS),
      );
      break;
    case 'nms':
      cloud.nms.kill();
      clock.after(length / 4, () => cloud.nms.start());
      break;
    case 'trs': {
      const relay = random.pick(cloud.relays);
      relay.kill();
      clock.after(length / 4, () => relay.start());
      break;
    }
  }
}

function unplug(node: SimNode, clock: Clock, length: number): void {
  const { segment, address4, address6 } = node.host;
  if (address4 === null && address6 === null) return;
  node.move({ segment, address4: null, address6: null });
  clock.after(length, () => {
    // Else it was carried elsewhere meanwhile.
    if (node.host.address4 === null && node.host.address6 === null) node.move({ segment, address4, address6 });
  });
}
