/** Pairs of nodes in places where networks change and fail, and what can happen there: once in a test, often in statistics. */

import { until } from './command.ts';
import type { Host, Lab } from './lab.ts';
import { noUdpRules } from './nat.ts';
import { Network, type Node, type PeerStatus, type Service } from './network.ts';
import type { Internet, Lan } from './segments.ts';
import { SlowCable } from './slow-cable.ts';

export type Pair = readonly [Node, Node];

/** Happens to all pairs at once; `run` counts the times it did before. */
export type Cause = (run: number) => void | Promise<void>;

export type Scene<Name extends string> = {
  readonly internet: Internet;
  readonly network: Network;
  readonly pairs: readonly Pair[];
  /** How they reach each other while nothing happens; null: in one way or another. */
  readonly path: PeerStatus['path'];
  readonly causes: { readonly [N in Name]: Cause };
};

export type Extent = {
  readonly pairs?: number;
  /** How long what goes away for a while is gone (ms). */
  readonly awayMs?: number;
};

type HomeNat = 'port-restricted' | 'symmetric' | 'blocked';

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** One after the other: many daemons that start at once take each other's time. */
async function times<T>(count: number, make: (i: number) => Promise<T>): Promise<T[]> {
  const all: T[] = [];
  while (all.length < count) all.push(await make(all.length));
  return all;
}

function together(causes: readonly Cause[]): Cause {
  return async (run) => void (await Promise.all(causes.map((cause) => cause(run))));
}

async function open(lab: Lab): Promise<{ internet: Internet; network: Network }> {
  const internet = lab.internet();
  const cloud = lab.host('cloud', internet, { v4: '198.51.100.10', v6: '2001:db8:ff::10' });
  return { internet, network: await Network.start(lab, cloud) };
}

/** The network 10.N.0.0/24 behind a NAT of its own, which may let no UDP through. */
function home(lab: Lab, internet: Internet, n: number, nat: HomeNat) {
  const inside = lab.lan(`lan${n}`, { subnet4: `10.${n}.0.0/24` });
  const outside = { outside: internet, inside, v4: `198.51.100.${n}` };
  const router = lab.router(`router${n}`, { ...outside, nat: nat === 'symmetric' ? nat : 'port-restricted' });
  if (nat === 'blocked') router.nft(noUdpRules);
  return { lan: inside, router };
}

/** The host of a LAN takes the next address there. */
function renumbering(host: Host, { gateway }: Lan): Cause {
  const address = (n: number): string => gateway.v4!.replace(/1$/, String(2 + (n % 250)));
  let moves = 0;
  return () => {
    const [from, to] = [address(moves), address(++moves)];
    host.sh(`
      ip address delete ${from}/24 dev eth0
      ip address add ${to}/24 dev eth0
      ip route replace default via ${gateway.v4} src ${to}`);
  };
}

/** Both ends at home behind NATs of a kind. */
export async function atHome(
  lab: Lab,
  { pairs = 1 }: Extent = {},
  nat: 'port-restricted' | 'symmetric' = 'port-restricted',
): Promise<Scene<'moves' | 'peerMoves' | 'bothMove' | 'natForgets'>> {
  const { internet, network } = await open(lab);
  const end = async (name: string, n: number) => {
    const { lan, router } = home(lab, internet, n, nat);
    const host = lab.host(name, lan);
    return { node: await network.addNode(host), router, move: renumbering(host, lan) };
  };
  const made = await times(pairs, (i) => Promise.all([end(`a${i}`, 20 + 2 * i), end(`b${i}`, 21 + 2 * i)]));
  return {
    internet,
    network,
    pairs: made.map(([a, b]) => [a.node, b.node]),
    path: nat === 'symmetric' ? 'relay' : 'direct',
    causes: {
      moves: together(made.map(([a]) => a.move)),
      peerMoves: together(made.map(([, b]) => b.move)),
      // Within 100 ms, either of them first.
      bothMove: async (run) => {
        for (const ends of made) {
          const [first, second] = run % 2 === 0 ? ends : ends.toReversed();
          await first!.move(run);
          await pause((17 * run) % 80);
          await second!.move(run);
        }
      },
      // Other outer ports than before, as after a restart.
      natForgets: (run) => {
        const low = 20_000 + 1_000 * (run % 40);
        const ports = nat === 'symmetric' ? 'fully-random' : `to :${low}-${low + 999}`;
        for (const [{ router }] of made) {
          router.sh(`
            nft flush chain ip nat outgoing
            nft add rule ip nat outgoing oifname eth0 meta l4proto udp masquerade ${ports}
            conntrack -F 2>/dev/null`);
        }
      },
    },
  };
}

/** One end with interfaces in two homes, of which it uses one at a time; the other end on the Internet. */
export async function withTwoInterfaces(
  lab: Lab,
  { pairs = 1, awayMs = 60_000 }: Extent = {},
  nats: readonly [HomeNat, HomeNat] = ['port-restricted', 'port-restricted'],
): Promise<Scene<'otherInterface' | 'otherRoute' | 'interfaceGone'>> {
  const { internet, network } = await open(lab);
  const made = await times(pairs, async (i) => {
    const [first, second] = nats.map((nat, k) => home(lab, internet, 20 + 2 * i + k, nat).lan);
    const host = lab.host(`a${i}`, first!);
    second!.plug(host, 'eth1', { v4: second!.gateway.v4!.replace(/1$/, '9'), v6: null });
    host.sh('ip link set eth1 down');
    const other = lab.host(`b${i}`, internet, { v4: `192.0.2.${20 + i}` });
    const pair = await Promise.all([network.addNode(host), network.addNode(other)]);
    return { pair, host, gateways: [first!.gateway.v4, second!.gateway.v4] };
  });
  const connect = (use: number): Cause =>
    together(
      made.map(({ host, gateways }) => () => {
        host.sh(`ip link set eth${use} up; ip route add default via ${gateways[use]} dev eth${use}`);
      }),
    );
  const disconnect = (use: number): Cause =>
    together(
      made.map(
        ({ host }) =>
          () =>
            void host.sh(`ip link set eth${use} down`),
      ),
    );
  let used = 0;
  return {
    internet,
    network,
    pairs: made.map(({ pair }) => pair),
    path: nats.includes('blocked') ? null : 'direct',
    causes: {
      otherInterface: async (run) => {
        await disconnect(used)(run);
        used = 1 - used;
        await connect(used)(run);
      },
      // Both stay up; the routes that were taken before stay as well, as worse ones.
      otherRoute: (run) => {
        used = 1 - used;
        for (const { host, gateways } of made) {
          host.sh(`
            ip link set eth${used} up
            ip route add default via ${gateways[used]} dev eth${used} metric ${1_000 - run}
            ip route delete default metric 0 2>/dev/null || true`);
        }
      },
      interfaceGone: async (run) => {
        await disconnect(used)(run);
        await pause(awayMs);
        await connect(used)(run);
      },
    },
  };
}

/** One end with an IPv4 network on one interface and an IPv6 network on the other, of which it uses one at a time. */
export async function inTwoFamilies(lab: Lab): Promise<Scene<'otherFamily'>> {
  const { internet, network } = await open(lab);
  const host = lab.host('a', internet, { v4: '192.0.2.11' });
  const { v6 } = internet.attach(host, 'eth1', { v6: '2001:db8:a::11' });
  host.sh('ip link set eth1 down');
  const other = lab.host('b', internet, { v4: '192.0.2.12', v6: '2001:db8:b::12' });
  const pair = await Promise.all([network.addNode(host), network.addNode(other)]);
  let family = 4;
  return {
    internet,
    network,
    pairs: [pair],
    path: 'direct',
    causes: {
      otherFamily: () => {
        host.sh(
          family === 4
            ? `ip link set eth0 down; ip link set eth1 up
               ip -6 address replace ${v6}/128 dev eth1
               ip -6 route add default via fe80::1 dev eth1`
            : `ip link set eth1 down; ip link set eth0 up
               ip route add 192.0.2.1 dev eth0 scope link
               ip route add default via 192.0.2.1`,
        );
        family = 10 - family;
      },
    },
  };
}

/** Both ends on the Internet. */
export async function inPublic(
  lab: Lab,
  { pairs = 1, awayMs = 60_000 }: Extent = {},
  flags: readonly string[] = [],
): Promise<Scene<'blackHole' | 'blackHoleEnds' | 'suspended' | 'cloudGone' | 'newKeys'>> {
  const { internet, network } = await open(lab);
  const made = await times(pairs, (i) => {
    const end = (name: string, n: number): Promise<Node> =>
      network.addNode(lab.host(name, internet, { v4: `192.0.2.${n}` }), name, flags);
    return Promise.all([end(`a${i}`, 20 + 2 * i), end(`b${i}`, 21 + 2 * i)]);
  });
  const epoch = async ([a, b]: Pair): Promise<number> => Number((await a.peer(b))?.epoch);
  return {
    internet,
    network,
    pairs: made,
    path: 'direct',
    causes: {
      blackHole: () => {
        internet.namespace.nft(`
          table inet hole {
            chain forward {
              type filter hook forward priority filter;
              ip saddr 192.0.2.0/24 ip daddr 192.0.2.0/24 drop
            }
          }`);
      },
      blackHoleEnds: () => void internet.namespace.sh('nft delete table inet hole'),
      suspended: async () => {
        for (const [, { daemon }] of made) daemon.signal('SIGSTOP');
        await pause(awayMs);
        for (const [, { daemon }] of made) daemon.signal('SIGCONT');
      },
      cloudGone: async () => {
        network.service.signal('SIGKILL');
        await network.service.exited;
        await pause(awayMs);
        await network.restart();
      },
      newKeys: together(
        made.map((pair) => async () => {
          const before = await epoch(pair);
          const isNew = async (): Promise<boolean> => (await epoch(pair)) !== before;
          await until(isNew, { what: 'new keys', timeoutMs: 180_000, intervalMs: 200 });
        }),
      ),
    },
  };
}

/** Both ends behind symmetric NATs, with two TRSs near and one farther away. */
export async function relayed(lab: Lab): Promise<Scene<'relayKilled' | 'relayVanishes' | 'relayReturns'>> {
  const internet = lab.internet();
  // Farther from both than the other ones.
  const cable = new SlowCable(lab, 'far');
  const cloud = lab.host('cloud', internet, { v4: '198.51.100.10', through: cable });
  await cable.set({ delayMs: 15 });
  const network = await Network.start(lab, cloud);
  const near = await times(2, (i) =>
    network.addService('trs', `near${i}`, lab.host(`near${i}`, internet, { v4: `203.0.113.${10 + i}` })),
  );
  const pair = await times(2, (i) => network.addNode(lab.host('ab'[i]!, home(lab, internet, 20 + i, 'symmetric').lan)));
  for (const node of pair) {
    // Looking at the NAT measures the relays as well.
    const measured = async (): Promise<boolean> => (await node.status()).natType !== null;
    await until(measured, { what: `${node.deviceId} to measure the relays` });
  }
  const [a, b] = pair as [Node, Node];
  const used = async (): Promise<Service> => {
    const { endpoint } = await a.reaches(b, 'relay');
    const service = near.find(({ host }) => endpoint?.startsWith(`${host.addresses.v4}:`));
    if (service === undefined) throw new Error(`${endpoint} is no near relay`);
    return service;
  };
  let gone: Service | null = null;
  return {
    internet,
    network,
    pairs: [[a, b]],
    path: 'relay',
    causes: {
      relayKilled: async () => {
        gone = await used();
        gone.program.signal('SIGKILL');
      },
      relayVanishes: async () => {
        gone = await used();
        gone.host.nft(`
          table inet gone {
            chain input {
              type filter hook input priority filter; policy drop;
            }
          }`);
      },
      relayReturns: async () => {
        if (gone?.program.exit === null) gone.host.sh('nft delete table inet gone');
        else await gone?.start();
      },
    },
  };
}
