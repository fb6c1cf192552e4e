/** Tells by RFC 4787's terms (sections 4.1 and 5) how the way from a host to the Internet translates and filters UDP. */

import type { Host } from './lab.ts';
import type { NatBehaviour } from './nat.ts';
import { type Arrival, UdpAgent } from './udp.ts';

/** `near` and `far` are two public hosts; the inside host's ports from `port` on are used. */
export async function classify(inside: Host, near: Host, far: Host, port = 7444): Promise<NatBehaviour> {
  const [nearOne, nearTwo, nearThree, farOne, farTwo] = await Promise.all([
    UdpAgent.start(near, 1001),
    UdpAgent.start(near, 1002),
    UdpAgent.start(near, 1005),
    UdpAgent.start(far, 1003),
    UdpAgent.start(far, 1004),
  ]);

  const mapper = await UdpAgent.start(inside, port);
  const first = await mapper.reach(nearOne, 'mapped 1');
  // Two of each: a NAT that draws lots draws one of them again now and then.
  const otherPorts = [await mapper.reach(nearTwo, 'mapped 2'), await mapper.reach(nearThree, 'mapped 3')];
  const otherAddresses = [await mapper.reach(farOne, 'mapped 4'), await mapper.reach(farTwo, 'mapped 5')];
  const same = (seen: Arrival) => seen.port === first.port && seen.from === first.from;
  const mapping = otherAddresses.every(same)
    ? 'endpoint-independent'
    : otherPorts.every(same)
      ? 'address-dependent'
      : 'address-and-port-dependent';

  const filter = await UdpAgent.start(inside, port + 1);
  const { from, port: outer } = await filter.reach(nearOne, 'opened');
  const mapped = { address: from, port: outer };
  // What is let in arrives before an answer sent after it, which is let in by every NAT.
  for (let attempt = 0; attempt < 3; attempt++) {
    farOne.send(mapped, 'from another address');
    nearTwo.send(mapped, 'from another port');
    await Promise.all([farOne.sent(), nearTwo.sent()]);
    await nearOne.reach(filter, `answer ${attempt}`, mapped);
  }
  const filtering = filter.got('from another address')
    ? 'endpoint-independent'
    : filter.got('from another port')
      ? 'address-dependent'
      : 'address-and-port-dependent';
  return { mapping, filtering };
}
