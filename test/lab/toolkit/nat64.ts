/** Debian's tayga in the router of a network that has IPv6 alone, and a DNS64, or advertisements of its prefix. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Host, Lab } from './lab.ts';
import type { Namespace } from './namespace.ts';
import type { Program } from './program.ts';
import type { Internet } from './segments.ts';

const nameServer = fileURLToPath(new URL('./name-server.ts', import.meta.url));
const advertiser = fileURLToPath(new URL('./nat64-advertiser.ts', import.meta.url));

/** The well-known prefix is not for addresses such as those for documentation (RFC 6052 section 3.1). */
export const NAT64_PREFIX = '2001:db8:64:64::';

/** Network `n`, at most 15, with one host, whose name server is the router; `advertised`: which tells nothing of the NAT64. */
export class Nat64Network {
  readonly host: Host;
  readonly router: Namespace;
  readonly #program: Program;
  readonly #dns: Program;
  /** Takes another lifetime (s) in each line. */
  readonly advertiser: Program | null;
  readonly #nameServer: string;

  constructor(lab: Lab, internet: Internet, n: number, advertised = false) {
    const inside = lab.lan(`nat64-${n}-lan`, { subnet6: `2001:db8:6${n}::/64` });
    const [v4, pool] = [`192.0.2.${200 + n}`, `203.0.113.${16 * n}/28`];
    const router = lab.router(`nat64-${n}`, { outside: internet, inside, nat: 'none', v4, v6: `2001:db8:6${n}:1::1` });
    internet.route(pool, v4);
    const directory = join(lab.directory, `nat64-${n}`);
    mkdirSync(directory);
    const config = join(directory, 'tayga.conf');
    writeFileSync(
      config,
      `tun-device nat64\nipv4-addr 203.0.113.${16 * n + 1}\nprefix ${NAT64_PREFIX}/96\ndynamic-pool ${pool}\ndata-dir ${directory}\n`,
    );
    router.sh(`
      /usr/sbin/tayga --config ${config} --mktun
      ip link set nat64 up
      ip route add ${pool} dev nat64
      ip -6 route add ${NAT64_PREFIX}/96 dev nat64`);
    this.#program = router.spawn([
      '/usr/sbin/tayga',
      '--config',
      config,
      '--nodetach',
      '--pidfile',
      join(directory, 'pid'),
    ]);
    this.#nameServer = String(inside.gateway.v6);
    this.#dns = router.spawn([process.execPath, nameServer, this.#nameServer, '', advertised ? 'none' : NAT64_PREFIX]);
    const [, linkLocal = ''] = /inet6 (fe80:[^/]+)/.exec(router.sh('ip -6 address show dev eth1 scope link')) ?? [];
    const told = [advertiser, 'eth1', linkLocal, `${NAT64_PREFIX}/96`, '1800'];
    this.advertiser = advertised ? router.spawn([process.execPath, ...told]) : null;
    this.router = router;
    this.host = lab.host(`six-${n}`, inside);
  }

  /** Once there is a node on the host, which begins without name servers. */
  async ready(): Promise<void> {
    await this.#dns.output(/^ready$/m);
    await this.advertiser?.output(/^ready$/m);
    this.host.resolver(`nameserver ${this.#nameServer}\n`);
    if (this.#program.exit !== null) throw new Error(this.#program.report());
  }
}
