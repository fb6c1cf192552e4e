/**
 * Two replicas of the NMS behind a balancer that translates destinations, as the Services of a cluster do: what a node
 * sends leads to one of them, and what another one sends to it by itself comes from elsewhere and reaches nobody.
 */

import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type PostgresServer, startPostgres } from '../store/postgres-server.ts';
import { type RedisServer, startRedis } from '../store/redis-server.ts';
import { type Host, Lab } from './toolkit/lab.ts';
import type { Namespace } from './toolkit/namespace.ts';
import { Network, type Node } from './toolkit/network.ts';
import type { Program } from './toolkit/program.ts';
import { describeLab } from './toolkit/suite.ts';

const service = '203.0.113.10';
const homes = ['192.0.2.30', '192.0.2.31'];
const pods = ['10.96.0.2', '10.96.0.3'];

/** A home's flows lead to one NMS each, everything else to the first pod; what pods begin themselves is translated too. */
function balance(router: Namespace, isSourceKept: boolean): void {
  router.nft(`
    table ip balancer
    delete table ip balancer
    table ip balancer {
      chain in {
        type nat hook prerouting priority dstnat;
        ip daddr ${service} udp dport 7441 dnat to ip saddr map { ${homes.map((home, i) => `${home} : ${pods[i]}`).join(', ')} }
        ip daddr ${service} dnat to ${pods[0]}
      }
      chain out {
        type nat hook postrouting priority srcnat;
        oifname "eth0" ip saddr 10.96.0.0/24 masquerade
        oifname "eth1" ${isSourceKept ? 'ip saddr 10.96.0.0/24' : ''} masquerade
      }
    }`);
}

describeLab('replicas behind a balancer', () => {
  let lab: Lab;
  let stores: readonly [PostgresServer, RedisServer];
  let network: Network;
  let balancer: Namespace;
  let hosts: readonly Host[];
  let running: readonly Program[] = [];
  let a: Node;
  let b: Node;

  const config = (name: string): string => join(network.directory, name);

  /** Both NMSs and both nodes anew: nothing is known of before. */
  async function restart(behindBalancer: boolean, flags: readonly string[] = []): Promise<void> {
    for (const program of running) program.signal('SIGTERM');
    await Promise.all(running.map((program) => program.ended()));
    await stores[1].command('FLUSHALL');
    for (const { state } of [a, b]) rmSync(join(state, 'peers'), { force: true });
    const before = readFileSync(config('nms.yaml'), 'utf8').replace(/^behind-balancer.*\n/m, '');
    writeFileSync(config('nms.yaml'), `${before}behind-balancer: ${behindBalancer}\n`);
    const services = hosts.map((host) => host.spawn([network.program, 'nms', 'serve', '--config', config('nms.yaml')]));
    running = services;
    await Promise.all(services.map((program) => program.output(/^ready/m)));
    await Promise.all([a, b].map((node) => node.up(flags)));
    running = [...services, a.daemon, b.daemon];
  }

  const mapped = async (): Promise<string[]> => (await Promise.all([a.status(), b.status()])).flatMap((s) => s.mapped);

  beforeAll(async () => {
    lab = new Lab('balancer');
    stores = await Promise.all([startPostgres(), startRedis()]);
    const internet = lab.internet();
    const inside = lab.lan('pods', { subnet4: '10.96.0.0/24' });
    balancer = lab.router('balancer', { outside: internet, inside, nat: 'none', v4: '192.0.2.2' });
    internet.route(`${service}/32`, '192.0.2.2');
    hosts = pods.map((_, i) => lab.host(`pod${i}`, inside));
    network = await Network.make(lab, Object.assign(lab.namespace('office'), { addresses: { v4: service, v6: null } }));
    const url = await stores[0].freshUrl();
    const migrate = [network.program, 'cloud', 'migrate', '--dir', network.directory];
    await network.cloud.run(migrate, { env: { CYPHONIC_TO: url } });
    appendFileSync(config('nms.yaml'), `shared: ${stores[1].url}\n`);
    for (const [role, file] of [
      ['as', 'cloud.yaml'],
      ['trs', 'trs.yaml'],
    ]) {
      await hosts[0]!.spawn([network.program, role!, 'serve', '--config', config(file!)]).output(/^ready/m);
    }
    [a, b] = (await Promise.all(
      homes.map(async (v4, i) => {
        const home = lab.lan(`home${i}`, { subnet4: `10.${20 + i}.0.0/24` });
        lab.router(`nat${i}`, { outside: internet, inside: home, nat: 'port-restricted', v4 });
        const host = lab.host(`n${i}`, home);
        return network.node(host, `n${i}`, await network.addDevice(`n${i}`));
      }),
    )) as [Node, Node];
  });

  afterAll(async () => {
    await lab?.close();
    await Promise.all((stores ?? []).map((store) => store.stop()));
  });

  it('reach only the nodes they hear, unless they are told of it', async () => {
    balance(balancer, true);
    await restart(false);
    expect(await mapped()).toEqual(homes.map((home) => expect.stringMatching(`^${home}:`)));
    await expect(a.systemPing(b.fqdn)).rejects.toThrow();
  });

  it('let the one that hears a node speak for them with `behind-balancer`, and see true addresses', async () => {
    await restart(true);
    expect(await mapped()).toEqual(homes.map((home) => expect.stringMatching(`^${home}:`)));
    await a.systemPing(b.fqdn);
    await a.reaches(b, 'direct');
  });

  it('see no mapped address where sources are rewritten as well: pairs have the relay', async () => {
    balance(balancer, false);
    // Another port: the balancer remembers flows of before.
    await restart(true, ['--port', '7600']);
    expect(await mapped()).toEqual([expect.stringMatching('^10.96.0.1:'), expect.stringMatching('^10.96.0.1:')]);
    await a.systemPing(b.fqdn);
    expect(await a.peer(b)).toMatchObject({ state: 'up', path: 'relay' });
  });
});
