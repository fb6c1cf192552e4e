/** Sites whose gateway lets no UDP out: everything goes over TLS at the TRS, until UDP is let out again. */

import { expect, it } from 'vitest';
import { until } from './toolkit/command.ts';
import type { Host, Lab } from './toolkit/lab.ts';
import type { Namespace } from './toolkit/namespace.ts';
import { noUdpRules } from './toolkit/nat.ts';
import { Network, type Node } from './toolkit/network.ts';
import type { Internet } from './toolkit/segments.ts';
import { Pinger } from './toolkit/small.ts';
import { describeLab, inLab } from './toolkit/suite.ts';
import { stream } from './toolkit/traffic.ts';

type Site = { readonly router: Namespace; readonly host: Host };

/** A site behind a NAT; its router drops all UDP that it would forward, in both directions. */
function blockedSite(lab: Lab, internet: Internet, n: number): Site {
  const inside = lab.lan(`site${n}`, { subnet4: `10.${n}.0.0/24` });
  const v4 = `192.0.2.${20 + n}`;
  const router = lab.router(`router${n}`, { outside: internet, inside, nat: 'port-restricted', v4 });
  router.nft(noUdpRules);
  return { router, host: lab.host(`host${n}`, inside) };
}

async function expectWholeTransfers(one: Node, other: Node): Promise<void> {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    const { vip4 } = await to.status();
    const { sent, received } = await stream(from.host, to.host, vip4!, { mebibytes: 4 });
    expect(received).toBe(sent);
  }
}

describeLab('a site that blocks UDP', () => {
  it('reaches others over TLS, and over UDP as soon as that is let out', () =>
    inLab('udp-blocked', async (lab) => {
      const internet = lab.internet();
      const cloud = lab.host('cloud', internet, { v4: '198.51.100.10' });
      const network = await Network.start(lab, cloud);
      const sites = [blockedSite(lab, internet, 1), blockedSite(lab, internet, 2)] as const;
      const free = lab.host('free', internet, { v4: '192.0.2.11' });
      const [a, b, c] = await Promise.all([
        network.addNode(sites[0].host, 'a'),
        network.addNode(sites[1].host, 'b'),
        network.addNode(free, 'c'),
      ]);
      // To a peer that has UDP, from it, and between two that have none.
      for (const [from, to] of [
        [a, c],
        [c, b],
        [a, b],
      ] as const) {
        await from.systemPing(to.fqdn);
        expect(await from.peer(to)).toMatchObject({ state: 'up', path: 'relay' });
      }
      expect(await a.peer(c)).toMatchObject({ endpoint: '198.51.100.10:443', transport: 'tls' });
      expect(await c.peer(a)).toMatchObject({ endpoint: '198.51.100.10:7442', transport: 'udp' });
      await expectWholeTransfers(a, c);
      await expectWholeTransfers(a, b);
      const status = await a.status();
      // The TRS's address is none of ours.
      expect(status).toMatchObject({ state: 'online', mapped: [] });
      expect(status.services).toContainEqual(
        expect.objectContaining({ role: 'nms', address: '198.51.100.10:443', transport: 'tls', state: 'up' }),
      );
      const { stdout } = await a.command(['netcheck']);
      expect(stdout).toMatch(/^UDP no.*over TLS/m);

      const pinger = new Pinger(a.host, c.fqdn);
      sites[0].router.nft('delete table inet no_udp');
      const direct = await until(
        async () => {
          const peer = await a.peer(c);
          return peer?.path === 'direct' ? peer : undefined;
        },
        { what: 'a to leave TLS', timeoutMs: 30_000 },
      );
      expect(direct.transport).toBe('udp');
      const { sent, received } = await pinger.stop();
      expect(sent - received).toBeLessThan(10);
      const nms = (await a.status()).services.filter(({ role }) => role === 'nms');
      expect(nms.map(({ transport }) => transport)).toEqual(['udp']);
    }));
});
