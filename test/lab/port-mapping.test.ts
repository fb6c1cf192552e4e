/** A router that maps ports on request, Debian's miniupnpd: by each of its protocols, renewed, lost, refused, given back. */

import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { until } from './toolkit/command.ts';
import type { Host, Lab } from './toolkit/lab.ts';
import { PortMappingRouter, ROUTERS4 } from './toolkit/port-mapping-router.ts';
import type { Program } from './toolkit/program.ts';
import { describeLab, inLab } from './toolkit/suite.ts';

const ROUTER4 = `${ROUTERS4}20`;
const mapperFile = fileURLToPath(new URL('./toolkit/port-mapper.ts', import.meta.url));

function behindRouter(lab: Lab, v4: string) {
  const lan = lab.lan('lan', { subnet4: '10.1.0.0/24' });
  const namespace = lab.router('router', { outside: lab.internet(), inside: lan, nat: 'port-restricted', v4 });
  return {
    namespace,
    router: new PortMappingRouter(lab, namespace),
    hosts: [lab.host('one', lan), lab.host('two', lan)],
  };
}

function mapPort(host: Host, port = 7444): Program {
  return host.spawn([process.execPath, mapperFile, '10.1.0.1', String(port)]);
}

describeLab('a router that maps ports', () => {
  it('is asked by the best protocol that it knows, and gets its port back', () =>
    inLab('port-mapping', async (lab) => {
      const { namespace, router, hosts } = behindRouter(lab, ROUTER4);
      const [one, two] = hosts as [Host, Host];
      for (const protocol of ['pcp', 'nat-pmp', 'upnp'] as const) {
        await router.start({ portControl: protocol !== 'upnp' });
        // Older routers: version 2 is PCP.
        if (protocol === 'nat-pmp') {
          namespace.nft(`table inet old {
            chain input { type filter hook input priority -10; udp dport 5351 @th,64,8 2 drop; }
          }`);
        }
        const first = mapPort(one);
        await first.output(new RegExp(`^${ROUTER4}:7444 by ${protocol}$`, 'm'));
        expect(router.forwarded()).toEqual(['7444 10.1.0.2:7444']);
        // The same port inside, another outside.
        const second = mapPort(two);
        await second.output(new RegExp(`^${ROUTER4}:\\d+ by ${protocol}$`, 'm'));
        expect(router.forwarded()).toHaveLength(2);
        expect(second.stdout).not.toContain(`${ROUTER4}:7444`);
        await Promise.all([first.stop(), second.stop()]);
        // This version of miniupnpd takes a NAT-PMP goodbye and does nothing about it.
        if (protocol === 'nat-pmp') await until(() => /udp lifetime=0s/.test(router.said), { what: 'a goodbye' });
        else await until(() => router.forwarded().length === 0, { what: 'the ports to be given back' });
        await router.crash();
      }
    }));

  it('is asked again at half of a port’s life, and notices when the router forgot it', () =>
    inLab('port-renewal', async (lab) => {
      const { router, hosts } = behindRouter(lab, ROUTER4);
      await router.start({ longest: 10 });
      const mapper = mapPort(hosts[0]!);
      await mapper.output(/ by pcp$/m);
      const asked = (): number => router.said.split('PCP request received').length - 1;
      await until(() => asked() >= 2, { what: 'a renewal' });
      await router.crash();
      await router.start();
      // Somebody noticed, as the NMS does: no renewal is waited for.
      mapper.write('\n');
      await until(() => router.forwarded().length === 1, { what: 'the port to be mapped again' });
      expect(mapper.stdout).not.toContain('none');
      // Nor is one with a router that is gone for good.
      await router.crash();
    }));

  it('lets its firewall through to an IPv6 address, and closes it again', () =>
    inLab('port-pinhole', async (lab) => {
      const internet = lab.internet();
      const lan = lab.lan('lan', { subnet4: '10.1.0.0/24', subnet6: '2001:db8:20::/64' });
      const addresses = { v4: ROUTER4, v6: '2001:db8:2::20' };
      const namespace = lab.router('router', { outside: internet, inside: lan, nat: 'none', ...addresses });
      const router = new PortMappingRouter(lab, namespace);
      await router.start({ firewall6: true });
      const host = lab.host('host', lan);
      const outsider = lab.host('outsider', internet, { v6: '2001:db8:66::1' });
      const { v6 } = host.addresses;
      const dgram = "const socket = require('node:dgram').createSocket('udp6');";
      const node = (where: Host, script: string): Program => where.spawn([process.execPath, '-e', dgram + script]);
      const listener = node(host, "socket.bind(7444).on('message', (text) => console.log(String(text)));");
      const knock = (word: string): Program =>
        node(outsider, `setInterval(() => socket.send('${word}', 7444, '${v6}'), 50);`);

      const early = knock('early');
      await until(() => namespace.sh('nft list table inet upnp').match(/packets [1-9]/) !== null, {
        what: 'the firewall to drop something',
      });
      await early.stop();
      // As a route from a router advertisement has it.
      const [, linkLocal] = /inet6 (fe80:[^/]+)/.exec(namespace.sh('ip -6 address show dev eth1 scope link'))!;
      const mapper = host.spawn([process.execPath, mapperFile, `${linkLocal}%eth0`, '7444', v6!]);
      await until(() => router.opened().length === 1, { what: 'the firewall to be opened' });
      expect(router.opened()).toEqual([`[${v6}]:7444`]);
      const second = knock('second');
      await listener.output(/^second$/m);
      await second.stop();
      await mapper.stop();
      await until(() => router.opened().length === 0, { what: 'the firewall to be closed' });
      expect(listener.stdout).not.toContain('early');
      await Promise.all([listener.stop(), router.crash()]);
    }));

  it('refuses, and is not believed to do otherwise', () =>
    inLab('port-refused', async (lab) => {
      // Its outer address is not public, so that miniupnpd maps nothing.
      const { router, hosts } = behindRouter(lab, '198.51.100.20');
      await router.start();
      const mapper = mapPort(hosts[0]!);
      await until(() => router.said.includes('AddPortMapping') || /GetExternalIPAddress/.test(router.said), {
        what: 'UPnP to be tried last',
      });
      expect(router.said).toMatch(/PCP request received[\s\S]*NAT-PMP request received/);
      expect(router.forwarded()).toEqual([]);
      expect(mapper.stdout).toBe('');
    }));
});
