/** What people do with a network, by the tools they do it with: iperf3, files, many flows, on roads that lose and narrow. */

import { afterAll, beforeAll, expect, it, onTestFailed } from 'vitest';
import { succeeds } from '../support/succeeds.ts';
import { until } from './toolkit/command.ts';
import { Lab } from './toolkit/lab.ts';
import type { Node } from './toolkit/network.ts';
import { type Small, smallNetwork } from './toolkit/small.ts';
import { socketDrops } from './toolkit/socket-drops.ts';
import { describeLab } from './toolkit/suite.ts';
import { stream } from './toolkit/traffic.ts';

type Sum = { readonly bytes: number; readonly packets: number; readonly lost_packets: number };
type Report = {
  readonly end: {
    readonly sum_received?: Sum;
    readonly sum?: Sum;
    readonly streams: readonly { readonly receiver: { readonly bytes: number } }[];
  };
};

const families = ['vip4', 'vip6'] as const;

describeLab('two nodes', () => {
  let lab: Lab;
  let small: Small<'a' | 'b'>;
  let a: Node;
  let b: Node;
  const to = { vip4: '', vip6: '' };
  let ports = 5200;

  beforeAll(async () => {
    lab = new Lab('real-tools');
    small = await smallNetwork(lab, ['a', 'b']);
    ({ a, b } = small.nodes);
    await a.systemPing(b.fqdn);
    await a.reaches(b, 'direct');
    const { vip4, vip6 } = await b.status();
    Object.assign(to, { vip4, vip6 });
  });
  afterAll(() => lab?.close());

  async function iperf(address: string, flags: readonly string[]): Promise<Report> {
    onTestFailed(() => console.error(lab.report()));
    const port = String(ports++);
    const server = b.host.spawn(['iperf3', '-s', '-1', '-B', address, '-p', port, '--forceflush'], { input: '' });
    await server.output(/Server listening/);
    const report = JSON.parse(await a.host.run(['iperf3', '-J', '-c', address, '-p', port, ...flags]));
    await server.done();
    return report as Report;
  }

  /** Datagrams that the kernel of b dropped as the application did not fetch them in time: those are not ours to lose. */
  function unfetched(): number {
    const full = b.host.sh('nstat -asz UdpRcvbufErrors Udp6RcvbufErrors').matchAll(/RcvbufErrors +(\d+)/g);
    return [...full].reduce((sum, [, count]) => sum + Number(count), 0) - socketDrops(b.host);
  }

  async function expectDatagrams(address: string, length: number): Promise<void> {
    const before = unfetched();
    const { sum } = (await iperf(address, ['-u', '-b', '20M', '-k', '200', '-l', String(length)])).end;
    expect(sum?.packets).toBeGreaterThan(0);
    expect(Number(sum?.lost_packets) - (unfetched() - before)).toBeLessThanOrEqual(Number(sum?.packets) / 10);
  }

  it.each(families)('carry TCP both ways and UDP of several sizes, by iperf3, over %s', async (family) => {
    for (const flags of [[], ['-R']]) {
      const { end } = await iperf(to[family], ['-n', '30M', ...flags]);
      expect(end.sum_received?.bytes).toBeGreaterThan(20 << 20);
    }
    // 9,000: in inner fragments.
    for (const length of [16, 1_200, 9_000]) await expectDatagrams(to[family], length);
  });

  it('carry 50 flows of both families at once, none of which starves, and two files among them unchanged', async () => {
    const [four, six, ...files] = await Promise.all([
      iperf(to.vip4, ['-P', '25', '-t', '2']),
      iperf(to.vip6, ['-P', '25', '-t', '2']),
      ...families.map((family, i) => stream(a.host, b.host, to[family], { mebibytes: 8, port: 5100 + i })),
    ]);
    for (const { end } of [four, six]) {
      expect(end.streams).toHaveLength(25);
      for (const { receiver } of end.streams) expect(receiver.bytes).toBeGreaterThan(0);
    }
    for (const { sent, received } of files) expect(received).toBe(sent);
  });

  it('carry a file unchanged while every hundredth outer datagram is lost', async () => {
    onTestFailed(() => console.error(lab.report()));
    const { namespace } = small.internet;
    namespace.nft(`
      table ip lossy {
        counter lost { }
        chain forward {
          type filter hook forward priority filter
          udp dport 7444 numgen inc mod 100 == 50 counter name lost drop
        }
      }`);
    const { sent, received } = await stream(a.host, b.host, to.vip4, { mebibytes: 24 });
    const lost = Number(/packets (\d+)/.exec(namespace.sh('nft list counter ip lossy lost'))?.[1]);
    namespace.sh('nft delete table ip lossy');
    expect(received).toBe(sent);
    expect(lost).toBeGreaterThan(0);
  });

  it('carry on when the road between them becomes narrower than what they send', async () => {
    onTestFailed(() => console.error(lab.report()));
    small.internet.namespace.sh(`
      for address in 192.0.2.11 192.0.2.12; do
        ip route change $address $(ip route show $address | sed 's/.*\\(dev [^ ]*\\).*/\\1/') mtu 1300
      done`);
    for (const family of families) {
      const { sent, received } = await stream(a.host, b.host, to[family], { mebibytes: 4 });
      expect(received).toBe(sent);
      // The first one is answered with what the path carries.
      const ping = ['ping', '-c', '1', '-W', '1', '-s', '1300', to[family]];
      await until(() => succeeds(a.host.run(ping)), { what: 'a ping of 1,300 octets' });
      await expectDatagrams(to[family], 1_340);
    }
  });

  it('have counted nothing as refused, replayed or unwritten in the end', async () => {
    for (const [node, other] of [
      [a, b],
      [b, a],
    ] as const) {
      const peer = await node.peer(other);
      expect(peer?.rx).toMatchObject({ dropped: 0, replayed: 0, rejected: 0 });
    }
  });
});
