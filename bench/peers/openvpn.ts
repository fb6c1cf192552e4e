import { bothEnds, INNER, outer, type Peer, tool } from './peer.ts';

export const openvpn: Peer = {
  name: 'openvpn',
  tools: ['openvpn'],
  async start(site) {
    const secret = `${site.directory}/secret`;
    tool(['openvpn', '--genkey', 'secret', secret]);
    bothEnds(site, (host, own, other) =>
      host.spawn([
        ...['openvpn', '--dev', 'tun', '--proto', 'udp', '--local', outer(site, own), '--remote', outer(site, other)],
        ...['--ifconfig', INNER[own], INNER[other], '--secret', secret, '--cipher', 'AES-256-CBC', '--auth', 'SHA256'],
        ...['--sndbuf', '1000000', '--rcvbuf', '1000000'],
      ]),
    );
    return { address: INNER[1] };
  },
};
