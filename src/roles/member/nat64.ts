/** Asks the name servers of this network for its NAT64 (RFC 7050). */

import { Resolver } from 'node:dns/promises';
import type { Prefix } from '../../lib/ip.ts';
import { findNat64Prefix, IPV4_ONLY } from '../../net/nat64.ts';

const TIMEOUT_MS = 1_000;

/** Null if there is none, or nobody answers. */
export async function discoverNat64(): Promise<Prefix | null> {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: 2 });
  const addresses = await resolver.resolve6(IPV4_ONLY).catch((): string[] => []);
  return findNat64Prefix(addresses);
}
