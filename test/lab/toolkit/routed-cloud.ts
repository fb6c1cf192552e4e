/**
 * A cloud of replicas as the thesis has it: hosts that all carry the service addresses, announced by BGP to a router that
 * spreads flows over them (ECMP) and leaves source addresses alone. Every host runs AS, NMS and TRS; PostgreSQL and Redis
 * are real and reached over Unix sockets, which have no place in the network and so no part in its failures.
 */

import { appendFileSync, chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type PostgresServer, startPostgres } from '../../store/postgres-server.ts';
import { type RedisServer, startRedis } from '../../store/redis-server.ts';
import { until } from './command.ts';
import type { Host, Lab } from './lab.ts';
import type { Namespace } from './namespace.ts';
import { Network } from './network.ts';
import type { Program } from './program.ts';
import type { Internet } from './segments.ts';

export const service4 = '203.0.113.10';
export const service6 = '2001:db8:ff::10';
const outer = { v4: '192.0.2.2', v6: '2001:db8:e::2' };
const subnet = { subnet4: '198.51.100.0/24', subnet6: '2001:db8:51::/64' };
const AS_NUMBER = 65_000;

const supervisor = fileURLToPath(new URL('./supervise.sh', import.meta.url));
const roles = ['trs', 'nms', 'as'] as const;
type Role = (typeof roles)[number];

/** One of the hosts: what runs on it, and whether the router sends it anything. */
export class Replica {
  readonly host: Host;
  readonly #lab: Lab;
  readonly #network: Network;
  readonly #control: string;
  readonly #hook: string;
  #services: Program[] = [];

  constructor(lab: Lab, network: Network, host: Host) {
    this.#lab = lab;
    this.#network = network;
    this.host = host;
    this.#control = join(lab.directory, `${host.title}.ctl`);
    this.#hook = join(lab.directory, `${host.title}-leave`);
    writeFileSync(this.#hook, `#!/bin/sh\nexec birdc -s ${this.#control} disable '"service*"'\n`);
    chmodSync(this.#hook, 0o755);
  }

  /** BGP, without anything to announce yet. */
  route(router: Record<'v4' | 'v6', string>): void {
    const { v4, v6 } = this.host.addresses;
    // An NMS asks the TRS of another host from the address that this one has as well.
    this.host.sh(`
      ip address add ${service4}/32 dev lo; ip -6 address add ${service6}/128 dev lo
      echo 1 >/proc/sys/net/ipv4/conf/all/accept_local`);
    startBird(
      this.#lab,
      this.host,
      `router id ${v4};
      protocol device { scan time 1; }
      protocol static service4 { disabled; ipv4; route ${service4}/32 via "lo"; }
      protocol static service6 { disabled; ipv6; route ${service6}/128 via "lo"; }
      ${session('router4', 4, v4!, router.v4, 'import none; export all; next hop self;')}
      ${session('router6', 6, v6!, router.v6, 'import none; export all; next hop self;')}`,
    );
  }

  /** Starts what the host runs and lets the router know. */
  async start(grace = 5): Promise<void> {
    const { v4, v6 } = this.host.addresses;
    const own = { trs: ['--address', v4!, '--address6', v6!], nms: [], as: [] };
    const file = { trs: 'trs.yaml', nms: 'nms.yaml', as: 'cloud.yaml' };
    const starting = roles.map(async (role: Role) => {
      const program = this.host.spawn([
        ...['sh', supervisor, this.#control, this.#network.program, role, 'serve'],
        ...['--config', join(this.#network.directory, file[role]), ...own[role]],
        ...['--grace', String(grace), '--drain-hook', this.#hook],
      ]);
      await program.output(/^ready/m);
      return program;
    });
    this.#services = await Promise.all(starting);
    this.host.sh(`birdc -s ${this.#control} enable '"service*"' >/dev/null`);
  }

  /** SIGTERM to everything; resolves once it has ended, with what it ended with. */
  async stop(): Promise<(number | null)[]> {
    for (const pid of this.#pids) process.kill(pid, 'SIGTERM');
    return Promise.all(this.#services.map(async (service) => (await service.ended()).code));
  }

  /** `kill -9` to everything. */
  async kill(): Promise<void> {
    for (const pid of this.#pids) process.kill(pid, 'SIGKILL');
    await Promise.all(this.#services.map((service) => service.ended()));
  }

  /** Samples of a metric of one role, added up. */
  async metric(role: Role, name: string): Promise<number> {
    const port = { as: 7450, nms: 7451, trs: 7452 }[role];
    const text = await this.host.run(['curl', '-sf', `http://127.0.0.1:${port}/metrics`]);
    const samples = [...text.matchAll(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'gm'))];
    return samples.reduce((sum, [, value]) => sum + Number(value), 0);
  }

  get #pids(): number[] {
    return this.#services.map(({ stdout }) => Number(/^pid (\d+)$/m.exec(stdout)![1]));
  }
}

export class RoutedCloud {
  readonly network: Network;
  readonly internet: Internet;
  readonly replicas: readonly Replica[];
  readonly postgres: PostgresServer;
  readonly redis: RedisServer;
  readonly #router: Namespace;

  private constructor(
    parts: Pick<RoutedCloud, 'network' | 'internet' | 'replicas' | 'postgres' | 'redis'>,
    router: Namespace,
  ) {
    this.network = parts.network;
    this.internet = parts.internet;
    this.replicas = parts.replicas;
    this.postgres = parts.postgres;
    this.redis = parts.redis;
    this.#router = router;
  }

  static async open(lab: Lab, count = 3): Promise<RoutedCloud> {
    const [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
    try {
      const internet = lab.internet();
      const core = lab.lan('core', subnet);
      const router = lab.router('edge', { outside: internet, inside: core, nat: 'none', ...outer });
      router.sh(`
        echo 1 >/proc/sys/net/ipv4/fib_multipath_hash_policy
        echo 1 >/proc/sys/net/ipv6/fib_multipath_hash_policy`);
      internet.route(`${service4}/32`, outer.v4);
      internet.route(`${service6}/128`, outer.v6);
      const hosts = Array.from({ length: count }, (_, i) => lab.host(`host${i + 1}`, core));

      const addresses = { v4: service4, v6: service6 };
      const network = await Network.make(lab, Object.assign(lab.namespace('office'), { addresses }));
      const url = await postgres.freshUrl();
      const migrate = [network.program, 'cloud', 'migrate', '--dir', network.directory];
      await network.cloud.run(migrate, { env: { CYPHONIC_TO: url } });
      for (const file of ['nms.yaml', 'trs.yaml']) {
        appendFileSync(join(network.directory, file), `shared: ${redis.url}\n`);
      }

      const replicas = hosts.map((host) => new Replica(lab, network, host));
      const gateway = core.gateway as { v4: string; v6: string };
      const sessions = hosts.map(
        ({ addresses: { v4, v6 } }, i) =>
          session(`host${i}v4`, 4, gateway.v4, v4!, 'import all; export none;') +
          session(`host${i}v6`, 6, gateway.v6, v6!, 'import all; export none;'),
      );
      startBird(
        lab,
        router,
        `router id ${outer.v4};
        protocol device { scan time 1; }
        protocol direct { ipv4; ipv6; interface "eth1"; }
        protocol kernel kernel4 { merge paths yes; ipv4 { import none; export where source = RTS_BGP; }; }
        protocol kernel kernel6 { merge paths yes; ipv6 { import none; export where source = RTS_BGP; }; }
        ${sessions.join('\n')}`,
      );
      for (const replica of replicas) replica.route(gateway);
      const cloud = new RoutedCloud({ network, internet, replicas, postgres, redis }, router);
      await Promise.all(replicas.map((replica) => replica.start()));
      await cloud.spreads(replicas);
      return cloud;
    } catch (error) {
      await Promise.all([postgres.stop(), redis.stop()]);
      throw error;
    }
  }

  /** Waits until the router spreads both families over just these. */
  async spreads(over: readonly Replica[]): Promise<void> {
    const routes = (): string[] =>
      [`ip route show ${service4}`, `ip -6 route show ${service6}`].map((command) => this.#router.sh(command));
    const complete = (text: string): boolean =>
      this.replicas.every(({ host: { addresses } }) => {
        const is = text.includes(`via ${addresses.v4} `) || text.includes(`via ${addresses.v6} `);
        return is === over.some(({ host }) => host.addresses === addresses);
      });
    await until(() => routes().every(complete), { what: `routes over ${over.map(({ host }) => host.title)}` });
  }

  async close(): Promise<void> {
    await Promise.all([this.postgres.stop(), this.redis.stop()]);
  }
}

function session(name: string, family: 4 | 6, local: string, neighbor: string, policy: string): string {
  return `protocol bgp ${name} {
    local ${local} as ${AS_NUMBER}; neighbor ${neighbor} as ${AS_NUMBER};
    connect delay time 1; connect retry time 1; error wait time 1, 2; hold time 9; direct;
    ipv${family} { ${policy} };
  }\n`;
}

function startBird(lab: Lab, namespace: Namespace, configuration: string): void {
  const base = join(lab.directory, namespace.title);
  writeFileSync(`${base}.conf`, configuration);
  namespace.spawn(['bird', '-f', '-c', `${base}.conf`, '-s', `${base}.ctl`, '-P', `${base}.pid`]);
}
