/**
 * Local ports that stand for endpoints which datagrams reach inside a stream: what the I/O threads send to such a port
 * goes into the stream, and what comes out of the stream comes from that port. Nobody above knows of the ports.
 */

import { type Endpoint, formatEndpoint, sameEndpoint } from '../lib/ip.ts';
import type { PathCommand, PathEvent } from '../lib/path.ts';

export class StandIns {
  readonly #pairs = new Map<string, { readonly remote: Endpoint; readonly local: Endpoint }>();

  /** Null: the stream is no more. */
  set(remote: Endpoint, local: Endpoint | null): void {
    if (local === null) this.#pairs.delete(formatEndpoint(remote));
    else this.#pairs.set(formatEndpoint(remote), { remote, local });
  }

  /** Where datagrams for an endpoint are sent; null = nowhere, as its stream is closed. */
  localOf(endpoint: Endpoint): Endpoint | null {
    if (endpoint.over === undefined) return endpoint;
    return this.#pairs.get(formatEndpoint(endpoint))?.local ?? null;
  }

  isLocal(endpoint: Endpoint): boolean {
    return this.#pairOf(endpoint) !== undefined;
  }

  command(command: PathCommand): PathCommand {
    if (command.do !== 'setEndpoint') return command;
    const { also, endpoint, ...rest } = command;
    const second = also === undefined ? null : this.localOf(also);
    const first = endpoint === null ? null : this.localOf(endpoint);
    return { ...rest, endpoint: first, ...(second !== null && { also: second }) };
  }

  event(event: PathEvent): PathEvent {
    if (!('from' in event) || this.#pairs.size === 0) return event;
    const remote = this.#pairOf(event.from)?.remote;
    return remote === undefined ? event : { ...event, from: remote };
  }

  #pairOf(endpoint: Endpoint) {
    for (const pair of this.#pairs.values()) if (sameEndpoint(pair.local, endpoint)) return pair;
    return undefined;
  }
}
