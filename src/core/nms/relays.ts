/** The TRSs of the network, as this NMS sees them: one channel to each, and which to take for the next path. */

import { serviceKey } from '../../crypto/kdf.ts';
import type { KeyPair, Primitives } from '../../crypto/primitives.ts';
import { sameOctets } from '../../lib/bytes.ts';
import type { Service } from '../../lib/device.ts';
import type { Endpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import { Suite } from '../../proto/constants.ts';
import { SenderKind } from '../../proto/options.ts';
import type { PartBuffer } from '../../proto/parts.ts';
import { Channel } from '../channel.ts';

export type Relay = {
  service: Service;
  readonly channel: Channel;
  readonly endpoint: Endpoint;
  /** When it was last heard of (ms). */
  heardAt: number;
  /** It is about to stop (ms). */
  drainingUntil: number;
  /** It didn't answer, or is about to stop: others go first until then (ms). */
  downUntil: number;
};

/** One of several TRSs of one service, with its key, as it announces itself. */
export type RelayReplica = Pick<Service, 'address4' | 'address6' | 'port' | 'tlsPort'> & {
  /** NodeID of the service in the register. */
  readonly service: string;
  /** Its own one, drawn at its start. */
  readonly nodeId: string;
  readonly draining: boolean;
};

export type RelaysOptions = {
  readonly primitives: Primitives;
  readonly nodeId: string;
  readonly keys: KeyPair;
  /** Families in which this NMS can send. */
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly parts: PartBuffer;
};

/** What a pair thinks of a TRS: whether both ends reach it, the sum of their round trips to it, how busy it is. */
export type Ranking = {
  usable(service: Service): boolean;
  distance(service: Service): number;
  load(service: Service): number;
};

const SAME_DISTANCE_MS = 10;
const DOWN_MS = 10_000;
/** Of one that answers others, a request without an answer says something about the network only (ms). */
const SILENCE_MS = 1_000;
const DRAINING_MS = 60_000;
/** A replica that is not announced any more; it may have been a moment when nobody could look (ms). */
const REPLICA_MS = 1_000;

export class Relays {
  readonly #options: RelaysOptions;
  readonly #relays = new Map<string, Relay>();
  #services: readonly Service[] = [];
  readonly #replicas = new Map<string, { readonly replica: RelayReplica; readonly until: number }>();
  readonly #replicated = new Set<string>();

  constructor(options: RelaysOptions) {
    this.#options = options;
  }

  get nodeIds(): string[] {
    return [...this.#relays.keys()];
  }

  get services(): Service[] {
    return [...this.#relays.values()].map(({ service }) => service);
  }

  get(nodeId: string): Relay | undefined {
    return this.#relays.get(nodeId);
  }

  /** Takes over the register's list. */
  update(services: readonly Service[]): void {
    this.#services = services.filter(({ role }) => role === 'trs');
    this.#reconcile();
  }

  /** Takes over what replicas announce; whether that changed which TRSs there are. */
  present(replicas: readonly RelayReplica[], now: Now): boolean {
    const before = this.nodeIds.join();
    for (const replica of replicas) this.#replicas.set(replica.nodeId, { replica, until: now.ms + REPLICA_MS });
    for (const [nodeId, { until }] of this.#replicas) if (until <= now.ms) this.#replicas.delete(nodeId);
    this.#reconcile();
    for (const { nodeId, draining } of replicas) {
      const relay = this.#relays.get(nodeId);
      if (draining && relay !== undefined) this.draining(relay, now);
    }
    return this.nodeIds.join() !== before;
  }

  /** Those of the register, each replaced by its replicas from when it first had any. */
  #listed(): Map<string, Service> {
    const all = [...this.#replicas.values()];
    const listed = this.#services.flatMap((service): Service[] => {
      const own = all.filter(({ replica }) => replica.service === service.nodeId);
      if (own.length > 0) this.#replicated.add(service.nodeId);
      if (!this.#replicated.has(service.nodeId)) return [service];
      return own.map(({ replica: { nodeId, address4, address6, port, tlsPort } }) => {
        return { ...service, nodeId, address4, address6, port, tlsPort };
      });
    });
    return new Map(listed.map((service) => [service.nodeId, service]));
  }

  #reconcile(): void {
    const listed = this.#listed();
    for (const [nodeId, relay] of this.#relays) {
      const service = listed.get(nodeId);
      const endpoint = service === undefined ? null : this.#endpointOf(service);
      const same =
        service !== undefined &&
        sameOctets(service.publicKey, relay.service.publicKey) &&
        endpoint?.address === relay.endpoint.address &&
        endpoint.port === relay.endpoint.port;
      if (same) {
        relay.service = service;
      } else {
        relay.channel.close();
        this.#relays.delete(nodeId);
      }
    }
    for (const [nodeId, service] of listed) {
      const relay = this.#relays.has(nodeId) ? null : this.#relayOf(service);
      if (relay !== null) this.#relays.set(nodeId, relay);
    }
  }

  /**
   * The TRSs to ask, best first: those that answer before those that did not lately, then the nearest; of those that are
   * about as near the one with the least load.
   */
  ranked(pair: Ranking, now: Now): Relay[] {
    const down = ({ downUntil }: Relay): number => Math.max(0, downUntil - now.ms);
    const far = ({ service }: Relay): number => Math.floor(pair.distance(service) / SAME_DISTANCE_MS);
    const load = ({ service }: Relay): number => pair.load(service);
    return [...this.#relays.values()]
      .filter(({ service }) => pair.usable(service))
      .sort((a, b) => down(a) - down(b) || far(a) - far(b) || load(a) - load(b));
  }

  heard(relay: Relay, now: Now): void {
    relay.heardAt = now.ms;
    relay.downUntil = relay.drainingUntil;
  }

  silent(relay: Relay, now: Now): void {
    if (now.ms - relay.heardAt >= SILENCE_MS) relay.downUntil = now.ms + DOWN_MS;
  }

  draining(relay: Relay, now: Now): void {
    relay.drainingUntil = now.ms + DRAINING_MS;
    relay.downUntil = relay.drainingUntil;
  }

  #endpointOf(service: Service): Endpoint | null {
    const { ipv4, ipv6 } = this.#options;
    const address = (ipv4 ? service.address4 : null) ?? (ipv6 ? service.address6 : null);
    return address === null ? null : { address, port: service.port };
  }

  #relayOf(service: Service): Relay | null {
    const { primitives, nodeId, keys, parts } = this.#options;
    const endpoint = this.#endpointOf(service);
    const baseKey = serviceKey(primitives, keys, service.publicKey);
    if (endpoint === null || baseKey === null) return null;
    const channel = new Channel({
      primitives,
      suite: Suite.aes256Gcm,
      baseKey,
      id: nodeId,
      own: { kind: SenderKind.nms, instance: primitives.random(16).toHex() },
      accept: new Map([[SenderKind.trs, 1]]),
      proveAddress: true,
      freshKey: false,
      parts,
    });
    return { service, channel, endpoint, heardAt: Number.NEGATIVE_INFINITY, drainingUntil: 0, downUntil: 0 };
  }
}
