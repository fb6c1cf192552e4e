/** What `status` and `netcheck` say of the network around a node, by the terms of RFC 4787. */

import { expect, it } from 'vitest';
import { until } from './toolkit/command.ts';
import type { Lab } from './toolkit/lab.ts';
import { natBehaviours, natTypes } from './toolkit/nat.ts';
import { Network, type Node } from './toolkit/network.ts';
import { describeLab, inLab } from './toolkit/suite.ts';

type Netcheck = {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly udp: boolean;
  readonly natType: { readonly mapping: string | null; readonly filtering: string | null } | null;
  readonly mapped: readonly string[];
  readonly portMapping: string | null;
  readonly nat64Prefix: string | null;
  readonly relays: readonly { readonly name: string; readonly address: string; readonly rttMs: number | null }[];
  readonly preferredRelay: string | null;
};

async function netcheck(node: Node): Promise<Netcheck> {
  const { code, stdout, stderr } = await node.command(['netcheck', '--json']);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}

/** A cloud with a second relay on another host, so that there are mirrors on two addresses and on two ports of one. */
async function twoHosts(lab: Lab) {
  const internet = lab.internet();
  const network = await Network.start(lab, lab.host('cloud', internet, { v4: '198.51.100.10', v6: '2001:db8:ff::10' }));
  const far = lab.host('far', internet, { v4: '203.0.113.10', v6: '2001:db8:ff::11' });
  await network.addService('trs', 'far', far);
  return { internet, network };
}

describeLab('a node', () => {
  it('knows its NAT: the four types, none, and IPv6', () =>
    inLab('nat-type', async (lab) => {
      const { internet, network } = await twoHosts(lab);
      const behind = natTypes.map((nat, i) => {
        const lan = lab.lan(`${nat}-lan`, { subnet4: `10.2${i}.0.0/24` });
        lab.router(`${nat}-router`, { outside: internet, inside: lan, nat, v4: `198.51.100.2${i}` });
        return { title: nat, host: lab.host(nat, lan), expected: natBehaviours[nat] };
      });
      const open = { mapping: 'endpoint-independent', filtering: 'endpoint-independent' };
      const hosts = [
        ...behind,
        { title: 'none', host: lab.host('none', internet, { v4: '192.0.2.30' }), expected: open },
        { title: 'six', host: lab.host('six', internet, { v6: '2001:db8:6::30' }), expected: open },
      ];
      const nodes = await Promise.all(hosts.map(({ host }) => network.addNode(host)));
      for (const [i, { title, expected }] of hosts.entries()) {
        const node = nodes[i]!;
        const report = await netcheck(node);
        expect(report, title).toMatchObject({
          ipv4: title !== 'six',
          ipv6: title === 'six',
          udp: true,
          natType: expected,
          portMapping: null,
          nat64Prefix: null,
        });
        expect(report.relays.map(({ name }) => name).sort()).toEqual(['far', 'trs']);
        for (const { rttMs } of report.relays) expect(rttMs).toBeGreaterThan(0);
        expect(report.preferredRelay).toBe(report.relays[0]?.name);
        // Without being asked for, too.
        await until(async () => (await node.status()).natType !== null, { what: `the NAT type of ${title}` });
        expect((await node.status()).natType).toEqual(expected);
        await node.daemon.stop();
      }
    }));

  it('does not guess what one address of the cloud cannot tell', () =>
    inLab('nat-type-one', async (lab) => {
      const internet = lab.internet();
      const network = await Network.start(lab, lab.host('cloud', internet, { v4: '198.51.100.10' }));
      const expected = { 'full-cone': null, 'port-restricted': 'address-and-port-dependent' } as const;
      for (const [i, nat] of (['full-cone', 'port-restricted'] as const).entries()) {
        const lan = lab.lan(`${nat}-lan`, { subnet4: `10.2${i}.0.0/24` });
        lab.router(`${nat}-router`, { outside: internet, inside: lan, nat, v4: `198.51.100.2${i}` });
        const node = await network.addNode(lab.host(nat, lan));
        expect((await netcheck(node)).natType).toEqual({
          mapping: 'endpoint-independent',
          filtering: expected[nat],
        });
      }
    }));

  it('says that UDP is blocked', () =>
    inLab('udp-blocked', async (lab) => {
      const internet = lab.internet();
      const network = await Network.start(lab, lab.host('cloud', internet, { v4: '198.51.100.10' }));
      const node = await network.addNode(lab.host('a', internet, { v4: '192.0.2.11' }));
      node.host.nft(`
        table inet blocked {
          chain output { type filter hook output priority filter; meta l4proto udp oifname "eth0" drop; }
        }`);
      expect(await netcheck(node)).toMatchObject({
        ipv4: false,
        udp: false,
        natType: { mapping: null, filtering: null },
        preferredRelay: null,
        relays: [{ name: 'trs', rttMs: null }],
      });
    }));
});
