/** A random world: sites with hosts, behind routers of every kind, of one address family or both. */

import type { Address } from '../../src/lib/ip.ts';
import { Firewall, Nat, type NatType } from './nat.ts';
import { type Network, Router, Segment } from './network.ts';
import type { Socket } from './node.ts';
import type { Random } from './random.ts';

const siteWeights = { open: 15, home: 55, carrier: 15, ipv6: 15 };
const natWeights: Record<NatType, number> = { fullCone: 15, addressRestricted: 15, portRestricted: 45, symmetric: 25 };
/** Private ranges that people have at home, the same everywhere. */
const homePrefixes = ['192.168.0', '192.168.1', '10.0.0'];
const MAX_HOSTS = 6;

type Families = { readonly ipv4: boolean; readonly ipv6: boolean };

type Site = Families & {
  readonly segment: Segment;
  /** First part of its hosts' addresses; null = they are public ones. */
  readonly prefix4: string | null;
  readonly prefix6: string;
  readonly room: number;
  hosts: number;
};

export class Topology {
  readonly #network: Network;
  readonly #random: Random;
  readonly #sites: Site[] = [];
  /** Carriers that put their customers behind a NAT of their own. */
  readonly #carriers: { readonly segment: Segment; customers: number }[] = [];
  readonly routers: Router[] = [];
  #publicAddresses = 0;

  constructor(network: Network, random: Random) {
    this.#network = network;
    this.#random = random;
  }

  /** A free place for a host: at a site with room for another one, or at a new site. */
  socket(): Socket {
    const random = this.#random;
    const roomy = this.#sites.filter((site) => site.hosts < site.room);
    const site = roomy.length > 0 && random.chance(0.7) ? random.pick(roomy) : this.#newSite();
    const host = ++site.hosts;
    // In a network of both families some machines have one only.
    const only = site.ipv4 && site.ipv6 ? random.weighted({ none: 80, ipv4: 12, ipv6: 8 }) : 'none';
    const address4 = site.prefix4 === null ? this.#publicAddress() : `${site.prefix4}.${host + 1}`;
    return {
      segment: site.segment,
      address4: site.ipv4 && only !== 'ipv6' ? address4 : null,
      address6: site.ipv6 && only !== 'ipv4' ? `${site.prefix6}::${(host + 1).toString(16)}` : null,
    };
  }

  /** A router was switched off and on, and got another address outside. */
  reboot(router: Router): void {
    router.reboot(router.outside === this.#network.internet ? this.#publicAddress() : router.nat.outside);
  }

  #newSite(): Site {
    const random = this.#random;
    const kind = random.weighted(siteWeights);
    const number = this.#sites.length;
    const prefix6 = `2001:db8:${(number + 256).toString(16)}`;
    const room = random.whole(1, MAX_HOSTS);
    const site = { prefix6, room, hosts: 0 };
    const latency = random.between(3, 60);
    const built: Site =
      kind === 'open'
        ? { ...site, segment: new Segment(`open${number}`, latency, null), prefix4: null, ...this.#openFamilies() }
        : { ...site, ...this.#behindRouter(kind, number, latency) };
    // Open sites hang on the Internet itself: their hosts' addresses are known there.
    const placed = kind === 'open' ? { ...built, segment: this.#network.internet } : built;
    this.#sites.push(placed);
    return placed;
  }

  #openFamilies(): Families {
    return { ipv4: true, ipv6: this.#random.chance(0.5) };
  }

  #behindRouter(kind: 'home' | 'carrier' | 'ipv6', number: number, latency: number) {
    const random = this.#random;
    const outside =
      kind === 'carrier' ? this.#carrier() : { segment: this.#network.internet, address: this.#publicAddress() };
    const ipv6 = kind === 'ipv6' || random.chance(0.4);
    const firewall = ipv6 && random.chance(0.8) ? new Firewall(random.between(30_000, 120_000)) : null;
    const router = new Router(this.#nat(outside.address), firewall, outside.segment);
    const segment = new Segment(`${kind}${number}`, latency, router);
    router.inside = segment;
    this.routers.push(router);
    return { segment, prefix4: random.pick(homePrefixes), ipv4: kind !== 'ipv6', ipv6 };
  }

  #nat(outside: Address): Nat {
    const random = this.#random;
    return new Nat(random.weighted(natWeights), outside, random.between(30_000, 180_000), random);
  }

  /** A place behind a carrier's NAT. */
  #carrier(): { readonly segment: Segment; readonly address: Address } {
    const random = this.#random;
    let carrier = this.#carriers.length > 0 && random.chance(0.8) ? random.pick(this.#carriers) : undefined;
    if (carrier === undefined) {
      const router = new Router(this.#nat(this.#publicAddress()), null, this.#network.internet);
      carrier = {
        segment: new Segment(`carrier${this.#carriers.length}`, random.between(3, 20), router),
        customers: 0,
      };
      router.inside = carrier.segment;
      this.#carriers.push(carrier);
    }
    const customer = ++carrier.customers;
    return { segment: carrier.segment, address: `100.64.${customer >> 8}.${customer & 255}` };
  }

  #publicAddress(): Address {
    const number = ++this.#publicAddresses;
    return `198.${18 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;
  }
}
