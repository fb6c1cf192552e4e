/** Sites whose gateway lets no UDP out: everything goes over TLS at the TRS, until UDP is let out again. */

import { expect, it } from 'vitest';
import { Adapter } from './toolkit/adapter.ts';
import { until } from './toolkit/command.ts';
import type { Host, Lab } from './toolkit/lab.ts';
import type { Namespace } from './toolkit/namespace.ts';
import { noUdpRules, portsOnlyRules } from './toolkit/nat.ts';
import { Network, type Node } from './toolkit/network.ts';
import { HttpProxy } from './toolkit/proxy.ts';
import type { Internet, Lan } from './toolkit/segments.ts';
import { Pinger } from './toolkit/small.ts';
import { describeLab, inLab } from './toolkit/suite.ts';
import { stream } from './toolkit/traffic.ts';

const CLOUD = '198.51.100.10';

type Site = { readonly router: Namespace; readonly host: Host };

/** A site behind a NAT, whose router drops some of what it would forward. */
function blockedSite(lab: Lab, internet: Internet, n: number, rules = noUdpRules): Site & { readonly inside: Lan } {
  const inside = lab.lan(`site${n}`, { subnet4: `10.${n}.0.0/24` });
  const v4 = `192.0.2.${20 + n}`;
  const router = lab.router(`router${n}`, { outside: internet, inside, nat: 'port-restricted', v4 });
  router.nft(rules);
  return { router, inside, host: lab.host(`host${n}`, inside) };
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
      const cloud = lab.host('cloud', internet, { v4: CLOUD });
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
        { what: 'a to leave TLS', timeoutMs: 60_000 },
      );
      expect(direct.transport).toBe('udp');
      const { sent, received } = await pinger.stop();
      expect(sent - received).toBeLessThan(10);
      const nms = async () => (await a.status()).services.filter(({ role }) => role === 'nms');
      await until(async () => (await nms()).every(({ transport }) => transport === 'udp'), { what: 'the NMS by UDP' });
      expect(await nms()).toHaveLength(1);
    }));

  it('lets a device work with 443/tcp alone, or an HTTP proxy alone, from its enrolment on', () =>
    inLab('only-443', async (lab) => {
      const internet = lab.internet();
      const network = await Network.start(lab, lab.host('cloud', internet, { v4: CLOUD }));
      const port443 = blockedSite(lab, internet, 1, portsOnlyRules(443));
      const proxied = blockedSite(lab, internet, 2, portsOnlyRules());
      const free = await network.addNode(lab.host('free', internet, { v4: '192.0.2.11' }), 'c');

      // Its own login, the controller's list, and the login of a device that takes no software.
      const gateway = new Adapter(lab, network, 'gw', port443.inside, await network.addDevice('gw'));
      const camera = gateway.device('cam');
      await gateway.register(camera);
      const works = gateway.up().then(async () => {
        await camera.dhcp();
        await camera.is('active');
        await camera.host.run(['ping', '-c', '1', '-W', '10', free.fqdn]);
      });

      const proxy = new HttpProxy(lab, proxied.router, '10.2.0.1');
      await proxy.serve('user', 'another');
      const node = network.node(proxied.host, 'b', await network.addDevice('b'));
      node.environment = { HTTPS_PROXY: proxy.url('user', 'geheim') };
      node.start();
      // Refused in one line that says what to do, and tried again.
      const refused = await until(() => /"the HTTP proxy .*?"/.exec(node.daemon.stderr)?.[0], { what: 'a refusal' });
      expect(refused).toMatch(/10\.2\.0\.1:8888 wants another name and password \(401\); put them into HTTPS_PROXY/);
      await proxy.serve('user', 'geheim');
      await node.daemon.output(/^ready/m);
      await Promise.all([works, node.systemPing(free.fqdn)]);
      expect(await node.peer(free)).toMatchObject({ path: 'relay', endpoint: `${CLOUD}:443`, transport: 'tls' });
      // What the proxy does not let to other ports, it lets to this one.
      expect(proxy.asked).toEqual(new Set([`${CLOUD}:7440`, `${CLOUD}:443`]));
      expect(node.daemon.stderr + node.daemon.stdout).not.toMatch(/geheim|dXNlcjpnZWhlaW0/);
    }));
});
