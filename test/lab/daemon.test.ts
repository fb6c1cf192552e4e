/** Daemons as their operators meet them: nothing left behind, and a cloud that comes and goes. */

import { expect, it } from 'vitest';
import { succeeds } from '../support/succeeds.ts';
import { until } from './toolkit/command.ts';
import type { Host } from './toolkit/lab.ts';
import { Network } from './toolkit/network.ts';
import { smallNetwork } from './toolkit/small.ts';
import { describeLab, inLab } from './toolkit/suite.ts';

/** What a node changes on its host. */
function traces(host: Host): string {
  return host.sh(`
    ip -o link | grep -o 'cyp[0-9]*' || true
    ip route show table all | grep 100.80 || true
    nft list tables
    cat /etc/resolv.conf`);
}

describeLab('daemons', () => {
  it('leave nothing behind, neither after SIGTERM nor after kill -9 and down', () =>
    inLab('traces', async (lab) => {
      const internet = lab.internet();
      const network = await Network.start(lab, lab.host('cloud', internet, { v4: '198.51.100.10' }));
      const host = lab.host('a', internet, { v4: '192.0.2.11' });
      host.resolver('nameserver 198.51.100.53\n');
      const token = await network.addDevice('a');
      const state = `${lab.directory}/a`;
      const before = traces(host);
      const up = async () => {
        const daemon = host.spawn([network.program, 'node', 'up', '--state', state, '--token', token]);
        await daemon.output(/^ready/m);
        expect(traces(host)).not.toBe(before);
        return daemon;
      };
      const first = await up();
      expect(await first.stop()).toEqual({ code: 0, signal: null });
      expect(traces(host)).toBe(before);
      const second = await up();
      second.signal('SIGKILL');
      await second.exited;
      expect(await network.command(host, ['down', '--state', state])).toMatchObject({ code: 0 });
      expect(traces(host)).toBe(before);
      const third = await up();
      expect(await network.command(host, ['down', '--state', state])).toMatchObject({ code: 0 });
      expect((await third.ended()).code).toBe(0);
      expect(traces(host)).toBe(before);
    }));

  it('wait for a cloud that is not there yet, and survive one that is killed', () =>
    inLab('cloud-restart', async (lab) => {
      const { network, nodes } = await smallNetwork(lab, ['a', 'b']);
      const { a, b } = nodes;
      await a.systemPing(b.fqdn);
      network.service.signal('SIGKILL');
      await network.service.exited;
      await a.systemPing(String((await b.status()).vip4), ['-c', '20', '-i', '0.1']);
      b.daemon.signal('SIGKILL');
      await b.daemon.exited;
      b.start();
      await until(async () => JSON.parse((await b.command(['status', '--json'])).stdout || '{}').state, {
        what: 'b to run without a cloud',
      });
      await network.restart();
      await b.daemon.output(/^ready/m);
      await until(() => succeeds(a.systemPing(b.fqdn)), { what: 'a to reach b again' });
    }));
});
