import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import type { PathTraffic } from '../../src/lib/path.ts';
import { real, virtual } from '../pipeline/pair.ts';
import type { Host } from './toolkit/lab.ts';
import { DATAGRAMS_A_BUFFER, socketDrops } from './toolkit/socket-drops.ts';
import { describeLab, inLab } from './toolkit/suite.ts';
import { datagrams, stream } from './toolkit/traffic.ts';

const floodFile = fileURLToPath(new URL('./toolkit/flood.ts', import.meta.url));
const file = fileURLToPath(new URL('./toolkit/data-plane.ts', import.meta.url));

type Counted = { readonly drops: Record<string, number>; readonly traffic: PathTraffic };

async function startPlane(host: Host, number: number, options: object): Promise<{ stop(): Promise<Counted> }> {
  const program = host.spawn([process.execPath, file, String(number), JSON.stringify(options)]);
  await program.output(/^ready$/m);
  return {
    async stop() {
      expect(await program.stop()).toEqual({ code: 0, signal: null });
      return JSON.parse(program.stdout.replace('ready', ''));
    },
  };
}

const none = { without: ['tunTcp', 'tunUdp', 'udpSegment', 'udpGro'] };

describeLab('two data planes with keys installed by hand', () => {
  it.each([
    ['with every offload, by one thread and by two', { ioThreads: 1 }, { ioThreads: 2 }],
    ['without any, by one thread and by two', { ...none, ioThreads: 2 }, { ...none, ioThreads: 1 }],
    [
      'with offloads on one side and checksums left to the receiver',
      { partialChecksum: true },
      { ...none, partialChecksum: true },
    ],
    ['with cbc-md5', { suite: 1 }, { suite: 1 }],
    ['with workers', { workers: 2, partialChecksum: true }, { workers: 1, partialChecksum: true }],
    ['with workers and cbc-md5', { workers: 2, suite: 1 }, { workers: 2, suite: 1 }],
    ['with workers and without offload', { ...none, workers: 2 }, { ...none, workers: 2 }],
  ])('carry ICMP, TCP and UDP both ways over IPv4 and IPv6, %s', (title, first, second) =>
    inLab(title, async (lab) => {
      const internet = lab.internet();
      const hosts = [1, 2].map((n) => lab.host(`host${n}`, internet, { v4: real(n).address })) as [Host, Host];
      const planes = await Promise.all([startPlane(hosts[0], 1, first), startPlane(hosts[1], 2, second)]);
      for (const family of ['vip4', 'vip6'] as const) {
        const [here, there] = [virtual(1)[family], virtual(2)[family]];
        await hosts[0].run(['ping', '-c', '20', '-i', '0.01', '-W', '2', there]);
        // Larger than the interface's MTU: in fragments.
        await hosts[0].run(['ping', '-c', '3', '-i', '0.01', '-W', '2', '-s', '5000', there]);
        for (const [from, to, address] of [
          [hosts[0], hosts[1], there],
          [hosts[1], hosts[0], here],
        ] as const) {
          const { sent, received } = await stream(from, to, address, { mebibytes: 8 });
          expect(received).toBe(sent);
        }
        await datagrams(hosts[0], here, hosts[1], there);
      }
      const [dropsA, dropsB] = hosts.map(socketDrops);
      const [a, b] = await Promise.all(planes.map((plane) => plane.stop()));
      for (const [from, to, dropped] of [
        [a!.traffic, b!.traffic, dropsB!],
        [b!.traffic, a!.traffic, dropsA!],
      ] as const) {
        expect(from).toMatchObject({ txDropped: 0, rxDropped: 0, rxReplayed: 0, rxRejected: 0 });
        if (dropped === 0) {
          expect([to.rxPackets, to.rxBytes]).toEqual([from.txPackets, from.txBytes]);
          continue;
        }
        // Nothing else is missing than what the kernel says that it dropped.
        const lost = from.txPackets - to.rxPackets;
        expect(lost).toBeGreaterThanOrEqual(dropped);
        expect(lost).toBeLessThanOrEqual(DATAGRAMS_A_BUFFER * dropped);
      }
    }),
  );

  it.each([0, 2])(
    'carry everything over a path that carries less, without a single outer fragment, with %i workers',
    (workers) =>
      inLab('small outer MTU', async (lab) => {
        const internet = lab.internet();
        const hosts = [1, 2].map((n) => lab.host(`host${n}`, internet, { v4: real(n).address })) as [Host, Host];
        for (const host of hosts) host.sh('ip link set eth0 mtu 1300');
        internet.namespace.sh('for link in link1 link2; do ip link set $link mtu 1300; done');
        const narrow = { workers, mtu: 1_300 - 28 - 52 };
        const planes = await Promise.all([startPlane(hosts[0], 1, narrow), startPlane(hosts[1], 2, narrow)]);
        for (const family of ['vip4', 'vip6'] as const) {
          const { sent, received } = await stream(hosts[0], hosts[1], virtual(2)[family], { mebibytes: 8 });
          expect(received).toBe(sent);
        }
        // IPv4 without DF, and IPv6 at its minimum, go in two capsules each.
        await hosts[0].run(['ping', '-c', '20', '-i', '0.01', '-W', '2', '-M', 'dont', '-s', '1372', virtual(2).vip4]);
        await hosts[0].run(['ping', '-c', '20', '-i', '0.01', '-W', '2', '-s', '1232', virtual(2).vip6]);
        const [a, b] = await Promise.all(planes.map((plane) => plane.stop()));
        expect(a!.drops['not-sent']).toBeUndefined();
        expect(b!.traffic).toMatchObject({ rxDropped: 0, rxReplayed: 0, rxRejected: 0 });
        for (const host of hosts) expect(host.sh('nstat -asz IpFragCreates')).toMatch(/IpFragCreates +0 /);
      }),
  );

  it.each(['random', 'plausible'])('keep talking during a flood of %s datagrams', (kind) =>
    inLab(`flood of ${kind} datagrams`, async (lab) => {
      const internet = lab.internet();
      const hosts = [1, 2].map((n) => lab.host(`host${n}`, internet, { v4: real(n).address })) as [Host, Host];
      const attacker = lab.host('attacker', internet, { v4: real(66).address });
      const planes = await Promise.all([startPlane(hosts[0], 1, {}), startPlane(hosts[1], 2, {})]);
      const flood = attacker.run([process.execPath, floodFile, `${real(2).address}:7444`, '3', kind]);
      const ping = await hosts[0].run(['ping', '-q', '-c', '300', '-i', '0.01', '-W', '10', virtual(2).vip4]);
      const lost = Number(/([\d.]+)% packet loss/.exec(ping)?.[1]);
      const sent = Number(await flood);
      expect(sent).toBeGreaterThan(10_000);
      // What a full socket drops on a busy machine is nobody's choice; nothing else may be missing.
      const refused = (100 * socketDrops(hosts[1])) / sent;
      expect(lost).toBeLessThanOrEqual(1 + 1.5 * refused);
      const [, b] = await Promise.all(planes.map((plane) => plane.stop()));
      const dropped = Object.values(b!.drops).reduce((sum, count) => sum + count, 0);
      expect(dropped).toBeGreaterThan(10_000);
    }),
  );
});
