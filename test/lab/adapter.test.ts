/** The adapter: devices that know nothing of the overlay are members of it. */

import { expect, it } from 'vitest';
import { Adapter } from './toolkit/adapter.ts';
import { smallNetwork } from './toolkit/small.ts';
import { describeLab, inLab } from './toolkit/suite.ts';

describeLab('an adapter', () => {
  it('brings a device into the overlay that has nothing but DHCP', () =>
    inLab('adapter', async (lab) => {
      const { internet, network, nodes } = await smallNetwork(lab, ['peer']);
      const adapter = await Adapter.add(lab, network, 'adapter', internet, { v4: '192.0.2.80' });
      const camera = adapter.device('camera');
      await adapter.register(camera);
      await camera.dhcp();
      const { vip4 } = await camera.is('active');
      expect(camera.host.sh('ip -o -4 address show eth0')).toContain(`${vip4}/16`);
      await camera.host.run(['ping', '-c', '3', '-W', '4', nodes.peer.fqdn]);
      await nodes.peer.systemPing(camera.fqdn, ['-4', '-c', '3']);
    }));
});
