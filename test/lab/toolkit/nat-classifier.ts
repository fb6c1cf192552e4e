/** Tells by RFC 4787's terms (sections 4.1 and 5) how the way from a host to the Internet translates and filters UDP. */

import type { Host } from './lab.ts';
import type { NatBehaviour } from './nat.ts';
import { type Arrival, UdpAgent } from './udp.ts';

/** `near` and `far` are two public hosts; the inside host's ports from `port` on are used. */
export async function classify(inside: Host, near: Host, far: Host, port = 7444): Promise<NatBehaviour> {
  const [nearOne, nearTwo, farOne] = await Promise.all([
    UdpAgent.start(near, 1001),
    UdpAgent.start(near, 1002),
    UdpAgent.start(far, 1003),
  ]);

  const mapper = await UdpAgent.start(inside, port);
  const first = await mapper.reach(nearOne, 'mapped 1');
  const otherPort = await mapper.reach(nearTwo, 'mapped 2');
  const otherAddress = await mapper.reach(farOne, 'mapped 3');
  const same = (seen: Arrival) => seen.port === first.port && seen.from === first.from;
  const mapping = same(otherAddress)
    ? 'endpoint-independent'
    : same(otherPort)
      ? 'address-dependent'
      : 'address-and-port-dependent';

  const filter = await UdpAgent.start(inside, port + 1);
  const { from, port: outer } = await filter.reach(nearOne, 'opened');
  const mapped = { address: from, port: outer };
  // What is let in arrives before an answer sent after it, which is let in by every NAT.
  for (let attempt = 0; attempt < 3; attempt++) {
    farOne.send(mapped, 'from another address');
    nearTwo.send(mapped, 'from another port');
    await nearOne.reach(filter, `answer ${attempt}`, mapped);
  }
  const filtering = filter.got('from another address')
    ? 'endpoint-independent'
    : filter.got('from another port')
      ? 'address-dependent'
      : 'address-and-port-dependent';
  return { mapping, filtering };
}
