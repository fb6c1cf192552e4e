import { mkdirSync, writeFileSync } from 'node:fs';
import { bothEnds, INNER, INNER_MTU, outer, type Peer, tool } from './peer.ts';

const names = ['here', 'there'] as const;

export const tinc: Peer = {
  name: 'tinc',
  tools: ['tincd'],
  async start(site) {
    const directories = bothEnds(site, (_host, own, other) => {
      const directory = `${site.directory}/${names[own]}`;
      mkdirSync(`${directory}/hosts`, { recursive: true });
      const main = `Name=${names[own]}\nDeviceType=tun\nInterface=tnc\nConnectTo=${names[other]}\nAddressFamily=ipv4\n`;
      writeFileSync(`${directory}/tinc.conf`, main);
      const host = `Address=${outer(site, own)}\nSubnet=${INNER[own]}/32\nCipher=aes-256-cbc\nDigest=sha256\n`;
      writeFileSync(`${directory}/hosts/${names[own]}`, host);
      const up = `#!/bin/sh\nip address add ${INNER[own]}/24 dev tnc; ip link set tnc up mtu ${INNER_MTU}\n`;
      writeFileSync(`${directory}/tinc-up`, up, { mode: 0o755 });
      tool(['tincd', '-c', directory, '-K2048']);
      return directory;
    });
    tool(['cp', `${directories[0]}/hosts/here`, `${directories[1]}/hosts/`]);
    tool(['cp', `${directories[1]}/hosts/there`, `${directories[0]}/hosts/`]);
    bothEnds(site, (host, own) =>
      host.spawn(['tincd', '-c', directories[own], '-D', `--pidfile=${directories[own]}/pid`]),
    );
    return { address: INNER[1] };
  },
};
