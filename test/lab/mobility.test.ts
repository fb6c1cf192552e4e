/** Connections go on while networks change: a 100-per-second ping and a transfer through the event. */

import { expect, it } from 'vitest';
import { until } from './toolkit/command.ts';
import { type InterruptionOptions, interrupt } from './toolkit/interruption.ts';
import type { Host, Lab } from './toolkit/lab.ts';
import { Network, type Node } from './toolkit/network.ts';
import type { Internet } from './toolkit/segments.ts';
import { describeLab, inLab } from './toolkit/suite.ts';

/** A deadline of the protocol, with room for a machine that has other things to do. */
const SLACK_MS = 4_000;

type Scene = { readonly lab: Lab; readonly internet: Internet; readonly network: Network };

async function scene(lab: Lab): Promise<Scene> {
  const internet = lab.internet();
  const cloud = lab.host('cloud', internet, { v4: '198.51.100.10', v6: '2001:db8:ff::10' });
  return { lab, internet, network: await Network.start(lab, cloud) };
}

/** A home behind a port-restricted NAT; further hosts of it come from `lab.host`. */
function home({ lab, internet }: Scene, title: string, number: number) {
  const lan = lab.lan(`${title}-lan`, { subnet4: `10.${number}.0.0/24` });
  const router = lab.router(`${title}-router`, {
    outside: internet,
    inside: lan,
    nat: 'port-restricted',
    v4: `198.51.100.${number}`,
  });
  return { lan, router };
}

async function expectGap(
  what: string,
  limitMs: number,
  here: Node,
  there: Node,
  event: () => void | Promise<void>,
  options?: InterruptionOptions,
): Promise<void> {
  const { gapMs, sent, received } = await interrupt(here, there, event, options);
  console.log(`${what}: ${gapMs} ms`);
  expect(received).toBe(sent);
  expect(gapMs, what).toBeLessThan(limitMs + SLACK_MS);
}

/** Gives a host of a LAN another address there. */
function renumber(host: Host, from: string, to: string, gateway: string): void {
  host.sh(`
    ip address delete ${from}/24 dev eth0
    ip address add ${to}/24 dev eth0
    ip route replace default via ${gateway} src ${to}`);
}

describeLab('a connection goes on', () => {
  it(
    'when a device gets another address, behind a NAT; when both do at once; when the NAT forgets',
    () =>
      inLab('renumber', async (lab) => {
        const net = await scene(lab);
        const [first, second] = [home(net, 'first', 20), home(net, 'second', 21)];
        const [a, b] = await Promise.all([
          net.network.addNode(lab.host('a', first.lan)),
          net.network.addNode(lab.host('b', second.lan)),
        ]);
        await a.systemPing(b.fqdn);
        await a.reaches(b, 'direct');
        await expectGap('another address', 1_000, a, b, () => renumber(a.host, '10.20.0.2', '10.20.0.72', '10.20.0.1'));
        await a.reaches(b, 'direct');
        await expectGap('another address of the peer', 1_000, a, b, () =>
          renumber(b.host, '10.21.0.2', '10.21.0.72', '10.21.0.1'),
        );
        await a.reaches(b, 'direct');
        await expectGap('both at once', 3_000, a, b, () => {
          renumber(a.host, '10.20.0.72', '10.20.0.73', '10.20.0.1');
          renumber(b.host, '10.21.0.72', '10.21.0.73', '10.21.0.1');
        });
        await a.reaches(b, 'direct');
        await expectGap('NAT forgets', 3_000, a, b, () => {
          // Another outer port than before, as after a restart.
          first.router.sh(`
          nft insert rule ip nat outgoing oifname eth0 meta l4proto udp masquerade to :30000-40000
          conntrack -F 2>/dev/null`);
        });
        await a.reaches(b, 'direct');
      }),
    180_000,
  );

  it(
    'when a device changes to another network and loses the first; when its interface is gone for a while',
    () =>
      inLab('interfaces', async (lab) => {
        const net = await scene(lab);
        const [first, second] = [home(net, 'first', 20), home(net, 'second', 21)];
        const host = lab.host('a', first.lan);
        const [a, b] = [
          await net.network.addNode(host),
          await net.network.addNode(lab.host('b', net.internet, { v4: '192.0.2.12' })),
        ];
        second.lan.plug(host, 'eth1', { v4: '10.21.0.9', v6: null });
        await a.systemPing(b.fqdn);
        await expectGap('another interface', 1_000, a, b, () => {
          host.sh('ip link set eth0 down; ip route add default via 10.21.0.1 dev eth1');
        });
        await expectGap('and back', 1_000, a, b, () => {
          host.sh('ip link set eth0 up; ip link set eth1 down; ip route replace default via 10.20.0.1 dev eth0');
        });
        const { gapMs } = await interrupt(a, b, async () => {
          host.sh('ip link set eth0 down');
          await new Promise((resolve) => setTimeout(resolve, 15_000));
          host.sh('ip link set eth0 up; ip route add default via 10.20.0.1 dev eth0');
        });
        console.log(`interface gone for 15 s: ${gapMs - 15_000} ms longer`);
        expect(gapMs).toBeLessThan(15_000 + 3_000 + SLACK_MS);
      }),
    180_000,
  );

  it(
    'when a device changes from IPv4 to IPv6 and back',
    () =>
      inLab('families', async (lab) => {
        const { internet, network } = await scene(lab);
        const host = lab.host('a', internet, { v4: '192.0.2.11' });
        const six = internet.attach(host, 'eth1', { v6: '2001:db8:a::11' });
        host.sh('ip link set eth1 down');
        const a = await network.addNode(host);
        const b = await network.addNode(lab.host('b', internet, { v4: '192.0.2.12', v6: '2001:db8:b::12' }));
        await expectGap('IPv4 to IPv6', 1_000, a, b, () => {
          host.sh(`
          ip link set eth0 down; ip link set eth1 up
          ip -6 address replace ${six.v6}/128 dev eth1
          ip -6 route add default via fe80::1 dev eth1`);
        });
        expect((await a.peer(b))?.path).toBe('direct');
        await expectGap('IPv6 to IPv4', 1_000, a, b, () => {
          host.sh(`
          ip link set eth1 down; ip link set eth0 up
          ip route add 192.0.2.1 dev eth0 scope link
          ip route add default via 192.0.2.1`);
        });
      }),
    180_000,
  );

  it(
    'when a device is suspended for 20 s',
    () =>
      inLab('suspend', async (lab) => {
        const { internet, network } = await scene(lab);
        const a = await network.addNode(lab.host('a', internet, { v4: '192.0.2.11' }));
        const b = await network.addNode(lab.host('b', internet, { v4: '192.0.2.12' }));
        const { gapMs, sent, received } = await interrupt(a, b, async () => {
          b.daemon.signal('SIGSTOP');
          await new Promise((resolve) => setTimeout(resolve, 20_000));
          b.daemon.signal('SIGCONT');
        });
        console.log(`suspended for 20 s: ${gapMs - 20_000} ms longer`);
        expect(received).toBe(sent);
        expect(gapMs).toBeLessThan(20_000 + 3_000 + SLACK_MS);
      }),
    180_000,
  );

  it(
    'without a lost packet while its keys change again and again',
    () =>
      inLab('keys', async (lab) => {
        const { internet, network } = await scene(lab);
        const often = ['--rekey-after', '2'];
        const [a, b] = await Promise.all([
          network.addNode(lab.host('a', internet, { v4: '192.0.2.11' }), 'a', often),
          network.addNode(lab.host('b', internet, { v4: '192.0.2.12' }), 'b', often),
        ]);
        const epochOf = async (): Promise<number> => Number((await a.peer(b))?.epoch);
        const { missing, sent, received } = await interrupt(a, b, async () => {
          const before = await epochOf();
          await until(async () => (await epochOf()) >= before + 4, { what: 'four new keys', intervalMs: 200 });
        });
        expect(received).toBe(sent);
        expect(missing).toBe(0);
      }),
    180_000,
  );
});
