import { bothEnds, file, INNER, INNER_MTU, outer, type Peer, tool } from './peer.ts';

export const fastd: Peer = {
  name: 'fastd',
  tools: ['fastd'],
  async start(site) {
    const keys = bothEnds(site, () => {
      const output = tool(['sh', '-c', 'fastd --generate-key 2>/dev/null']);
      const part = (name: string): string => new RegExp(`${name}: (\\w+)`).exec(output)?.[1] ?? '';
      return { secret: part('Secret'), open: part('Public') };
    });
    bothEnds(site, (host, own, other) => {
      const configuration = `
mode tun; interface "fd0"; mtu ${INNER_MTU}; method "salsa2012+umac"; bind ${outer(site, own)}:10000;
secret "${keys[own].secret}"; log level warn;
on up "ip address add ${INNER[own]}/24 dev fd0; ip link set fd0 up";
peer "p" { key "${keys[other].open}"; remote ${outer(site, other)}:10000; }
`;
      return host.spawn(['fastd', '-c', file(site, `${own}.conf`, configuration)]);
    });
    return { address: INNER[1] };
  },
};
