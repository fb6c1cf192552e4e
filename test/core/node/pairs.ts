/** Two nodes that talk, in places of all kinds, and how long they do not hear each other. */

import { expect } from 'vitest';
import type { SimNode, Socket } from '../../sim/node.ts';
import { Lab } from './lab.ts';

export async function pair(sockets: (lab: Lab) => [Socket, Socket], relays = 1) {
  const lab = await Lab.open(relays);
  const [ofA, ofB] = sockets(lab);
  const net = { lab, a: await lab.node('a', ofA), b: await lab.node('b', ofB) };
  expect(lab.reaches(net.a, net.b)).toBe(true);
  lab.pass(2_000);
  return net;
}

export const publicly = (lab: Lab): [Socket, Socket] => [lab.publicly(), lab.publicly()];
export const symmetric = (lab: Lab): [Socket, Socket] => [
  lab.home('symmetric')('10.0.0.2'),
  lab.home('symmetric')('10.0.0.2'),
];

/** Packets in both directions until both arrive again; how long that took (ms). */
export function outage(lab: Lab, a: SimNode, b: SimNode, limit = 30_000): number {
  const start = lab.clock.ms;
  const pending: [SimNode, number][] = [];
  let [there, back] = [false, false];
  while (lab.clock.ms - start < limit && !(there && back)) {
    pending.push([b, lab.send(a, b)], [a, lab.send(b, a)]);
    lab.pass(50);
    for (const [node, number] of pending) {
      if (!lab.has(node, number)) continue;
      if (node === b) there = true;
      else back = true;
    }
  }
  expect([there, back]).toEqual([true, true]);
  return lab.clock.ms - start;
}
