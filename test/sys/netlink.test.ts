import { expect, it } from 'vitest';
import type { Link, LinkAddress, NetworkEvent, Route } from '../../src/sys/netlink.ts';
import { until } from '../lab/toolkit/command.ts';
import type { Namespace } from '../lab/toolkit/namespace.ts';
import { describeLab, inLab } from '../lab/toolkit/suite.ts';
import { modulePath, Remote } from '../support/remote.ts';

const agent = modulePath('test/sys/netlink-agent.ts');

type IpAddress = { readonly local: string; readonly prefixlen: number; readonly tentative?: boolean };
type IpLink = {
  readonly mtu: number;
  readonly txqlen: number;
  readonly flags: readonly string[];
  readonly addr_info: readonly IpAddress[];
};
type IpRoute = { readonly dst: string; readonly dev: string; readonly prefsrc?: string };

function shown(host: Namespace, name: string): IpLink {
  return (JSON.parse(host.sh(`ip -j -d addr show dev ${name}`)) as IpLink[])[0]!;
}

function routesOf(host: Namespace): IpRoute[] {
  return ['-4', '-6'].flatMap((family) => JSON.parse(host.sh(`ip -j ${family} route show table main`)) as IpRoute[]);
}

/** A host with a TUN device that nobody serves, and netlink in it. */
function prepare(host: Namespace): Remote {
  host.sh('ip tuntap add dev tun0 mode tun');
  return new Remote(host, agent);
}

describeLab('netlink', () => {
  it('sets link, addresses and routes as `ip` shows them', () =>
    inLab('netlink', async (lab) => {
      const host = lab.namespace('host');
      const netlink = prepare(host);
      const index = await netlink.call<number>('index', 'tun0');
      await netlink.call('setLink', index, { mtu: 1400, txQueueLength: 1234, linkLocal: false });
      await netlink.call('addAddress', index, '100.80.0.2', 32);
      await netlink.call('addAddress', index, 'fd00:80::2', 128);
      await netlink.call('setLink', index, { up: true });
      const range4 = { destination: { address: '100.80.0.0', length: 16 }, index, source: '100.80.0.2' };
      const range6 = { destination: { address: 'fd00:80::', length: 64 }, index, source: 'fd00:80::2' };
      await netlink.call('addRoute', range4);
      await netlink.call('addRoute', range6);

      const link = shown(host, 'tun0');
      expect(link).toMatchObject({ mtu: 1400, txqlen: 1234 });
      expect(link.flags).toContain('UP');
      expect(link.addr_info.map((a) => `${a.local}/${a.prefixlen}`)).toEqual(['100.80.0.2/32', 'fd00:80::2/128']);
      expect(link.addr_info.some((a) => a.tentative)).toBe(false);
      expect(routesOf(host)).toContainEqual(
        expect.objectContaining({ dst: '100.80.0.0/16', dev: 'tun0', prefsrc: '100.80.0.2' }),
      );
      expect(routesOf(host)).toContainEqual(
        expect.objectContaining({ dst: 'fd00:80::/64', dev: 'tun0', prefsrc: 'fd00:80::2' }),
      );

      await netlink.call('removeRoute', range4);
      await netlink.call('removeRoute', range6);
      await netlink.call('removeAddress', index, '100.80.0.2', 32);
      await netlink.call('removeAddress', index, 'fd00:80::2', 128);
      expect(shown(host, 'tun0').addr_info).toEqual([]);
      expect(routesOf(host).filter((route) => route.dev === 'tun0' && !route.dst.startsWith('ff'))).toEqual([]);
    }));

  it('may be told the same twice', () =>
    inLab('netlink twice', async (lab) => {
      const netlink = prepare(lab.namespace('host'));
      const index = await netlink.call<number>('index', 'tun0');
      const route = { destination: { address: 'fd00:80::', length: 64 }, index };
      await netlink.call('setLink', index, { up: true });
      for (const change of ['addAddress', 'addAddress', 'removeAddress', 'removeAddress']) {
        await netlink.call(change, index, 'fd00:80::2', 128);
        await netlink.call(change, index, '100.80.0.2', 32);
      }
      for (const change of ['addRoute', 'addRoute', 'removeRoute', 'removeRoute']) await netlink.call(change, route);
    }));

  it('names the errno, and the reason the kernel gives', () =>
    inLab('netlink errors', async (lab) => {
      const netlink = prepare(lab.namespace('host'));
      await expect(netlink.call('index', 'nosuch0')).rejects.toMatchObject({ code: 'SYS_NO_INTERFACE' });
      await expect(netlink.call('setLink', 999, { up: true })).rejects.toThrow(/^set link failed: ENODEV/);
      const index = await netlink.call<number>('index', 'lo');
      const destination = { address: '203.0.113.0', length: 24 };
      await expect(netlink.call('addRoute', { destination, index, gateway: '192.0.2.1' })).rejects.toThrow(
        /^add route failed: ENETUNREACH \(.*gateway.*\)/i,
      );
    }));

  it('lists what is there', () =>
    inLab('netlink lists', async (lab) => {
      const lan = lab.lan('lan', { subnet4: '192.0.2.0/24', subnet6: '2001:db8:1::/64' });
      const host = lab.host('host', lan);
      host.sh('ip addr add 2001:db8:1::99/64 dev eth0 preferred_lft 0; ip route replace default via 192.0.2.254');
      const netlink = new Remote(host, agent);
      const links = await netlink.call<Link[]>('links');
      expect(links.find((link) => link.name === 'lo')).toMatchObject({ up: true, loopback: true });
      const index = links.find((link) => link.name === 'eth0')!.index;
      expect(links.find((link) => link.name === 'eth0')).toMatchObject({ up: true, running: true, kind: 'veth' });
      const addresses = await netlink.call<LinkAddress[]>('addresses');
      const own = { index, prefixLength: 24, temporary: false, deprecated: false, unusable: false };
      expect(addresses).toContainEqual({ ...own, address: host.addresses.v4 });
      expect(addresses).toContainEqual({ ...own, address: '2001:db8:1::99', prefixLength: 64, deprecated: true });
      const routes = await netlink.call<Route[]>('routes');
      expect(routes.filter((route) => route.forwarding)).toContainEqual({
        destination: { address: '0.0.0.0', length: 0 },
        gateway: '192.0.2.254',
        index,
        metric: 0,
        forwarding: true,
      });
    }));

  it('reports links, addresses and routes that come and go', () =>
    inLab('netlink monitor', async (lab) => {
      const host = lab.namespace('host');
      const netlink = prepare(host);
      const index = await netlink.call<number>('index', 'tun0');
      host.sh(`
        ip link set tun0 up
        ip addr add 192.0.2.1/32 dev tun0
        ip addr add 2001:db8::1/128 dev tun0
        ip route add 198.51.100.0/24 dev tun0
        ip route del 198.51.100.0/24
        ip addr del 192.0.2.1/32 dev tun0
        ip link del tun0`);
      const wanted = [
        { on: 'link', gone: false, link: { name: 'tun0', up: true } },
        { on: 'address', gone: false, address: { index, address: '192.0.2.1' } },
        { on: 'address', gone: false, address: { index, address: '2001:db8::1' } },
        { on: 'route', gone: false, route: { index, destination: { address: '198.51.100.0', length: 24 } } },
        { on: 'route', gone: true, route: { index, destination: { address: '198.51.100.0', length: 24 } } },
        { on: 'address', gone: true, address: { index, address: '192.0.2.1' } },
        { on: 'link', gone: true, link: { name: 'tun0' } },
      ];
      const events = await until(
        async () => {
          const seen = await netlink.call<NetworkEvent[]>('events');
          return seen.some((event) => event.on === 'link' && event.gone) && seen;
        },
        { what: 'the end of tun0' },
      );
      for (const event of wanted) expect(events).toContainEqual(expect.objectContaining(nested(event)));
    }));

  it('says so when it missed changes, and goes on', () =>
    inLab('netlink overrun', async (lab) => {
      const host = lab.namespace('host');
      const netlink = prepare(host);
      const sees = (what: string, test: (event: NetworkEvent) => boolean): Promise<unknown> =>
        until(async () => (await netlink.call<NetworkEvent[]>('events')).some(test), { what, intervalMs: 200 });
      await netlink.call('setLink', await netlink.call<number>('index', 'tun0'), { up: true });
      netlink.program.signal('SIGSTOP');
      const routes = Array.from({ length: 4_000 }, (_, i) => `route add 198.18.${i >> 8}.${i & 255} dev tun0\n`);
      await host.run(['ip', '-batch', '-'], { input: routes.join('') });
      netlink.program.signal('SIGCONT');
      await sees('the loss', ({ on }) => on === 'overrun');
      host.sh('ip link add after0 type veth');
      await sees('what came after', (event) => event.on === 'link' && event.link.name === 'after0');
    }));
});

/** Every object below matches if it contains what is named. */
function nested(value: object): object {
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      typeof inner === 'object' ? expect.objectContaining(nested(inner)) : inner,
    ]),
  );
}
