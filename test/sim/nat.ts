/** Home routers: the four NAT types of protocol section 4 (RFC 4787 terms in brackets), and the IPv6 firewall beside them. */

import { type Address, type Endpoint, formatEndpoint, sameEndpoint } from '../../src/lib/ip.ts';
import type { Random } from './random.ts';

export type NatType =
  /** Endpoint-independent mapping and filtering. */
  | 'fullCone'
  /** Endpoint-independent mapping, address-dependent filtering. */
  | 'addressRestricted'
  /** Endpoint-independent mapping, address-and-port-dependent filtering. */
  | 'portRestricted'
  /** Address-and-port-dependent mapping and filtering. */
  | 'symmetric';

type Mapping = {
  readonly key: string;
  readonly inside: Endpoint;
  readonly port: number;
  /** Who was sent to, as the filter names it → when that is forgotten (ms). */
  readonly permitted: Map<string, number>;
  until: number;
};

const FIRST_PORT = 1024;

export class Nat {
  readonly type: NatType;
  /** How long a mapping lasts after the last datagram out (ms). */
  readonly lifetime: number;
  readonly #random: Random;
  readonly #byInside = new Map<string, Mapping>();
  readonly #byPort = new Map<number, Mapping>();
  /** Ports that hosts inside asked for (PCP and the like), and where they lead. */
  readonly forwarded = new Map<number, Endpoint>();
  /** Who came in by such a port, and until when answers go out by it (ms). */
  readonly #asked = new Map<string, number>();
  outside: Address;

  constructor(type: NatType, outside: Address, lifetime: number, random: Random) {
    this.type = type;
    this.outside = outside;
    this.lifetime = lifetime;
    this.#random = random;
  }

  /** Where a datagram that goes out seems to come from. */
  out(from: Endpoint, to: Endpoint, ms: number): Endpoint {
    const answers = this.#answersForwarded(from, to, ms);
    if (answers !== null) return { address: this.outside, port: answers };
    const key = this.type === 'symmetric' ? `${formatEndpoint(from)} ${formatEndpoint(to)}` : formatEndpoint(from);
    let mapping = this.#byInside.get(key);
    if (mapping !== undefined && mapping.until <= ms) {
      this.#forget(mapping);
      mapping = undefined;
    }
    mapping ??= this.#map(key, from, ms);
    mapping.until = ms + this.lifetime;
    mapping.permitted.set(this.#filterKey(to), mapping.until);
    return { address: this.outside, port: mapping.port };
  }

  /** Where a datagram that comes in goes; null = it was not let in. */
  in(port: number, from: Endpoint, ms: number): Endpoint | null {
    const forwarded = this.forwarded.get(port);
    if (forwarded !== undefined) {
      this.#asked.set(`${port} ${formatEndpoint(from)}`, ms + this.lifetime);
      return forwarded;
    }
    const mapping = this.#byPort.get(port);
    if (mapping === undefined || mapping.until <= ms) return null;
    if (this.type !== 'fullCone' && (mapping.permitted.get(this.#filterKey(from)) ?? 0) <= ms) return null;
    return mapping.inside;
  }

  /** Switched off and on again. */
  reboot(): void {
    this.#byInside.clear();
    this.#byPort.clear();
  }

  #answersForwarded(from: Endpoint, to: Endpoint, ms: number): number | null {
    for (const [port, inside] of this.forwarded) {
      const isAsked = (this.#asked.get(`${port} ${formatEndpoint(to)}`) ?? 0) > ms;
      if (isAsked && sameEndpoint(inside, from)) return port;
    }
    return null;
  }

  #filterKey(remote: Endpoint): string {
    return this.type === 'addressRestricted' ? remote.address : formatEndpoint(remote);
  }

  #map(key: string, inside: Endpoint, ms: number): Mapping {
    let port = inside.port;
    // Cones keep the port if they can; a symmetric NAT draws one for each remote end.
    while (this.type === 'symmetric' || (this.#byPort.get(port)?.until ?? 0) > ms) {
      port = this.#random.whole(FIRST_PORT, 65_535);
      if ((this.#byPort.get(port)?.until ?? 0) <= ms) break;
    }
    const before = this.#byPort.get(port);
    if (before !== undefined) this.#forget(before);
    const mapping: Mapping = { key, inside, port, permitted: new Map(), until: 0 };
    this.#byInside.set(key, mapping);
    this.#byPort.set(port, mapping);
    return mapping;
  }

  #forget(mapping: Mapping): void {
    if (this.#byInside.get(mapping.key) === mapping) this.#byInside.delete(mapping.key);
    if (this.#byPort.get(mapping.port) === mapping) this.#byPort.delete(mapping.port);
  }
}

/** Lets in what answers something that went out. */
export class Firewall {
  readonly #lifetime: number;
  readonly #permitted = new Map<string, number>();

  constructor(lifetime: number) {
    this.#lifetime = lifetime;
  }

  out(from: Endpoint, to: Endpoint, ms: number): void {
    this.#permitted.set(`${formatEndpoint(from)} ${formatEndpoint(to)}`, ms + this.#lifetime);
  }

  lets(from: Endpoint, to: Endpoint, ms: number): boolean {
    return (this.#permitted.get(`${formatEndpoint(to)} ${formatEndpoint(from)}`) ?? 0) > ms;
  }

  reboot(): void {
    this.#permitted.clear();
  }
}
