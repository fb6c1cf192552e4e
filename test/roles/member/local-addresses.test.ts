import { describe, expect, it } from 'vitest';
import { familyOf, parsePrefix } from '../../../src/lib/ip.ts';
import {
  candidateAddresses,
  defaultRouter4,
  defaultRouter6,
  defaultRoutes,
  hasRoute4,
  type LocalNetwork,
  refuseOverlap,
  uplinksOf,
} from '../../../src/roles/member/local-addresses.ts';
import type { Link, LinkAddress, Route } from '../../../src/sys/netlink.ts';
import fc from '../../support/property.ts';

const overlay = ['100.80.0.0/16', 'fd00:80::/64'].map((text) => parsePrefix(text)!);
const options = { overlay, ownInterface: 'cyp0' };

const link = (index: number, name: string, more: Partial<Link> = {}): Link => ({
  index,
  name,
  up: true,
  running: true,
  loopback: false,
  mtu: 1500,
  kind: null,
  ...more,
});

const address = (index: number, text: string, more: Partial<LinkAddress> = {}): LinkAddress => ({
  index,
  address: text,
  prefixLength: 24,
  temporary: false,
  deprecated: false,
  unusable: false,
  ...more,
});

const route = (index: number | null, text: string, more: Partial<Route> = {}): Route => ({
  destination: parsePrefix(text)!,
  gateway: null,
  index,
  metric: 0,
  forwarding: true,
  ...more,
});

const network = (links: Link[], addresses: LinkAddress[], routes: Route[] = []): LocalNetwork => ({
  links: () => links,
  addresses: () => addresses,
  routes: () => routes,
});

describe('candidate addresses', () => {
  it('leave out what nobody outside can reach', () => {
    const links = [
      link(1, 'lo', { loopback: true }),
      link(2, 'eth0'),
      link(3, 'cyp0'),
      link(4, 'docker0', { running: false }),
      link(5, 'eth1', { up: false }),
      link(6, 'cyp1'),
    ];
    const here = network(links, [
      address(1, '127.0.0.1'),
      address(1, '203.0.113.9'),
      address(6, '100.99.0.2'),
      address(2, '192.0.2.10'),
      address(2, '169.254.7.7'),
      address(2, 'fe80::1'),
      address(2, '2001:db8::10'),
      address(2, '2001:db8::11', { deprecated: true }),
      address(2, '2001:db8::12', { unusable: true }),
      address(2, '100.80.3.3'),
      address(3, '198.51.100.1'),
      address(4, '172.17.0.1'),
      address(5, '192.0.2.99'),
    ]);
    expect(candidateAddresses(here, options)).toEqual(['192.0.2.10', '2001:db8::10']);
  });

  it('prefer lasting IPv6 addresses to temporary ones of the same link', () => {
    const temporary = address(2, '2001:db8::aaaa', { temporary: true });
    const both = network([link(2, 'eth0')], [temporary, address(2, '2001:db8::1')]);
    expect(candidateAddresses(both, options)).toEqual(['2001:db8::1']);
    expect(candidateAddresses(network([link(2, 'eth0')], [temporary]), options)).toEqual(['2001:db8::aaaa']);
  });

  it('begin with the links that lead out', () => {
    const here = network(
      [link(2, 'bridge0'), link(3, 'eth0')],
      [address(2, '10.1.0.1'), address(3, '192.0.2.1')],
      [route(3, '0.0.0.0/0', { gateway: '192.0.2.254' }), route(2, '10.1.0.0/16')],
    );
    expect(candidateAddresses(here, options)).toEqual(['192.0.2.1', '10.1.0.1']);
  });

  it('are at most 16, each once, with room for both families', () => {
    const v4 = fc.integer({ min: 1, max: 254 }).map((n) => address(2, `192.0.2.${n}`));
    const v6 = fc.integer({ min: 1, max: 254 }).map((n) => address(2, `2001:db8::${n.toString(16)}`));
    fc.assert(
      fc.property(fc.array(v4, { maxLength: 60 }), fc.array(v6, { maxLength: 60 }), (some, others) => {
        const found = candidateAddresses(network([link(2, 'eth0')], [...some, ...others]), options);
        expect(found.length).toBeLessThanOrEqual(16);
        expect(new Set(found).size).toBe(found.length);
        for (const list of [some, others]) {
          const distinct = new Set(list.map((entry) => entry.address)).size;
          const offered = found.filter((text) => list.some((entry) => familyOf(entry.address) === familyOf(text)));
          if (list.length > 0) expect(offered.length).toBeGreaterThanOrEqual(Math.min(8, distinct));
        }
      }),
    );
  });
});

describe('the ways out', () => {
  const wired = route(2, '0.0.0.0/0', { gateway: '192.0.2.254', metric: 100 });
  const wireless = route(3, '0.0.0.0/0', { gateway: '198.51.100.254', metric: 600 });
  const local = route(2, '192.0.2.0/24');
  const routes = (...all: Route[]): Route[] => defaultRoutes(network([], [], all));

  it('are in the order in which packets take them', () => {
    expect(routes(wireless, local, wired)).toEqual([wired, wireless]);
    expect(defaultRouter4(network([], [], [wireless, local, wired]))).toEqual({ gateway: '192.0.2.254' });
    expect(defaultRouter4(network([], [], [local, route(4, '0.0.0.0/1', { gateway: '10.0.0.1' })]))).toBeNull();
    expect(hasRoute4(routes(wired))).toBe(true);
    expect(hasRoute4(routes(local, route(2, '::/0')))).toBe(false);
  });

  it('lead by IPv6 to a router on one link, asked from an address there that the world reaches', () => {
    const links = [link(2, 'eth0'), link(3, 'wlan0')];
    const own = [address(3, '2001:db8:3::2'), address(2, 'fd99::2'), address(2, '2001:db8:2::2')];
    const told = ['2001:db8:3::2', 'fd99::2', '2001:db8:2::2'];
    const router = (...routes: Route[]) => defaultRouter6(network(links, own, routes), told);
    const byWire = route(2, '::/0', { gateway: 'fe80::1', metric: 100 });
    const byAir = route(3, '::/0', { gateway: '2001:db8:3::1', metric: 600 });
    expect(router(byAir, byWire)).toEqual({ gateway: 'fe80::1%eth0', client: '2001:db8:2::2' });
    expect(router(byAir)).toEqual({ gateway: '2001:db8:3::1', client: '2001:db8:3::2' });
    // Without a router, on a link that has no such address, or with one that nobody is told of.
    expect(router(wired, route(2, '::/0'), route(2, '2001:db8::/32', { gateway: 'fe80::1' }))).toBeNull();
    expect(defaultRouter6(network(links, [own[1]!], [byWire]), told)).toBeNull();
    expect(defaultRouter6(network(links, own, [byWire]), ['fd99::2'])).toBeNull();
  });

  it('are other ones where another is taken first, or leads to another router', () => {
    const before = uplinksOf(routes(wired, wireless));
    // As NetworkManager does where the Internet is not reached.
    expect(uplinksOf(routes({ ...wired, metric: 20_100 }, wireless))).not.toBe(before);
    expect(uplinksOf(routes({ ...wired, gateway: '192.0.2.253' }, wireless))).not.toBe(before);
    expect(uplinksOf(routes(wireless, local, { ...wired, metric: 50 }))).toBe(before);
  });
});

describe('the overlay range', () => {
  const eth0 = link(2, 'eth0');

  it.each([
    ['an address inside it', network([eth0], [address(2, '100.80.1.1')]), 'the address 100.80.1.1/24 on eth0'],
    ['a route inside it', network([eth0], [], [route(2, '100.80.4.0/24')]), 'the route to 100.80.4.0/24 on eth0'],
    ['a route around it', network([eth0], [], [route(2, '100.64.0.0/10')]), 'the route to 100.64.0.0/10 on eth0'],
    ['an IPv6 route to nowhere', network([eth0], [], [route(null, 'fd00::/8')]), 'the route to fd00::/8'],
  ])('is refused beside %s', (_, here, what) => {
    expect(() => refuseOverlap(here, options)).toThrow(
      expect.objectContaining({ code: 'CONFIG_OVERLAP', message: expect.stringContaining(`overlaps ${what} of`) }),
    );
  });

  it.each([
    ['default routes', network([eth0], [], [route(2, '0.0.0.0/0'), route(2, '::/0')])],
    ['the halves that other VPNs route', network([eth0], [], [route(2, '0.0.0.0/1'), route(2, '128.0.0.0/1')])],
    [
      'other ranges',
      network([eth0], [address(2, '100.81.0.1')], [route(2, '100.81.0.0/16'), route(2, 'fd00:81::/64')]),
    ],
    ['our own interface', network([link(3, 'cyp0')], [address(3, '100.80.0.2')], [route(3, '100.80.0.0/16')])],
    ["the kernel's local table", network([eth0], [], [route(2, 'ff00::/8', { forwarding: false })])],
  ])('goes with %s', (_, here) => {
    expect(() => refuseOverlap(here, options)).not.toThrow();
  });
});
