/**
 * What stands for endpoints in the datagrams of the I/O threads, of which nobody above knows. For one that is reached
 * inside a stream: a local port, from which also comes what comes out of the stream. For one of IPv4 on a network behind
 * a NAT64: an address of its prefix.
 */

import { type Endpoint, formatEndpoint, type Prefix, sameEndpoint } from '../lib/ip.ts';
import type { PathCommand, PathEvent } from '../lib/path.ts';
import { intoNat64, outOfNat64 } from '../net/nat64.ts';

export class StandIns {
  readonly #pairs = new Map<string, { readonly remote: Endpoint; readonly local: Endpoint }>();

  readonly #isOuter: (endpoint: Endpoint) => boolean;
  /** Null: IPv4 goes as it is. */
  nat64: Prefix | null = null;

  constructor(isOuter: (endpoint: Endpoint) => boolean) {
    this.#isOuter = isOuter;
  }

  /** Null: the stream is no more. */
  set(remote: Endpoint, local: Endpoint | null): void {
    if (local === null) this.#pairs.delete(formatEndpoint(remote));
    else this.#pairs.set(formatEndpoint(remote), { remote, local });
  }

  /** Where datagrams for an endpoint are sent; null = nowhere, as its stream is closed. */
  localOf(endpoint: Endpoint): Endpoint | null {
    if (endpoint.over === undefined) return intoNat64(this.nat64, endpoint);
    return this.#pairs.get(formatEndpoint(endpoint))?.local ?? null;
  }

  /** Whether datagrams may go to an endpoint or come from there: where they travel and whom that stands for both count. */
  mayGoTo(endpoint: Endpoint): boolean {
    if (this.#pairOf(endpoint) !== undefined) return true;
    return this.#isOuter(endpoint) && this.#isOuter(outOfNat64(this.nat64, endpoint));
  }

  command(command: PathCommand): PathCommand {
    if (command.do !== 'setEndpoint') return command;
    const { also, endpoint, ...rest } = command;
    const second = also === undefined ? null : this.localOf(also);
    const first = endpoint === null ? null : this.localOf(endpoint);
    return { ...rest, endpoint: first, ...(second !== null && { also: second }) };
  }

  event(event: PathEvent): PathEvent {
    if (!('from' in event)) return event;
    const from = this.#pairOf(event.from)?.remote ?? outOfNat64(this.nat64, event.from);
    return from === event.from ? event : { ...event, from };
  }

  #pairOf(endpoint: Endpoint) {
    for (const pair of this.#pairs.values()) if (sameEndpoint(pair.local, endpoint)) return pair;
    return undefined;
  }
}
