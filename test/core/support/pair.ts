/** Two nodes and a relay, where tests of directions put them. */

import type { Endpoint } from '../../../src/lib/ip.ts';
import { Flag } from '../../../src/proto/messages.ts';
import type { Cloud } from './cloud.ts';
import type { FakeNode } from './node.ts';

export const P1 = '1'.repeat(32);
export const P2 = '2'.repeat(32);
export const publicA: Endpoint = { address: '192.0.2.7', port: 7444 };
export const publicB: Endpoint = { address: '192.0.2.8', port: 7445 };
export const insideA: Endpoint = { address: '10.0.0.2', port: 7444 };
export const insideB: Endpoint = { address: '10.1.0.2', port: 7445 };
export const natA: Endpoint = { address: '203.0.113.5', port: 61_000 };
export const natB: Endpoint = { address: '203.0.113.6', port: 62_000 };
export const trsAt: Endpoint = { address: '198.51.100.20', port: 7442 };

/** Nodes a and b, registered. */
export function pair(
  cloud: Cloud,
  realA = publicA,
  mappedA = realA,
  realB = publicB,
  mappedB = realB,
): [FakeNode, FakeNode] {
  const a = cloud.addNode(cloud.addDevice('a'), realA, mappedA);
  const b = cloud.addNode(cloud.addDevice('b'), realB, mappedB);
  a.register();
  b.register();
  return [a, b];
}

/** What a refused Direction Request is answered with. */
export const refused = (reason: number) => ({
  type: 'routeDirection',
  flags: Flag.response | Flag.failure,
  options: { refusal: { reason } },
});
