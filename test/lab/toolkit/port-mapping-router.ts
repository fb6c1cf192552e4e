/** Debian's miniupnpd in a router of the laboratory: PCP, NAT-PMP and UPnP beside the router's own NAT. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatAddress } from '../../../src/lib/ip.ts';
import { until } from './command.ts';
import type { Lab } from './lab.ts';
import type { Namespace } from './namespace.ts';
import type { Program } from './program.ts';

export type RouterServices = {
  /** PCP and NAT-PMP share a switch there. */
  readonly portControl?: boolean;
  readonly upnp?: boolean;
  /** Lets nothing in by IPv6 that was not asked for. */
  readonly firewall6?: boolean;
  /** The longest life of a PCP mapping (s). */
  readonly longest?: number;
};

/** miniupnpd maps no ports of addresses that nobody can have, such as those for documentation. */
export const ROUTERS4 = '5.9.0.';

export class PortMappingRouter {
  readonly #lab: Lab;
  readonly #router: Namespace;
  #program: Program | null = null;

  constructor(lab: Lab, router: Namespace) {
    this.#lab = lab;
    this.#router = router;
  }

  async start(services: RouterServices = {}): Promise<void> {
    const { portControl = true, upnp = true, longest = 86_400, firewall6 = false } = services;
    const closed = firewall6 ? 'iifname "eth0" meta nfproto ipv6 meta l4proto udp ct state new counter drop;' : '';
    // As the package's own nft_init.sh, beside the tables that are there.
    this.#router.nft(`
      table inet upnp {
        chain forward { type filter hook forward priority 0; jump miniupnpd; ${closed} }
        chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }
        chain postrouting { type nat hook postrouting priority 90; jump postrouting_miniupnpd; }
        chain miniupnpd { }
        chain prerouting_miniupnpd { }
        chain postrouting_miniupnpd { }
      }`);
    const yes = (value: boolean): string => (value ? 'yes' : 'no');
    const file = join(this.#lab.directory, `${this.#router.title}-upnpd.conf`);
    const lines = [
      'ext_ifname=eth0',
      'listening_ip=eth1',
      'http_port=5000',
      `enable_natpmp=${yes(portControl)}`,
      `enable_upnp=${yes(upnp)}`,
      'min_lifetime=1',
      `max_lifetime=${longest}`,
      'upnp_table_name=upnp',
      'upnp_nat_table_name=upnp',
      'upnp_forward_chain=miniupnpd',
      'upnp_nat_chain=prerouting_miniupnpd',
      'upnp_nat_postrouting_chain=postrouting_miniupnpd',
      'secure_mode=yes',
      'uuid=00000000-0000-4000-8000-000000000001',
      'allow 1024-65535 0.0.0.0/0 1024-65535',
      'deny 0-65535 0.0.0.0/0 0-65535',
    ];
    writeFileSync(file, `${lines.join('\n')}\n`);
    const pid = join(this.#lab.directory, `${this.#router.title}-upnpd.pid`);
    const program = this.#router.spawn(['/usr/sbin/miniupnpd', '-d', '-f', file, '-P', pid]);
    this.#program = program;
    const what = 'miniupnpd to listen';
    await until(() => program.stderr.includes(portControl ? 'PCP traffic on port' : 'HTTP listening on'), { what });
  }

  /** What it says of itself. */
  get said(): string {
    return this.#program?.stderr ?? '';
  }

  /** As a router that loses power: no goodbye, nothing kept. */
  async crash(): Promise<void> {
    this.#program?.signal('SIGKILL');
    await this.#program?.ended();
    this.#router.sh('nft delete table inet upnp');
  }

  /** The ports of IPv6 addresses that the firewall lets through, as the kernel has them. */
  opened(): string[] {
    const rules = this.#router.sh('nft list chain inet upnp miniupnpd');
    return [...rules.matchAll(/dport (\d+) @nh,192,128 0x([\da-f]+)/g)].map(
      ([, port, address]) => `[${formatAddress(Uint8Array.fromHex(address!.padStart(32, '0')))}]:${port}`,
    );
  }

  /** The forwarded ports, as the kernel has them. */
  forwarded(): string[] {
    const rules = this.#router.sh('nft list chain inet upnp prerouting_miniupnpd');
    return [...rules.matchAll(/dport (\d+) dnat ip to ([\d.]+:\d+)/g)].map(([, port, to]) => `${port} ${to}`);
  }
}
