/** An adapter whose inner interface is a bridge, as on a box with several ports. */

import { expect, it } from 'vitest';
import { captures } from '../../src/sys/frame-port.ts';
import { modulePath } from '../support/remote.ts';
import { Adapter } from './toolkit/adapter.ts';
import { secretFile, smallNetwork } from './toolkit/small.ts';
import { describeLab, inLab } from './toolkit/suite.ts';
import { stream } from './toolkit/traffic.ts';
import { WpaSupplicant } from './toolkit/wpa-supplicant.ts';

const cyphonic = modulePath('bin/cyphonic');
const merging = (on: boolean): RegExp => new RegExp(`^generic-receive-offload: ${on ? 'on' : 'off'}`, 'm');

describeLab('an adapter with a bridge', () => {
  it('hears EAPOL, which bridges keep to their ports, and serves its devices, by packet sockets and by libpcap', () =>
    inLab('bridge', async (lab) => {
      const { internet, network, nodes } = await smallNetwork(lab, ['peer']);
      const wish = { v4: '192.0.2.80' };
      const adapter = new Adapter(lab, network, 'box', internet, await network.addDevice('box'), wish);
      adapter.host.sh('ip link add br0 type bridge; ip link set eth1 master br0; ip link set br0 up');
      adapter.inner = 'br0';
      adapter.host.sh('ethtool -K eth1 gro on');
      const camera = adapter.device('camera');
      const password = 'correct horse';
      const file = secretFile(lab, 'password', `${password}\n`);
      await adapter.register(camera, ['--auth', 'password', '--password-file', file]);
      for (const capture of captures) {
        await adapter.up(['--capture', capture]);
        expect(await adapter.status()).toMatchObject({ inner: 'br0', gateway4: '100.80.0.1' });
        expect(adapter.host.sh('ethtool -k eth1')).toMatch(merging(capture === 'packet'));
        const ca = await adapter.command(['adapter', 'ca', '--json']);
        const { name: server, certificate: root } = JSON.parse(ca.stdout) as { name: string; certificate: string };
        const supplicant = new WpaSupplicant(camera.host, lab.directory, {
          identity: 'camera',
          root,
          server,
          password,
        });
        await supplicant.saw('SUCCESS');
        await camera.dhcp();
        await camera.host.run(['ping', '-4', '-c', '2', '-W', '10', nodes.peer.fqdn]);
        await nodes.peer.systemPing(camera.fqdn, ['-4']);
        const { vip4 } = await camera.is('active');
        const far = (await nodes.peer.status()).vip4;
        for (const [from, to, address] of [
          [camera.host, nodes.peer.host, far],
          [nodes.peer.host, camera.host, vip4],
        ] as const) {
          const { sent, received } = await stream(from, to, String(address), { mebibytes: 5 });
          expect(received).toBe(sent);
        }
        await supplicant.program.stop();
        await adapter.daemon.stop();
        expect(adapter.host.sh('ethtool -k eth1')).toMatch(merging(true));
      }
    }));

  it('says in one line that there is no libpcap', () =>
    inLab('no libpcap', async (lab) => {
      const host = lab.namespace('host');
      const hide = 'for f in /usr/lib/*/libpcap.so.*; do mount --bind /dev/null $f; done';
      const flags = ['--inner', 'eth1', '--outer', 'eth0', '--state', lab.directory, '--capture', 'pcap'];
      const program = host.spawn(['sh', '-eu', '-c', `${hide}; exec "$@"`, 'sh', cyphonic, 'adapter', 'up', ...flags]);
      expect(await program.ended()).toMatchObject({ code: 1 });
      expect(program.stdout).toBe('');
      expect(program.stderr).toMatch(/^cyphonic: libpcap cannot be loaded \(.*\); install it .*\n$/);
    }));
});
