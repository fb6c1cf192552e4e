/** Which of this host's addresses others can be told of, and whether the overlay's ranges are free here (protocol section 2.4). */

import { raise } from '../../lib/errors.ts';
import {
  type Address,
  contains,
  type Family,
  familyOf,
  formatPrefix,
  isForbiddenOuter,
  overlaps,
  type Prefix,
  parsePrefix,
} from '../../lib/ip.ts';
import { hostPrefix, type Link, type LinkAddress, type Route } from '../../sys/netlink.ts';
import type { DefaultRouter } from './port-mapper.ts';

/** What the kernel knows of its own network; `Netlink` reads it. */
export type LocalNetwork = {
  links(): readonly Link[];
  addresses(): readonly LinkAddress[];
  routes(): readonly Route[];
};

/**
 * TUNs of this program, those of other networks too: two networks of the same two hosts that took their ways through each
 * other would have none.
 */
const TUN_NAME = /^cyp\d+$/;
/** Candidates a device offers at most (protocol section 3.1). */
const MAX_CANDIDATES = 16;
const GLOBAL6 = parsePrefix('2000::/3')!;
const LINK_LOCAL6 = parsePrefix('fe80::/10')!;

export type LocalAddressOptions = {
  /** Ranges of overlays: never offered. */
  readonly overlay: readonly Prefix[];
  /** Our own TUN; null before there is one. */
  readonly ownInterface: string | null;
  /** Of an adapter: no peer comes that way. */
  readonly innerInterface?: string | null;
};

/**
 * The host's addresses that a peer may try, best first: those of links with a default route, then the others, the
 * families taking turns so that many of one don't push out the other.
 */
export function candidateAddresses(
  network: LocalNetwork,
  { overlay, ownInterface, innerInterface = null }: LocalAddressOptions,
): Address[] {
  const links = new Map(
    network
      .links()
      .filter((link) => link.up && link.running && !link.loopback)
      .filter(({ name }) => name !== ownInterface && name !== innerInterface && !TUN_NAME.test(name))
      .map((link) => [link.index, link]),
  );
  const usable = network
    .addresses()
    .filter((a) => links.has(a.index) && !a.unusable && !a.deprecated && !isForbiddenOuter(a.address, overlay));
  const uplinks = new Set(network.routes().flatMap((r) => (r.forwarding && isDefault(r.destination) ? [r.index] : [])));
  const ordered = usable
    .filter(
      (a) => !a.temporary || !usable.some((b) => b.index === a.index && !b.temporary && familyOf(b.address) === 6),
    )
    .sort((a, b) => Number(uplinks.has(b.index)) - Number(uplinks.has(a.index)));
  const byFamily = [4, 6].map((family) => unique(ordered.map((a) => a.address).filter((a) => familyOf(a) === family)));
  return takingTurns(byFamily).slice(0, MAX_CANDIDATES);
}

/** The routes to everywhere else, the one that packets take first. */
export function defaultRoutes(network: LocalNetwork): Route[] {
  return network
    .routes()
    .filter((route) => route.forwarding && isDefault(route.destination))
    .sort((a, b) => b.destination.length - a.destination.length || a.metric - b.metric);
}

/** Whether IPv4 packets go anywhere but to this host's own networks, such as those of its containers. */
export function hasRoute4(routes: readonly Route[]): boolean {
  return routes.some(({ destination }) => familyOf(destination.address) === 4);
}

/** The router that packets of a family take to everywhere else; null if there is none. */
function defaultRouter(network: LocalNetwork, family: Family) {
  const leadsOut = ({ destination }: Route): boolean =>
    destination.length === 0 && familyOf(destination.address) === family;
  const { gateway = null, index = null } =
    defaultRoutes(network).find((route) => route.gateway !== null && leadsOut(route)) ?? {};
  return gateway === null ? null : { gateway, index };
}

export function defaultRouter4(network: LocalNetwork): DefaultRouter | null {
  const { gateway = null } = defaultRouter(network, 4) ?? {};
  return gateway === null ? null : { gateway };
}

/** With the address, of those that others are told of, by which the world reaches this host through that router. */
export function defaultRouter6(network: LocalNetwork, told: readonly Address[]): DefaultRouter | null {
  const { gateway = null, index = null } = defaultRouter(network, 6) ?? {};
  const here = network.addresses().filter((own) => own.index === index && contains(GLOBAL6, own.address));
  const client = told.find((address) => here.some((own) => own.address === address));
  const link = network.links().find((known) => known.index === index);
  if (gateway === null || client === undefined || link === undefined) return null;
  return { gateway: contains(LINK_LOCAL6, gateway) ? `${gateway}%${link.name}` : gateway, client };
}

/** What changes when this host gets to the Internet in another way, though it may have the same addresses as before. */
export function uplinksOf(routes: readonly Route[]): string {
  return routes.map(({ index, gateway, destination }) => `${index} ${gateway} ${formatPrefix(destination)}`).join(' ');
}

/** Raises if an address or route of this host overlaps one of the overlay's ranges. */
export function refuseOverlap(network: LocalNetwork, { overlay, ownInterface }: LocalAddressOptions): void {
  const names = new Map(network.links().map((link) => [link.index, link.name]));
  const on = (index: number | null): string => (index === null ? '' : ` on ${names.get(index) ?? `link ${index}`}`);
  const foreign = (index: number | null): boolean => index === null || names.get(index) !== ownInterface;
  for (const { address, prefixLength, index } of network.addresses()) {
    const range = overlay.find((r) => overlaps(r, hostPrefix(address)));
    if (range !== undefined && foreign(index)) {
      refuse(range, `the address ${address}/${prefixLength}${on(index)}`);
    }
  }
  for (const { destination, index, forwarding } of network.routes()) {
    const range = overlay.find((r) => overlaps(r, destination));
    if (range !== undefined && forwarding && foreign(index) && !isDefault(destination)) {
      refuse(range, `the route to ${formatPrefix(destination)}${on(index)}`);
    }
  }
}

function refuse(range: Prefix, what: string): never {
  return raise('CONFIG_OVERLAP', { range: formatPrefix(range), what });
}

/** Default routes, also in the halves that other VPNs use to outdo them (0.0.0.0/1, 128.0.0.0/1, 2000::/3). */
function isDefault({ address, length }: Prefix): boolean {
  return length <= (familyOf(address) === 4 ? 1 : 3);
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}

function takingTurns<T>(lists: readonly (readonly T[])[]): T[] {
  const longest = Math.max(...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, i) => lists.flatMap((list) => list.slice(i, i + 1))).flat();
}
