/** How pairs of devices in every kind of place get to each other: first packet, path, time until it is direct. */

import { until } from './command.ts';
import type { Host, Lab } from './lab.ts';
import { hairpinRules, type NatType, natTypes, noUdpRules } from './nat.ts';
import { Nat64Network } from './nat64.ts';
import { Network, type Node, type PeerStatus } from './network.ts';
import { PortMappingRouter, ROUTERS4 } from './port-mapping-router.ts';
import type { Internet } from './segments.ts';

export const places = [
  'none',
  'firewall',
  ...natTypes,
  'port-mapping',
  'cgnat',
  'blocked',
  'ipv6',
  'nat64',
  'dual',
  'black-hole',
] as const;
export type Place = (typeof places)[number];

export const placeNames: { readonly [P in Place]: string } = {
  none: 'public IPv4',
  firewall: 'host firewall',
  'full-cone': 'full cone',
  'address-restricted': 'address-restricted',
  'port-restricted': 'port-restricted',
  symmetric: 'symmetric',
  'port-mapping': 'port-restricted + miniupnpd',
  cgnat: 'two levels of NAT',
  blocked: 'UDP blocked',
  ipv6: 'IPv6 only',
  nat64: 'IPv6 only, behind a NAT64',
  dual: 'both families',
  'black-hole': 'both, IPv6 black-holed',
};

/** Two devices behind one NAT, and the path they should come to. */
export const neighbourhoods = {
  'one network': 'lan',
  'networks of their own behind one carrier NAT': 'relay',
  'the same, with hairpin': 'direct',
} as const;
export type Neighbourhood = keyof typeof neighbourhoods;

export type Meeting = {
  /** From the first packet's start, with the name's resolution, to its answer (ms). */
  readonly firstMs: number;
  readonly path: PeerStatus['path'];
  /** From the first packet's start until the path was direct; null = it was not within the time (ms). */
  readonly directMs: number | null;
};
export type Cell = Meeting & { readonly from: Place; readonly to: Place };

/** How long a pair is watched, and one that has to predict ports (ms). */
const WATCHED_MS = 10_000;
const PREDICTED_MS = 25_000;

const strict = new Set<Place>(['port-restricted', 'cgnat', 'firewall']);
const hasIpv6 = new Set<Place>(['ipv6', 'nat64', 'dual']);
const behindNat = (place: Place): boolean =>
  ['cgnat', 'port-mapping', 'blocked'].includes(place) || natTypes.some((type) => type === place);

/**
 * The thesis's table of pairs behind NATs, where port prediction turns its two "no" beside cones into a "yes"; a firewall
 * filters as a port-restricted NAT does. Null: sometimes.
 */
export function expectsDirect(from: Place, to: Place): boolean | null {
  if ((from === 'ipv6' && !hasIpv6.has(to)) || (to === 'ipv6' && !hasIpv6.has(from))) return false;
  if (from === 'blocked' || to === 'blocked') return false;
  if (from === 'symmetric' && to === 'symmetric') return false;
  return to === 'symmetric' && from === 'address-restricted' ? null : true;
}

/** Whether they meet by port prediction only. */
export function predicts({ from, to }: { from?: Place; to?: Place }): boolean {
  if (from === undefined || to === undefined) return false;
  return (from === 'symmetric' && strict.has(to)) || (to === 'symmetric' && strict.has(from));
}

/** A cloud, and hosts each in a place of its own. */
export class Matrix {
  readonly #lab: Lab;
  readonly #internet: Internet;
  readonly #network: Network;
  #hosts = 0;

  private constructor(lab: Lab, internet: Internet, network: Network) {
    this.#lab = lab;
    this.#internet = internet;
    this.#network = network;
  }

  static async open(lab: Lab): Promise<Matrix> {
    const internet = lab.internet();
    const cloud = lab.host('cloud', internet, { v4: '198.51.100.10', v6: '2001:db8:ff::10' });
    return new Matrix(lab, internet, await Network.start(lab, cloud));
  }

  async node(place: Place): Promise<Node> {
    const n = ++this.#hosts;
    const nat64 = place === 'nat64' ? new Nat64Network(this.#lab, this.#internet, n) : null;
    const title = `${place}-${n}`;
    const host = nat64?.host ?? (await this.#host(place, n));
    const node = this.#network.node(host, title, await this.#network.addDevice(title));
    await nat64?.ready();
    await node.up();
    // Peers hear of the port a moment after the node is there.
    if (place === 'port-mapping') {
      await until(() => node.daemon.stderr.includes('the router forwards a port'), { what: `a port for ${node.fqdn}` });
    }
    return node;
  }

  /** Two nodes behind one NAT. */
  async neighbours(kind: Neighbourhood): Promise<readonly [Node, Node]> {
    const n = ++this.#hosts;
    const [lab, outside] = [this.#lab, this.#internet];
    const v4 = `192.0.2.${20 + n}`;
    const isOneNetwork = neighbourhoods[kind] === 'lan';
    const subnet4 = isOneNetwork ? `10.${n}.0.0/24` : `100.64.${n}.0/24`;
    const shared = lab.lan(`n${n}-shared`, { subnet4 });
    const nat = lab.router(`n${n}-nat`, { outside, inside: shared, nat: 'port-restricted', v4 });
    if (neighbourhoods[kind] === 'direct') nat.nft(hairpinRules(v4));
    const place = (end: 1 | 2): Host => {
      if (isOneNetwork) return lab.host(`n${n}-${end}`, shared);
      const inside = lab.lan(`n${n}-lan${end}`, { subnet4: `10.${n}.${end}.0/24` });
      lab.router(`n${n}-home${end}`, { outside: shared, inside, nat: 'port-restricted' });
      return lab.host(`n${n}-${end}`, inside);
    };
    return Promise.all([
      this.#network.addNode(place(1), `neighbour-${n}-1`),
      this.#network.addNode(place(2), `neighbour-${n}-2`, ['--port', '7544']),
    ]);
  }

  async #host(place: Place, n: number): Promise<Host> {
    const [lab, internet] = [this.#lab, this.#internet];
    const title = `h${n}`;
    const v4 = `192.0.2.${20 + n}`;
    const v6 = `2001:db8:${n}::1`;
    if (place === 'ipv6') return lab.host(title, internet, { v6 });
    if (place === 'dual') return lab.host(title, internet, { v4, v6 });
    if (place === 'black-hole') {
      const host = lab.host(title, internet, { v4, v6 });
      host.nft(`
        table ip6 black_hole {
          chain input {
            type filter hook input priority filter;
            iifname "eth0" meta l4proto { tcp, udp } drop
          }
        }`);
      return host;
    }
    if (!behindNat(place)) {
      const host = lab.host(title, internet, { v4 });
      if (place === 'firewall') {
        host.nft(`
          table inet host_firewall {
            chain input {
              type filter hook input priority filter;
              iifname "eth0" meta l4proto udp ct state new drop
            }
          }`);
      }
      return host;
    }
    const lan = lab.lan(`${title}-lan`, { subnet4: `10.${n}.0.0/24` });
    if (place === 'cgnat') {
      const provider = lab.lan(`${title}-provider`, { subnet4: `100.64.${n}.0/24` });
      lab.router(`${title}-carrier`, { outside: internet, inside: provider, nat: 'port-restricted', v4 });
      lab.router(`${title}-router`, { outside: provider, inside: lan, nat: 'port-restricted' });
    } else if (place === 'port-mapping') {
      const outside = { outside: internet, inside: lan, nat: 'port-restricted', v4: `${ROUTERS4}${20 + n}` } as const;
      await new PortMappingRouter(lab, lab.router(`${title}-router`, outside)).start();
    } else if (place === 'blocked') {
      lab.router(`${title}-router`, { outside: internet, inside: lan, nat: 'port-restricted', v4 }).nft(noUdpRules);
    } else {
      lab.router(`${title}-router`, { outside: internet, inside: lan, nat: place as NatType, v4 });
    }
    return lab.host(title, lan);
  }
}

/** The first packets of a pair, and what becomes of its path within a time. */
export async function meet<P extends { from?: Place; to?: Place }>(
  from: Node,
  to: Node,
  places: P,
  patience = predicts(places) ? PREDICTED_MS : WATCHED_MS,
): Promise<P & Meeting> {
  const started = performance.now();
  await from.systemPing(to.fqdn);
  const firstMs = Math.round(performance.now() - started);
  for (;;) {
    const path = (await from.peer(to))?.path ?? null;
    const elapsed = Math.round(performance.now() - started);
    if (path === 'direct' || path === 'lan') return { ...places, firstMs, path, directMs: elapsed };
    if (elapsed > patience) return { ...places, firstMs, path, directMs: null };
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}
