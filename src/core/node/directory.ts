/** All peers and paths of one node. */

import type { Certificate } from '../../crypto/certificate.ts';
import { sameOctets } from '../../lib/bytes.ts';
import type { Address } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { Channel } from '../channel.ts';
import { Agenda } from './agenda.ts';
import type { NodeContext } from './context.ts';
import { type Direction, sameDirection } from './direction.ts';
import type { Path } from './path.ts';
import { Peer, type PeerEvents } from './peer.ts';

const MAX_PEERS = 16_384;

/** What peers ask of the world beyond the directory. */
export type DirectoryEvents = Pick<PeerEvents, 'seek' | 'isSeeking' | 'unreachable' | 'settled'> & {
  shown(certificate: Certificate, now: Now): void;
};

export class Directory {
  readonly #context: NodeContext;
  readonly #events: DirectoryEvents & PeerEvents;
  readonly #peers = new Map<string, Peer>();
  readonly #byName = new Map<string, Peer>();
  readonly #byAddress = new Map<Address, Peer>();
  /** By PathID; also those that only wait for the acknowledgement of their goodbye. */
  readonly #paths = new Map<string, Path>();
  readonly #agenda = new Agenda<Peer>();

  constructor(context: NodeContext, events: DirectoryEvents) {
    this.#context = context;
    this.#events = {
      ...events,
      wake: (peer, at) => this.#agenda.wake(peer, at),
      pathGone: (path) => this.#paths.delete(path.id),
      forget: (peer) => this.#forget(peer),
    };
  }

  get peers(): IterableIterator<Peer> {
    return this.#peers.values();
  }

  get paths(): IterableIterator<Path> {
    return this.#paths.values();
  }

  byId(nodeId: string): Peer | undefined {
    return this.#peers.get(nodeId);
  }

  byName(fqdn: string): Peer | undefined {
    return this.#byName.get(fqdn);
  }

  byAddress(address: Address): Peer | undefined {
    return this.#byAddress.get(address);
  }

  path(pathId: string): Path | undefined {
    return this.#paths.get(pathId);
  }

  /** An NMS shows the certificate that a device has now: who has the keys it had before is not it. */
  shown(certificate: Certificate, now: Now): void {
    const known = this.#peers.get(certificate.nodeId);
    if (known !== undefined && !sameOctets(known.certificate.handshakeKey, certificate.handshakeKey))
      known.closePaths(false, Number.POSITIVE_INFINITY, now);
    this.#events.shown(certificate, now);
  }

  /** The peer that a verified certificate is about; null if there is no room for one more. */
  learn(certificate: Certificate, now: Now): Peer | null {
    const known = this.#peers.get(certificate.nodeId);
    if (known !== undefined) {
      this.#unlist(known);
      known.certificate = certificate;
      this.#list(known, now);
      return known;
    }
    if (this.#peers.size >= MAX_PEERS && !this.#makeRoom()) return null;
    const peer = new Peer(this.#context, certificate, this.#events, now);
    this.#peers.set(peer.nodeId, peer);
    this.#list(peer, now);
    return peer;
  }

  /** The path that a Route Direction asks for: a new one, the same one if it was asked for before, null if it is another's. */
  open(
    peer: Peer,
    direction: Direction,
    now: Now,
    channel?: Channel,
  ): { readonly path: Path; readonly isNew: boolean } | null {
    const known = this.#paths.get(direction.pathId);
    if (known !== undefined) {
      return known.isHealthy && sameDirection(known.direction, direction) ? { path: known, isNew: false } : null;
    }
    const path = peer.addPath(direction, now, channel);
    this.#paths.set(path.id, path);
    return { path, isNew: true };
  }

  tick(now: Now): void {
    for (let peer = this.#agenda.due(now.ms); peer !== undefined; peer = this.#agenda.due(now.ms)) {
      peer.tick(now);
      if (this.#peers.get(peer.nodeId) === peer) this.#agenda.wake(peer, Math.max(peer.next, now.ms + 1));
    }
  }

  get next(): number {
    return this.#agenda.next;
  }

  #list(peer: Peer, now: Now): void {
    this.#byName.set(peer.fqdn, peer);
    for (const address of [peer.certificate.vip4, peer.certificate.vip6]) {
      if (address === null) continue;
      const before = this.#byAddress.get(address);
      // The address went to another device: what was opened to its former owner leads astray.
      if (before !== undefined && before !== peer) before.closePaths(true, Number.POSITIVE_INFINITY, now);
      this.#byAddress.set(address, peer);
    }
  }

  #unlist(peer: Peer): void {
    if (this.#byName.get(peer.fqdn) === peer) this.#byName.delete(peer.fqdn);
    for (const address of [peer.certificate.vip4, peer.certificate.vip6]) {
      if (address !== null && this.#byAddress.get(address) === peer) this.#byAddress.delete(address);
    }
  }

  #forget(peer: Peer): void {
    this.#unlist(peer);
    this.#peers.delete(peer.nodeId);
    this.#agenda.forget(peer);
  }

  /** Forgets the peer unused for longest among those without a path. */
  #makeRoom(): boolean {
    let oldest: Peer | null = null;
    for (const peer of this.#peers.values()) {
      if (peer.paths.length > 0 || peer.isWaitedFor) continue;
      if (oldest === null || peer.usedAt < oldest.usedAt) oldest = peer;
    }
    if (oldest !== null) this.#forget(oldest);
    return oldest !== null;
  }
}
