/** The whole path end to end: real programs, real kernels, every kind of pair. */

import { afterAll, beforeAll, expect, it, onTestFailed } from 'vitest';
import { Lab } from './toolkit/lab.ts';
import type { NatType } from './toolkit/nat.ts';
import { Network, type Node, type PeerStatus } from './toolkit/network.ts';
import { describeLab } from './toolkit/suite.ts';
import { datagrams, stream } from './toolkit/traffic.ts';

const names = ['pub1', 'pub2', 'wire1', 'wire2', 'home1', 'home2', 'home1b', 'sym1', 'sym2', 'six', 'dual1'] as const;
type Name = (typeof names)[number];

type Pair = {
  readonly title: string;
  readonly from: Name;
  readonly to: Name;
  /** The path once things have settled. */
  readonly path: PeerStatus['path'];
};

const pairs: readonly Pair[] = [
  { title: 'two public hosts', from: 'pub1', to: 'pub2', path: 'direct' },
  { title: 'two hosts on one link without NAT', from: 'wire1', to: 'wire2', path: 'direct' },
  { title: 'an initiator behind NAT', from: 'home1', to: 'pub1', path: 'direct' },
  { title: 'a responder behind NAT', from: 'pub2', to: 'home1', path: 'direct' },
  { title: 'both behind NATs, relayed first', from: 'home1', to: 'home2', path: 'direct' },
  { title: 'both behind symmetric NATs', from: 'sym1', to: 'sym2', path: 'relay' },
  { title: 'IPv4-only to IPv6-only', from: 'home1', to: 'six', path: 'relay' },
  { title: 'IPv6-only to IPv4-only', from: 'six', to: 'home2', path: 'relay' },
  { title: 'IPv6-only to a host of both families', from: 'six', to: 'dual1', path: 'direct' },
  { title: 'two nodes behind one NAT', from: 'home1', to: 'home1b', path: 'lan' },
];

describeLab('an overlay of many kinds of hosts', () => {
  let lab: Lab;
  let network: Network;
  const nodes = new Map<Name, Node>();
  const node = (name: Name): Node => nodes.get(name)!;

  beforeAll(async () => {
    lab = new Lab('overlay');
    const internet = lab.internet();
    const home = (title: string, number: number, nat: NatType) => {
      const lan = lab.lan(`${title}-lan`, { subnet4: `10.${number}.0.0/24` });
      lab.router(`${title}-router`, { outside: internet, inside: lan, nat, v4: `198.51.100.${number}` });
      return lan;
    };
    const wire = lab.lan('wire', { subnet4: '203.0.113.0/24', subnet6: '2001:db8:77::/64' });
    lab.router('wire-router', { outside: internet, inside: wire, nat: 'none', v4: '192.0.2.77', v6: '2001:db8:7::77' });
    const first = home('first', 20, 'port-restricted');
    const hosts = {
      pub1: lab.host('pub1', internet, { v4: '192.0.2.11' }),
      pub2: lab.host('pub2', internet, { v4: '192.0.2.12' }),
      wire1: lab.host('wire1', wire),
      wire2: lab.host('wire2', wire),
      home1: lab.host('home1', first),
      home1b: lab.host('home1b', first),
      home2: lab.host('home2', home('second', 21, 'port-restricted')),
      sym1: lab.host('sym1', home('third', 22, 'symmetric')),
      sym2: lab.host('sym2', home('fourth', 23, 'symmetric')),
      six: lab.host('six', internet, { v6: '2001:db8:60::1' }),
      dual1: lab.host('dual1', internet, { v4: '192.0.2.13', v6: '2001:db8:13::1' }),
    };
    const cloud = lab.host('cloud', internet, { v4: '198.51.100.10', v6: '2001:db8:ff::10' });
    network = await Network.start(lab, cloud);
    const add = async (name: Name): Promise<void> => {
      // Two hosts behind one NAT use ports of their own: a cone NAT keeps the port only where it is free.
      const flags = name === 'home1b' ? ['--port', '7544'] : [];
      nodes.set(name, await network.addNode(hosts[name], name, flags));
    };
    await Promise.all(names.map(add));
  });

  afterAll(() => lab?.close());

  for (const { title, from, to, path } of pairs) {
    it(`connects ${title}: names, ICMP, UDP and TCP of both families`, async () => {
      onTestFailed(() => console.error(lab.report()));
      const [here, there] = [node(from), node(to)];
      await here.systemPing(there.fqdn);
      await here.systemPing(there.fqdn, ['-4']);
      await here.systemPing(there.fqdn, ['-6', '-s', '1300']);
      const [hereStatus, thereStatus] = [await here.status(), await there.status()];
      for (const family of ['vip4', 'vip6'] as const) {
        const [a, b] = [hereStatus[family], thereStatus[family]];
        if (a === null || b === null) throw new Error(`no ${family}`);
        await datagrams(here.host, a, there.host, b);
        const { sent, received } = await stream(here.host, there.host, b, { mebibytes: 2 });
        expect(received).toBe(sent);
      }
      await here.reaches(there, path);
      await there.reaches(here, path);
    });
  }

  it('relays at once where a direct path takes its time, and says so', async () => {
    const { replies } = await node('sym1').ping(node('six').fqdn, ['-c', '3']);
    expect(replies).toHaveLength(3);
    expect(replies.map((reply) => reply.path)).toEqual(['relay', 'relay', 'relay']);
    expect(replies[0]?.endpoint).toMatch(/^198\.51\.100\.10:|^\[2001:db8:ff::10\]:/);
  });

  for (const [title, from, to] of [
    ['directly', 'home1', 'home2'],
    ['through the relay', 'six', 'home1'],
  ] as const) {
    it(`carries 200 MiB ${title}, unchanged`, async () => {
      onTestFailed(() => console.error(lab.report()));
      const [here, there] = [node(from), node(to)];
      const { vip4 } = await there.status();
      const { sent, received } = await stream(here.host, there.host, String(vip4), { mebibytes: 200, port: 5002 });
      expect(received).toBe(sent);
      expect(received).toMatch(/^209715200 /);
    });
  }

  it('answers 1,000 pings without loss', async () => {
    const output = await node('home2').host.run(['ping', '-q', '-c', '1000', '-i', '0.005', node('home1').fqdn]);
    expect(output).toMatch(/1000 received, 0% packet loss/);
  });
});
