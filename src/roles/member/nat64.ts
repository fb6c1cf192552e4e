/** The NAT64 of this network, if it has one, as its routers advertise it (RFC 8781) or its name servers tell (RFC 7050). */

import { Resolver } from 'node:dns/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { Reader } from '../../lib/bytes.ts';
import { type Address, familyOf, formatPrefix, type Prefix } from '../../lib/ip.ts';
import { AdvertisedNat64, findNat64Prefix, IPV4_ONLY } from '../../net/nat64.ts';
import { decodeNdpOptions, type Nat64Prefix } from '../../net/ndp-options.ts';
import { readClock } from '../../sys/clock.ts';
import { monitorNetwork, Netlink, type NetworkEvent, type Route } from '../../sys/netlink.ts';
import { solicitRouters } from '../../sys/router-solicitation.ts';
import { defaultRoutes, hasRoute4, uplinksOf } from './local-addresses.ts';

const TIMEOUT_MS = 1_000;
/** Routers answer within half a second (RFC 4861 section 6.2.6). */
const ROUTERS_MS = 1_000;
/** Until a host without IPv4 that found none looks again: soon, as name servers come after addresses, then less often (ms). */
const AGAIN_MS = { first: 1_000, longest: 64_000 };

/** Whatever is known first; null if there is none, or nobody answers. */
export async function discoverNat64(): Promise<Prefix | null> {
  const [named, advertised] = [askNames(), askRouters()];
  return (await Promise.race([named, advertised])) ?? (await named) ?? (await advertised);
}

async function askNames(): Promise<Prefix | null> {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: 2 });
  const addresses = await resolver.resolve6(IPV4_ONLY).catch((): string[] => []);
  return findNat64Prefix(addresses);
}

async function askRouters(): Promise<Prefix | null> {
  const netlink = new Netlink();
  const links = linksOf(defaultRoutes(netlink));
  netlink.close();
  if (links.size === 0) return null;
  const { promise, resolve } = Promise.withResolvers<Prefix | null>();
  const timer = setTimeout(() => resolve(null), ROUTERS_MS);
  const monitor = monitorNetwork((events) => {
    for (const { prefix, lifetime } of advertisedIn(events, links)) if (lifetime > 0) resolve(prefix);
  });
  for (const index of links) solicitRouters(index);
  const prefix = await promise;
  clearTimeout(timer);
  monitor.close();
  return prefix;
}

/** Where IPv6 goes out: whoever is on another link has no say. */
function linksOf(routes: readonly Route[]): Set<number> {
  const six = routes.filter(({ destination }) => familyOf(destination.address) === 6);
  return new Set(six.flatMap(({ index }) => (index === null ? [] : [index])));
}

function advertisedIn(events: readonly NetworkEvent[], links: ReadonlySet<number>): Nat64Prefix[] {
  return events.flatMap((event) =>
    event.on === 'routerOptions' && links.has(event.index)
      ? (decodeNdpOptions(new Reader(event.octets))?.nat64Prefixes ?? [])
      : [],
  );
}

/** Looks for one as long as this host's way to others is IPv6 alone. */
export class Nat64Watch {
  readonly #changed: (prefix: Prefix | null) => void;
  #prefix: Prefix | null = null;
  #named: Prefix | null = null;
  readonly #advertised = new AdvertisedNat64();
  #timer: NodeJS.Timeout | undefined;
  #expiry: NodeJS.Timeout | undefined;
  #place = '';
  #uplinks = '';
  #links: ReadonlySet<number> = new Set();
  #hasRoute4 = false;
  /** Answers to questions of an earlier network are worth nothing. */
  #network = 0;

  constructor(changed: (prefix: Prefix | null) => void) {
    this.#changed = changed;
  }

  /** By which IPv4 is reached; null = as it is, or not at all. */
  get prefix(): Prefix | null {
    return this.#prefix;
  }

  /** The host's addresses or routes may have changed. What was found stays until the new network says otherwise. */
  update(addresses: readonly Address[], routes: readonly Route[]): void {
    this.#links = linksOf(routes);
    this.#hasRoute4 = hasRoute4(routes);
    const uplinks = uplinksOf(routes.filter(({ destination }) => familyOf(destination.address) === 6));
    if (uplinks !== this.#uplinks) this.#advertised.clear();
    this.#uplinks = uplinks;
    const place = `${this.#hasRoute4} ${uplinks} ${addresses.join(' ')}`;
    if (place === this.#place) return;
    this.#place = place;
    this.close();
    if (this.#hasRoute4) this.#settle();
    else if (addresses.some((address) => familyOf(address) === 6)) void this.#look(this.#network, AGAIN_MS.first);
  }

  /** What routers say without being asked, too. */
  heard(events: readonly NetworkEvent[]): void {
    const said = advertisedIn(events, this.#links);
    if (said.length === 0) return;
    for (const one of said) this.#advertised.heard(one, readClock().ms);
    this.#settle();
  }

  close(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#expiry);
    this.#network++;
  }

  async #look(network: number, delay: number): Promise<void> {
    for (const index of this.#links) solicitRouters(index);
    const named = await askNames();
    // Whatever worked before is not left for nothing while routers may still answer.
    if (named === null && this.#prefix !== null) await pause(ROUTERS_MS);
    if (network !== this.#network) return;
    this.#named = named;
    this.#settle();
    if (this.#prefix !== null) return;
    this.#timer = setTimeout(() => void this.#look(network, Math.min(2 * delay, AGAIN_MS.longest)), delay);
  }

  #settle(): void {
    clearTimeout(this.#expiry);
    const { ms } = readClock();
    const advertised = this.#advertised.best(ms);
    if (advertised !== null) this.#expiry = setTimeout(() => this.#expired(), advertised.until - ms);
    this.#set(this.#hasRoute4 ? null : (advertised?.prefix ?? this.#named));
  }

  #expired(): void {
    this.#settle();
    if (this.#prefix === null && !this.#hasRoute4) void this.#look(this.#network, AGAIN_MS.first);
  }

  #set(prefix: Prefix | null): void {
    const name = (p: Prefix | null): string => (p === null ? '' : formatPrefix(p));
    if (name(prefix) === name(this.#prefix)) return;
    this.#prefix = prefix;
    this.#changed(prefix);
  }
}
