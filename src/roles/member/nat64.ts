/** The NAT64 of this network, if it has one, as its name servers tell (RFC 7050). */

import { Resolver } from 'node:dns/promises';
import { type Address, familyOf, formatPrefix, type Prefix } from '../../lib/ip.ts';
import { findNat64Prefix, IPV4_ONLY } from '../../net/nat64.ts';

const TIMEOUT_MS = 1_000;
/** Until a host without IPv4 that found none looks again: soon, as name servers come after addresses, then less often (ms). */
const AGAIN_MS = { first: 1_000, longest: 64_000 };

/** Null if there is none, or nobody answers. */
export async function discoverNat64(): Promise<Prefix | null> {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: 2 });
  const addresses = await resolver.resolve6(IPV4_ONLY).catch((): string[] => []);
  return findNat64Prefix(addresses);
}

/** Looks for one as long as this host's way to others is IPv6 alone. */
export class Nat64Watch {
  readonly #changed: (prefix: Prefix | null) => void;
  #prefix: Prefix | null = null;
  #timer: NodeJS.Timeout | undefined;
  #place = '';
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
  update(addresses: readonly Address[], hasRoute4: boolean): void {
    const place = `${hasRoute4} ${addresses.join(' ')}`;
    if (place === this.#place) return;
    this.#place = place;
    this.close();
    if (hasRoute4) this.#set(null);
    else if (addresses.some((address) => familyOf(address) === 6)) void this.#look(this.#network, AGAIN_MS.first);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#network++;
  }

  async #look(network: number, delay: number): Promise<void> {
    const prefix = await discoverNat64();
    if (network !== this.#network) return;
    this.#set(prefix);
    if (prefix !== null) return;
    this.#timer = setTimeout(() => void this.#look(network, Math.min(2 * delay, AGAIN_MS.longest)), delay);
  }

  #set(prefix: Prefix | null): void {
    const name = (p: Prefix | null): string => (p === null ? '' : formatPrefix(p));
    if (name(prefix) === name(this.#prefix)) return;
    this.#prefix = prefix;
    this.#changed(prefix);
  }
}
