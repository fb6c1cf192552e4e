/** A road that is narrower than its ends, with and without ICMP telling so, from the start and all of a sudden. */

import { expect, it } from 'vitest';
import { until } from './toolkit/command.ts';
import type { Lab } from './toolkit/lab.ts';
import type { Namespace } from './toolkit/namespace.ts';
import { Network, type Node } from './toolkit/network.ts';
import type { Internet } from './toolkit/segments.ts';
import { describeLab, inLab } from './toolkit/suite.ts';
import { stream } from './toolkit/traffic.ts';

const deaf = `table inet deaf {
  chain output {
    type filter hook output priority filter
    icmp type destination-unreachable counter drop
    icmpv6 type packet-too-big counter drop
  }
}`;

/** Outer packets in fragments, whoever made them. */
const watch = `table inet watch {
  chain forward {
    type filter hook forward priority filter
    ip frag-off & 0x3fff != 0 counter
    exthdr frag exists counter
  }
}`;

type Road = {
  readonly internet: Internet;
  readonly router: Namespace;
  readonly uplink: string;
  readonly a: Node;
  readonly b: Node;
};

/** a is behind a plain router, b on the Internet; neither sees the link between these two. */
async function road(lab: Lab, family: 4 | 6, mtu: number): Promise<Road> {
  const internet = lab.internet();
  const cloud = lab.host('cloud', internet, { v4: '198.51.100.10', v6: '2001:db8:ff::10' });
  const network = await Network.start(lab, cloud);
  const lan = lab.lan('lan', family === 4 ? { subnet4: '203.0.113.0/24' } : { subnet6: '2001:db8:20::/64' });
  const uplink = family === 4 ? '198.51.100.20' : '2001:db8:ff::20';
  const router = lab.router('router', {
    ...{ outside: internet, inside: lan, nat: 'none' },
    ...(family === 4 ? { v4: uplink } : { v6: uplink }),
  });
  narrow({ internet, router, uplink }, mtu);
  const b = lab.host('b', internet, family === 4 ? { v4: '192.0.2.12' } : { v6: '2001:db8:b::12' });
  const nodes = await Promise.all([network.addNode(lab.host('a', lan)), network.addNode(b)]);
  await nodes[0].systemPing(nodes[1].fqdn);
  await nodes[0].reaches(nodes[1], 'direct');
  return { internet, router, uplink, a: nodes[0], b: nodes[1] };
}

function narrow({ internet, router, uplink }: Pick<Road, 'internet' | 'router' | 'uplink'>, mtu: number): void {
  router.sh(`ip link set eth0 mtu ${mtu}`);
  internet.namespace.sh(`ip link set $(ip route get ${uplink} | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p') mtu ${mtu}`);
}

async function carries(node: Node, other: Node, mtu: number): Promise<void> {
  await until(async () => (await node.peer(other))?.mtu === mtu, {
    what: `an MTU of ${mtu} from ${node.deviceId} to ${other.deviceId}`,
    intervalMs: 200,
  });
}

/** What a ping that must not be fragmented says. */
async function ping(node: Node, flags: readonly string[], target: string): Promise<string> {
  const program = node.host.spawn(['ping', '-n', '-c', '3', '-i', '0.2', '-W', '2', ...flags, target], { input: '' });
  await program.ended();
  return program.stdout + program.stderr;
}

/** The segment sizes with which a connection begins, as they come out of the tunnel: of who calls, and of who is called. */
async function segmentSizes(from: Node, to: Node, address: string): Promise<number[]> {
  const sniff = ({ host }: Node) =>
    host.spawn(['tcpdump', '-lnti', 'cyp0', '-c', '2', 'host', address, 'and', 'tcp'], { input: '' });
  const sniffers = [sniff(to), sniff(from)] as const;
  await until(() => sniffers.every(({ stderr }) => stderr.includes('listening on')), { what: 'tcpdump' });
  await stream(from.host, to.host, address, { mebibytes: 1 });
  await Promise.all(sniffers.map((sniffer) => sniffer.ended()));
  const [called, answered] = sniffers.map(({ stdout }) => stdout);
  return [/Flags \[S\].*mss (\d+)/.exec(called!)?.[1], /Flags \[S\.\].*mss (\d+)/.exec(answered!)?.[1]].map(Number);
}

describeLab('a road narrower than its ends', () => {
  it.each([
    { family: 4, icmp: 'delivered' },
    { family: 6, icmp: 'black-holed' },
  ] as const)('is known to the octet: IPv$family, ICMP $icmp', ({ family, icmp }) =>
    inLab(`narrow road, IPv${family}`, async (lab) => {
      const net = await road(lab, family, 1_300);
      const { a, b } = net;
      if (icmp === 'black-holed') for (const namespace of [net.router, net.internet.namespace]) namespace.nft(deaf);
      const mtu = 1_300 - (family === 4 ? 28 : 48) - 52;
      await Promise.all([carries(a, b, mtu), carries(b, a, mtu)]);
      const { vip4, vip6 } = (await b.status()) as { vip4: string; vip6: string };
      net.router.nft(watch);
      // What may be fragmented gets through whole; so does what no IPv6 link may refuse.
      expect(await ping(a, ['-M', 'dont', '-s', '1372'], vip4)).toContain(' 0% packet loss');
      expect(await ping(a, ['-s', '1232'], vip6)).toContain(' 0% packet loss');
      // Whoever must not be fragmented learns the size, in IPv6 never less than its minimum.
      expect(await ping(a, ['-M', 'do', '-s', '1300'], vip4)).toMatch(new RegExp(`mtu ?= ?${mtu}`));
      expect(await ping(a, ['-M', 'do', '-s', '1300'], vip6)).toMatch(/mtu ?[=:] ?1280/);
      expect(await ping(a, ['-M', 'do', '-s', String(mtu - 28)], vip4)).toContain(' 0% packet loss');
      expect(await segmentSizes(a, b, vip4)).toEqual([mtu - 40, mtu - 40]);
      expect(await segmentSizes(a, b, vip6)).toEqual([mtu - 60, mtu - 60]);
      for (const target of [vip4, vip6]) {
        const { sent, received } = await stream(a.host, b.host, target, { mebibytes: 4 });
        expect(received).toBe(sent);
      }
      const seen = net.router.sh('nft list table inet watch').matchAll(/counter packets (\d+)/g);
      expect([...seen].map(([, packets]) => packets)).toEqual(['0', '0']);
    }),
  );

  // IPv4: see the tests with real tools.
  it.each<4 | 6>([6])('that becomes so while a file goes through is noticed in 3 s, without ICMP: IPv%i', (family) =>
    inLab(`narrowing road, IPv${family}`, async (lab) => {
      const net = await road(lab, family, 1_500);
      const { a, b } = net;
      for (const namespace of [net.router, net.internet.namespace]) namespace.nft(deaf);
      await carries(a, b, 1_400);
      const { vip4 } = (await b.status()) as { vip4: string };
      const server = b.host.spawn(['iperf3', '-s', '-1', '-B', vip4, '--forceflush'], { input: '' });
      await server.output(/Server listening/);
      const client = a.host.spawn(['iperf3', '-c', vip4, '-R', '-t', '10', '-i', '0.5', '-b', '30M', '--forceflush'], {
        input: '',
      });
      const file = stream(a.host, b.host, vip4, { mebibytes: 24, perSecond: 4 });
      await until(() => /-\s*3\.\d+ +sec/.test(client.stdout), { what: 'the connection to be in full swing' });
      narrow(net, 1_350);
      await client.done();
      // Half seconds in a row in which nothing came: 3 s, one at either end, and what TCP's own timer adds.
      const rates = [...client.stdout.matchAll(/(\d+\.\d+)-\s*\d+\.\d+ +sec +([\d.]+) .?Bytes/g)].map(([, , n]) =>
        Number(n),
      );
      const silences = rates
        .map((rate) => (rate === 0 ? '.' : '|'))
        .join('')
        .split('|');
      const longest = Math.max(...silences.map((silence) => silence.length)) / 2;
      console.log(`MTU reduced, IPv${family}: silent for ${longest} s`);
      expect(rates.length).toBeGreaterThanOrEqual(20);
      expect(longest).toBeLessThanOrEqual(5);
      const { sent, received } = await file;
      expect(received).toBe(sent);
      const mtu = 1_350 - (family === 4 ? 28 : 48) - 52;
      await Promise.all([carries(a, b, mtu), carries(b, a, mtu)]);
      expect((await a.status()).counters['mtu-black-hole']).toBe(1);
    }),
  );
});
