/** Two nodes of this program with a cloud of their own; directly, or only by way of the relay. */

import type { Lab } from '../../test/lab/toolkit/lab.ts';
import { Network, type Node } from '../../test/lab/toolkit/network.ts';
import type { Internet } from '../../test/lab/toolkit/segments.ts';
import { outer, type Peer, type Site } from './peer.ts';

export type CyphonicOptions = { readonly name: string; readonly relayed?: boolean; readonly flags?: readonly string[] };

export function cyphonic(internet: Internet, clouds: () => string, options: CyphonicOptions): Peer {
  const { name, relayed = false, flags = [] } = options;
  return {
    name,
    tools: [],
    async start(site) {
      if (relayed) separate(internet, site);
      const network = await Network.start(own(site.lab, site.directory), cloudHost(site, internet, clouds()));
      const nodes: Node[] = [];
      for (const host of site.hosts) nodes.push(await network.addNode(host, host.title, flags));
      const [here, there] = nodes as [Node, Node];
      await here.systemPing(there.fqdn);
      await here.reaches(there, relayed ? 'relay' : 'direct');
      const { vip4 } = await there.status();
      const daemons = [here.daemon.pid, there.daemon.pid, ...(relayed ? [network.service.pid] : [])];
      return { address: String(vip4), daemons };
    },
  };
}

function cloudHost(site: Site, internet: Internet, v4: string) {
  return site.lab.host(`${site.hosts[0].title}-cloud`, internet, { v4 });
}

/** The laboratory with another directory, so that several networks fit in. */
function own(lab: Lab, directory: string): Lab {
  return Object.create(lab, { directory: { value: directory } }) as Lab;
}

/** No datagram goes straight from one host to the other. */
function separate(internet: Internet, site: Site): void {
  const [a, b] = [outer(site, 0), outer(site, 1)];
  internet.namespace.nft(`
    table ip apart_${site.hosts[0].title} {
      chain forward {
        type filter hook forward priority filter
        ip saddr ${a} ip daddr ${b} drop
        ip saddr ${b} ip daddr ${a} drop
      }
    }`);
}
