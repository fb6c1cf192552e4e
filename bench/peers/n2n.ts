import { bothEnds, INNER, outer, type Peer } from './peer.ts';

export const n2n: Peer = {
  name: 'n2n',
  tools: ['edge', 'supernode'],
  async start(site) {
    site.hosts[0].spawn(['supernode', '-l', '7777', '-f']);
    bothEnds(site, (host, own) =>
      host.spawn([
        ...['edge', '-d', 'e0', '-a', INNER[own], '-c', 'bench', '-k', 'key123'],
        ...['-l', `${outer(site, 0)}:7777`, '-f'],
      ]),
    );
    return { address: INNER[1] };
  },
};
