/** A network that has IPv6 alone, behind Debian's tayga, and the rest of the world on IPv4. */

import { expect, it } from 'vitest';
import { until } from './toolkit/command.ts';
import { noUdpRules } from './toolkit/nat.ts';
import { NAT64_PREFIX, Nat64Network } from './toolkit/nat64.ts';
import { Network, type Node } from './toolkit/network.ts';
import { Pinger } from './toolkit/small.ts';
import { describeLab, inLab } from './toolkit/suite.ts';

describeLab('a device behind a NAT64', () => {
  it(
    'logs in to a cloud that has IPv4 alone, and reaches a device there directly, by the relay, or over TLS',
    () =>
      inLab('nat64', async (lab) => {
        const internet = lab.internet();
        const cloud = lab.host('cloud', internet, { v4: '198.51.100.10' });
        const [open, blocked] = [new Nat64Network(lab, internet, 1), new Nat64Network(lab, internet, 2)];
        const advertised = new Nat64Network(lab, internet, 3, true);
        blocked.router.nft(noUdpRules);
        // Containers' IPv4 leads nowhere.
        open.host.sh(`
        ip link add containers type veth peer name container
        ip link set containers up; ip link set container up
        ip address add 172.17.0.1/16 dev containers`);
        const network = await Network.start(lab, cloud);
        const four = await network.addNode(lab.host('four', internet, { v4: '192.0.2.20' }));
        const up = async (place: Nat64Network, title: string): Promise<Node> => {
          const node = network.node(place.host, title, await network.addDevice(title));
          await place.ready();
          await node.up();
          await node.systemPing(four.fqdn);
          return node;
        };

        const [node, streamed, told] = await Promise.all([
          up(open, 'open'),
          up(blocked, 'blocked'),
          up(advertised, 'advertised'),
        ]);
        expect((await told.reaches(four, 'direct')).endpoint).toBe('192.0.2.20:7444');
        expect(await streamed.peer(four)).toMatchObject({ path: 'relay', transport: 'tls' });
        expect((await node.reaches(four, 'direct')).endpoint).toBe('192.0.2.20:7444');
        // Seen by others at an address of the translator's pool.
        const { mapped } = await node.status();
        expect(mapped).toHaveLength(1);
        expect(mapped[0]).toMatch(/^203\.0\.113\.\d+:7444$/);
        expect((await four.reaches(node, 'direct')).endpoint).toBe(mapped[0]);
        expect(JSON.parse((await node.command(['netcheck', '--json'])).stdout)).toMatchObject({
          ...{ ipv4: true, ipv6: false, udp: true, nat64Prefix: `${NAT64_PREFIX}/96` },
          relays: [{ address: '198.51.100.10:7442' }],
        });

        // The direct way is gone, that to the relay is not.
        four.host.nft(`
        table ip wall {
          chain input {
            type filter hook input priority filter;
            ip saddr 203.0.113.0/24 drop
          }
        }`);
        // Who says nothing notices late.
        const { vip4 } = await four.status();
        for (const { host } of [node, told]) new Pinger(host, String(vip4));
        await node.reaches(four, 'relay');
        await node.systemPing(four.fqdn);
        expect((await node.status()).counters['drop-forbidden-address'] ?? 0).toBe(0);

        // Its router says so where no name server knows (RFC 8781): at the login, to the daemon, and that it is gone.
        expect(advertised.advertiser!.stdout).toContain('advertised 1800');
        const ways = (): (string | null)[] =>
          [...told.daemon.stderr.matchAll(/"nat64":(.*),"msg":"the way to IPv4"/g)].map(([, way]) => JSON.parse(way!));
        const way = `${NAT64_PREFIX}/96`;
        expect(ways()).toEqual([way]);
        advertised.advertiser!.write('0\n');
        await until(() => ways().length === 2, { what: 'the prefix to be left' });
        advertised.advertiser!.write('1800\n');
        await until(() => ways().length === 3, { what: 'the prefix to be heard of again' });
        expect(ways()).toEqual([way, null, way]);
        // The wall stands in its direct way too.
        await told.reaches(four, 'relay');
        await told.systemPing(four.fqdn);
      }),
    120_000,
  );
});
