/** A network moves from its file to a database server: its devices go on, and find each other anew. */

import { expect, it } from 'vitest';
import { noPostgres, startPostgres } from '../store/postgres-server.ts';
import { succeeds } from '../support/succeeds.ts';
import { until } from './toolkit/command.ts';
import { Pinger, smallNetwork } from './toolkit/small.ts';
import { describeLab, inLab } from './toolkit/suite.ts';

describeLab('cloud migrate', () => {
  it.skipIf(noPostgres)('is not noticed by devices', () =>
    inLab('migrate', async (lab) => {
      const postgres = await startPostgres();
      try {
        const { network, nodes, internet } = await smallNetwork(lab, ['a', 'b', 'c']);
        const { a, b, c } = nodes;
        await a.systemPing(b.fqdn);
        const before = await a.status();
        const pings = new Pinger(a.host, b.fqdn);

        network.service.signal('SIGTERM');
        expect(await network.service.ended()).toMatchObject({ code: 0 });
        const migrate = [network.program, 'cloud', 'migrate', '--dir', network.directory];
        await network.cloud.run(migrate, { env: { CYPHONIC_TO: await postgres.freshUrl() } });
        await network.restart();

        // A pair that never talked: the NMS knows nobody until each has spoken to it.
        const both = () => Promise.all([a.systemPing(c.fqdn), c.systemPing(a.fqdn)]);
        await until(() => succeeds(both()), { what: 'two that never talked to do so', timeoutMs: 60_000 });
        const { nodeId, fqdn, vip4, vip6 } = before;
        expect(await a.status()).toMatchObject({ nodeId, fqdn, vip4, vip6, state: 'online' });
        const { sent, received } = await pings.stop();
        expect(sent - received).toBeLessThanOrEqual(2);
        const d = await network.addNode(lab.host('d', internet, { v4: '192.0.2.19' }));
        await until(() => succeeds(d.systemPing(b.fqdn)), {
          what: 'a new device to reach an old one',
          timeoutMs: 60_000,
        });
      } finally {
        await postgres.stop();
      }
    }),
  );
});
