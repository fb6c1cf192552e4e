import { until } from '../../test/lab/toolkit/command.ts';
import { bothEnds, file, INNER, outer, type Peer, tool } from './peer.ts';

export const wireguardGo: Peer = {
  name: 'wireguard-go',
  tools: ['wireguard-go', 'wg'],
  async start(site) {
    const keys = bothEnds(site, () => tool(['wg', 'genkey']));
    const publicKeys = keys.map((key) => tool(['wg', 'pubkey'], key));
    const env = { WG_PROCESS_FOREGROUND: '1', LOG_LEVEL: 'error' };
    bothEnds(site, (host) => host.spawn(['wireguard-go', '-f', `wg${host.title}`], { env }));
    for (const [own, host] of site.hosts.entries()) {
      const device = `wg${host.title}`;
      const other = own === 0 ? 1 : 0;
      const key = file(site, `key${own}`, keys[own] ?? '');
      await until(() => tool(['sh', '-c', `test -S /var/run/wireguard/${device}.sock && echo y || true`]) === 'y', {
        what: `the control socket of ${device}`,
      });
      host.sh(`
        wg set ${device} private-key ${key} listen-port 51820 peer ${publicKeys[other]} allowed-ips ${INNER[other]}/32 \
          endpoint ${outer(site, other)}:51820
        ip address add ${INNER[own]}/24 dev ${device}
        ip link set ${device} up mtu 1420`);
    }
    return { address: INNER[1] };
  },
};
