import { bothEnds, file, INNER, outer, type Peer, tool } from './peer.ts';

export const nebula: Peer = {
  name: 'nebula',
  tools: ['nebula', 'nebula-cert'],
  async start(site) {
    const ca = ['-ca-crt', `${site.directory}/ca.crt`, '-ca-key', `${site.directory}/ca.key`];
    tool(['nebula-cert', 'ca', '-name', 'bench', '-out-crt', ca[1]!, '-out-key', ca[3]!]);
    bothEnds(site, (host, own, other) => {
      const certificate = `${site.directory}/${own}`;
      tool([
        ...['nebula-cert', 'sign', ...ca, '-name', `n${own}`, '-ip', `${INNER[own]}/24`],
        ...['-out-crt', `${certificate}.crt`, '-out-key', `${certificate}.key`],
      ]);
      const configuration = `
pki: {ca: ${ca[1]}, cert: ${certificate}.crt, key: ${certificate}.key}
static_host_map: {"${INNER[other]}": ["${outer(site, other)}:4242"]}
lighthouse: {am_lighthouse: false, hosts: []}
listen: {host: 0.0.0.0, port: 4242}
tun: {dev: neb, mtu: 1300}
cipher: aes
firewall: {outbound: [{port: any, proto: any, host: any}], inbound: [{port: any, proto: any, host: any}]}
`;
      return host.spawn(['nebula', '-config', file(site, `${own}.yml`, configuration)]);
    });
    return { address: INNER[1] };
  },
};
