import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Kind, LoadReport } from './toolkit/cloud-load.ts';
import { until } from './toolkit/command.ts';
import { Lab } from './toolkit/lab.ts';
import { all, Load } from './toolkit/load.ts';
import { type NatType, noUdpRules } from './toolkit/nat.ts';
import type { Node } from './toolkit/network.ts';
import { type Replica, RoutedCloud } from './toolkit/routed-cloud.ts';
import { Pinger } from './toolkit/small.ts';
import { describeLab } from './toolkit/suite.ts';

/** Keep Alives come by chance, 225 in this time: fewer than there are nodes, of which each is heard in turn, never. */
const HEAR_ALL_S = 3;

describeLab('three replicas of everything behind a router', () => {
  let lab: Lab;
  let cloud: RoutedCloud;
  let load: Load;
  /** Two that reach each other directly, and two that need a relay. */
  const nodes: Node[] = [];
  let pings: { readonly direct: Pinger; readonly relayed: Pinger };

  beforeAll(async () => {
    lab = new Lab('replicas');
    try {
      cloud = await RoutedCloud.open(lab);
      load = new Load(lab, cloud, { nodes: 120, rate: 75 });
      const nats: NatType[] = ['port-restricted', 'port-restricted', 'symmetric', 'symmetric'];
      const starting = nats.map((nat, i) => {
        const home = lab.lan(`home${i}`, { subnet4: `10.${20 + i}.0.0/24` });
        lab.router(`nat${i}`, { outside: cloud.internet, inside: home, nat, v4: `192.0.2.${30 + i}` });
        return cloud.network.addNode(lab.host(`n${i}`, home), `n${i}`);
      });
      nodes.push(...(await Promise.all(starting)));
      const [a, b, c, d] = nodes as [Node, Node, Node, Node];
      await Promise.all([a.systemPing(b.fqdn), c.systemPing(d.fqdn)]);
      await Promise.all([a.reaches(b, 'direct'), c.reaches(d, 'relay')]);
      pings = { direct: new Pinger(a.host, b.fqdn), relayed: new Pinger(c.host, d.fqdn) };
      await load.ready();
    } catch (error) {
      console.error(lab.report());
      throw error;
    }
  });

  afterAll(async () => {
    await lab?.close();
    await cloud?.close();
  });

  /** The replica whose TRS the relayed pair uses. */
  async function relaying(): Promise<Replica> {
    const peer = await nodes[2]!.peer(nodes[3]!);
    const found = cloud.replicas.find(({ host }) => peer?.endpoint === `${host.addresses.v4}:7442`);
    return found ?? expect.unreachable(`no replica relays at ${peer?.endpoint}`);
  }

  /** Both pairs still, or again, hear each other. */
  async function pairsLive(): Promise<void> {
    const before = [pings.direct, pings.relayed].map(({ answered }) => answered.length);
    const live = (): boolean =>
      [pings.direct, pings.relayed].every(({ answered }, i) => answered.length > before[i]! + 5);
    await until(live, { what: 'answers between established pairs', timeoutMs: 9_000 });
  }

  function expectAllAnswered(report: LoadReport, kinds = all): void {
    for (const kind of kinds) {
      const { offered, answered, errors } = report[kind];
      expect({ kind, answered, errors }).toEqual({ kind, answered: offered, errors: {} });
      expect(offered).toBeGreaterThan(0);
    }
  }

  it('spreads nodes over all of them, with their source addresses intact', async () => {
    for (const [i, node] of nodes.entries()) {
      const { mapped } = await node.status();
      expect(mapped[0]).toMatch(new RegExp(`^192\\.0\\.2\\.${30 + i}:`));
    }
    const host = lab.host('six', cloud.internet, { v6: '2001:db8:b::11' });
    const six = await cloud.network.addNode(host);
    expect(await six.status()).toMatchObject({ state: 'online', mapped: ['[2001:db8:b::11]:7444'] });
    for (const replica of cloud.replicas) {
      expect(await replica.metric('nms', 'cyphonic_registrations_total')).toBeGreaterThan(10);
    }
    const passed = cloud.replicas.map((replica) => replica.metric('nms', 'cyphonic_directions_total'));
    expect((await Promise.all(passed)).reduce((a, b) => a + b)).toBeGreaterThan(0);
  });

  it('a site that blocks UDP is served over TLS, its relayed paths by the one replica that has them', async () => {
    const inside = lab.lan('shut', { subnet4: '10.30.0.0/24' });
    const router = lab.router('gate', { outside: cloud.internet, inside, nat: 'port-restricted', v4: '192.0.2.40' });
    router.nft(noUdpRules);
    const shut = await cloud.network.addNode(lab.host('shut1', inside), 'shut');
    await shut.systemPing(nodes[0]!.fqdn);
    const peer = await shut.peer(nodes[0]!);
    expect(peer).toMatchObject({ path: 'relay', transport: 'tls' });
    const own = cloud.replicas.map(({ host }) => `${host.addresses.v4}:443`);
    expect(own).toContain(peer?.endpoint);
  });

  it('one that is stopped under load fails no request and ends no path', async () => {
    const leaving = await relaying();
    let codes: unknown;
    const report = await load.during(async () => {
      codes = await leaving.stop();
    });
    expect(codes).toEqual([0, 0, 0]);
    expectAllAnswered(report);
    await pairsLive();
    await cloud.spreads(cloud.replicas.filter((replica) => replica !== leaving));
    await leaving.start();
    await cloud.spreads(cloud.replicas);
  });

  it('one that is killed under load costs retransmissions only', async () => {
    const dying = await relaying();
    const report = await load.during(() => dying.kill());
    expectAllAnswered(report);
    for (const kind of all) expect({ kind, late: report[kind].longest > 3_000 }).toEqual({ kind, late: false });
    await pairsLive();
    await dying.start();
    await cloud.spreads(cloud.replicas);
  });

  it('Redis dies and comes back empty: what is established lives on, presence is made again', async () => {
    const report = await load.during(async () => {
      await cloud.redis.crash();
      await cloud.redis.start();
      for (const replica of cloud.replicas) {
        const counted = () => replica.metric('nms', 'cyphonic_events_total\\{[^}]*event="shared-emptied"[^}]*\\}');
        await until(async () => (await counted()) > 0, { what: 'the loss to be noticed' });
      }
    });
    expectAllAnswered(report, ['registration', 'keepAlive', 'login']);
    const { offered, answered, errors } = report.direction;
    const refusals = Object.entries(errors).reduce((sum, [name, count]) => sum + (/refused/.test(name) ? count : 0), 0);
    expect(answered + refusals).toBe(offered);
    await pairsLive();
    expectAllAnswered(await load.run(['keepAlive'], HEAR_ALL_S), ['keepAlive']);
    expectAllAnswered(await load.run(['direction'], 1), ['direction']);
  });

  it('all of them are started anew one after the other, PostgreSQL and Redis among it: no pair is lost', async () => {
    const report = await load.during(
      async () => {
        for (const [i, replica] of cloud.replicas.entries()) {
          expect(await replica.stop()).toEqual([0, 0, 0]);
          await replica.start();
          await cloud.spreads(cloud.replicas);
          if (i > 0) continue;
          await Promise.all([cloud.postgres.crash(), cloud.redis.crash()]);
          await Promise.all([cloud.postgres.start(), cloud.redis.start()]);
        }
      },
      ['registration', 'keepAlive'],
      8,
    );
    expectAllAnswered(report, ['registration', 'keepAlive']);
    await pairsLive();
    // Each node is heard once more: then all know all again.
    expectAllAnswered(await load.run(['keepAlive'], HEAR_ALL_S), ['keepAlive']);
    expectAllAnswered(await load.run(['direction', 'login'], 2), ['direction', 'login']);
  });

  it('PostgreSQL dies and comes back: nodes are served meanwhile, and logged in afterwards', async () => {
    const known: readonly Kind[] = ['registration', 'keepAlive'];
    const report = await load.during(() => cloud.postgres.crash(), known, 2);
    expectAllAnswered(report, known);
    await pairsLive();
    await cloud.postgres.start();
    expectAllAnswered(await load.run(['login'], 2), ['login']);
  });
});
