/** An adapter whose inner interface is a bridge, as on a box with several ports. */

import { expect, it } from 'vitest';
import { Adapter } from './toolkit/adapter.ts';
import { secretFile, smallNetwork } from './toolkit/small.ts';
import { describeLab, inLab } from './toolkit/suite.ts';
import { WpaSupplicant } from './toolkit/wpa-supplicant.ts';

describeLab('an adapter with a bridge', () => {
  it('hears EAPOL, which bridges keep to their ports, and serves its devices', () =>
    inLab('bridge', async (lab) => {
      const { internet, network, nodes } = await smallNetwork(lab, ['peer']);
      const wish = { v4: '192.0.2.80' };
      const adapter = new Adapter(lab, network, 'box', internet, await network.addDevice('box'), wish);
      adapter.host.sh('ip link add br0 type bridge; ip link set eth1 master br0; ip link set br0 up');
      adapter.inner = 'br0';
      await adapter.up();
      expect(await adapter.status()).toMatchObject({ inner: 'br0', gateway4: '100.80.0.1' });
      const camera = adapter.device('camera');
      const password = 'correct horse';
      const file = secretFile(lab, 'password', `${password}\n`);
      await adapter.register(camera, ['--auth', 'password', '--password-file', file]);
      const ca = await adapter.command(['adapter', 'ca', '--json']);
      const { name: server, certificate: root } = JSON.parse(ca.stdout) as { name: string; certificate: string };
      const supplication = { identity: 'camera', root, server, password };
      await new WpaSupplicant(camera.host, lab.directory, supplication).saw('SUCCESS');
      await camera.dhcp();
      await camera.host.run(['ping', '-4', '-c', '2', '-W', '4', nodes.peer.fqdn]);
      await nodes.peer.systemPing(camera.fqdn, ['-4']);
    }));
});
