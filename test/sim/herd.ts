/**
 * Whether the nodes of a network come back to an NMS that was gone without trampling it:
 * `npm run sim:herd -- [nodes] [seed]` prints how much it hears in every 5 s, as a multiple of what it hears usually.
 */

import { World } from '../support/primitives.ts';
import { Clock } from './clock.ts';
import { Cloud, type CloudParts } from './cloud.ts';
import { Network } from './network.ts';
import { SimNode } from './node.ts';
import { Random } from './random.ts';

export type Herd = {
  /** Datagrams that the NMS hears in one window while all is well. */
  readonly steady: number;
  /** The windows after its return, as multiples of that. */
  readonly windows: readonly number[];
  /** Nodes that are not online after them. */
  readonly lost: number;
};

export const HERD = 1_000;
export const LIMIT = 3;
const WINDOW_MS = 5_000;
const STEADY_WINDOWS = 20;
const WINDOWS = 12;
/** They come at first within this time (ms). */
const ARRIVAL_MS = 30_000;

export async function herd(nodes: number, goneMs: number, seed = 1): Promise<Herd> {
  const clock = new Clock();
  const random = new Random(seed);
  const weather = { loss: 0.01, duplication: 0, reordering: 0, heldBack: 0 };
  const network = new Network(clock, weather, new Random(seed, 1));
  const parts: CloudParts = { clock, network, random, world: new World(seed), note: () => {} };
  const cloud = await Cloud.open(parts, 1);
  const all: SimNode[] = [];
  for (let i = 0; i < nodes; i++) {
    const place = { segment: network.internet, address4: `198.51.${i >> 8}.${i & 255}`, address6: null };
    all.push(new SimNode(parts, cloud, await cloud.add(`n${i}`), place, () => {}));
  }
  for (const node of all) clock.after(random.between(0, ARRIVAL_MS), () => node.start());
  const { host } = cloud.nms;
  let sent = 0;
  const send = network.send.bind(network);
  network.send = (from, to, datagram) => {
    if (to.address === host.address4 && to.port === host.port) sent += 1;
    send(from, to, datagram);
  };
  const sentIn = (ms: number): number => {
    sent = 0;
    clock.run(clock.ms + ms);
    return sent;
  };
  clock.run(2 * ARRIVAL_MS);
  const steady = sentIn(STEADY_WINDOWS * WINDOW_MS) / STEADY_WINDOWS;
  cloud.nms.kill();
  clock.run(clock.ms + goneMs);
  cloud.nms.start();
  const windows = Array.from({ length: WINDOWS }, () => sentIn(WINDOW_MS) / steady);
  return { steady, windows, lost: all.filter(({ snapshot }) => snapshot?.state !== 'online').length };
}

if (import.meta.main) {
  const [nodes = HERD, seed = 1] = process.argv.slice(2).map(Number);
  for (const goneMs of [100, 5_000, 12_000, 15_000, 18_000, 60_000, 600_000]) {
    const { steady, windows, lost } = await herd(nodes, goneMs, seed);
    const [peak, rates] = [Math.max(...windows), windows.map((window) => window.toFixed(1)).join(' ')];
    process.stdout.write(
      `${nodes} nodes, gone for ${goneMs / 1000} s: ${steady.toFixed(0)} datagrams in 5 s, then × ${rates}; ${lost} lost\n`,
    );
    if (peak > LIMIT || lost > 0) process.exitCode = 1;
  }
}
