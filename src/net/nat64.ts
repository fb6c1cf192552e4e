/**
 * The NAT64 in front of an IPv6-only network: its prefix, as routers advertise it (RFC 8781) or out of what a DNS64 makes up
 * (RFC 7050), and the IPv6 addresses that stand for IPv4 ones there (RFC 6052).
 */

import { sameOctets } from '../lib/bytes.ts';
import {
  type Address,
  contains,
  type Endpoint,
  familyOf,
  formatAddress,
  formatPrefix,
  isForbiddenOuter,
  type Prefix,
  parseAddress,
} from '../lib/ip.ts';
import type { Nat64Prefix } from './ndp-options.ts';

/** A name that has IPv4 addresses only: whoever gets an IPv6 address for it has a DNS64 (RFC 7050 section 2.2). */
export const IPV4_ONLY = 'ipv4only.arpa';
const WELL_KNOWN = [170, 171].map((last) => Uint8Array.of(192, 0, 0, last));

/** Where the four octets stand for each length of the prefix: octet 8 is zero and skipped (RFC 6052 section 2.2). */
const layouts = [
  { length: 32, at: [4, 5, 6, 7] },
  { length: 40, at: [5, 6, 7, 9] },
  { length: 48, at: [6, 7, 9, 10] },
  { length: 56, at: [7, 9, 10, 11] },
  { length: 64, at: [9, 10, 11, 12] },
  { length: 96, at: [12, 13, 14, 15] },
] as const;

/** The prefix of the first address that has one of the well-known ones in exactly one place (RFC 7050 section 3). */
export function findNat64Prefix(addresses: readonly Address[]): Prefix | null {
  for (const address of addresses) {
    const octets = parseAddress(address);
    if (octets === null || octets.length !== 16) continue;
    const found = layouts.filter(({ length, at }) => {
      const embedded = Uint8Array.from(at, (i) => octets[i]!);
      return (length === 96 || octets[8] === 0) && WELL_KNOWN.some((known) => sameOctets(known, embedded));
    });
    if (found.length !== 1) continue;
    const { length } = found[0]!;
    const first = formatAddress(octets.fill(0, length / 8));
    // IPv4-mapped addresses never leave a host.
    if (familyOf(first) === 6) return { address: first, length };
  }
  return null;
}

/** As many as any network has; who sends more is up to no good. */
const MAX_ADVERTISED = 8;

/** Prefixes that routers advertise, for as long as they say. */
export class AdvertisedNat64 {
  readonly #prefixes = new Map<string, { readonly prefix: Prefix; readonly until: number }>();

  heard({ prefix, lifetime }: Nat64Prefix, ms: number): void {
    const name = formatPrefix(prefix);
    // Neither multicast nor this link alone.
    if (familyOf(prefix.address) === 4 || isForbiddenOuter(prefix.address, [])) return;
    if (lifetime === 0) this.#prefixes.delete(name);
    else if (this.#prefixes.has(name) || this.#prefixes.size < MAX_ADVERTISED)
      this.#prefixes.set(name, { prefix, until: ms + 1_000 * lifetime });
  }

  /** The one heard of first, and when its time is over (ms). */
  best(ms: number): { readonly prefix: Prefix; readonly until: number } | null {
    for (const [name, { until }] of this.#prefixes) if (until <= ms) this.#prefixes.delete(name);
    const [first = null] = this.#prefixes.values();
    return first;
  }

  /** Another network. */
  clear(): void {
    this.#prefixes.clear();
  }
}

/** Where datagrams for an endpoint go on a network behind a NAT64; null = there is none. */
export function intoNat64(prefix: Prefix | null, endpoint: Endpoint): Endpoint {
  if (prefix === null || familyOf(endpoint.address) === 6) return endpoint;
  const octets = parseAddress(prefix.address)!;
  const embedded = parseAddress(endpoint.address)!;
  for (const [i, at] of placesIn(prefix).entries()) octets[at] = embedded[i]!;
  return { ...endpoint, address: formatAddress(octets) };
}

/** Whom an address within the prefix stands for. */
export function outOfNat64(prefix: Prefix | null, endpoint: Endpoint): Endpoint {
  if (prefix === null || !contains(prefix, endpoint.address)) return endpoint;
  const octets = parseAddress(endpoint.address)!;
  return { ...endpoint, address: formatAddress(Uint8Array.from(placesIn(prefix), (at) => octets[at]!)) };
}

function placesIn(prefix: Prefix): readonly number[] {
  return layouts.find(({ length }) => length === prefix.length)!.at;
}
