/**
 * The peers a device can reach without the cloud: their certificates, where they were last, and the keys of the path to
 * them, for as long as both count. It outlives the daemon in a file sealed under the device's identity (`crypto/vault`).
 */

import { type Certificate, isTimely, verifyCertificate } from '../../crypto/certificate.ts';
import { openVault, sealVault } from '../../crypto/vault.ts';
import { sameOctets } from '../../lib/bytes.ts';
import { formatEndpoint } from '../../lib/ip.ts';
import { fromJson, toJson } from '../../lib/json.ts';
import type { Now } from '../../lib/time.ts';
import { Suite } from '../../proto/constants.ts';
import type { IssuedCertificate, NodeContext } from './context.ts';
import type { Direction } from './direction.ts';
import type { Path } from './path.ts';
import { Timers } from './timers.ts';
import type { ResolveQuestion } from './types.ts';

/** The least recently used give way. */
export const MAX_CACHED = 256;
/** Of one peer: both ends may have used another one last. */
const MAX_PER_PEER = 2;
/** The file is written so long after a change, and no more often than that (ms). */
const SAVE_AFTER_MS = 2_000;
const SAVE_GAP_MS = 15_000;
const FORMAT = 1;

/** A path as the file has it. */
type Stored = Omit<Direction, 'peer' | 'fresh'> & { readonly certificate: Uint8Array };
type Content = {
  readonly format: number;
  readonly issued: readonly IssuedCertificate[];
  readonly paths: readonly Stored[];
};

export class PeerCache {
  readonly timers = new Timers<'save'>();
  readonly #context: NodeContext;
  /** By PathID, the least recently used first. */
  readonly #paths = new Map<string, Direction>();
  #savedAt = Number.NEGATIVE_INFINITY;

  constructor(context: NodeContext) {
    this.#context = context;
  }

  /** Takes over what an earlier life stored. Whatever is wrong with it, the device goes on without. */
  restore(sealed: Uint8Array, now: Now): void {
    const { session, primitives, options } = this.#context;
    if (session === null) return;
    const opened = openVault(primitives, options.identity, session.certificate, sealed);
    if (opened === null) {
      this.#context.log('warn', 'the stored peers are ignored: damaged, of another device or of an earlier login');
      return;
    }
    const { format, issued, paths } = fromJson(new TextDecoder().decode(opened)) as Content;
    if (format !== FORMAT) return;
    this.#context.knowIssued(issued.filter(({ until }) => until > now.wall));
    for (const { certificate, ...stored } of paths) {
      const peer = verifyCertificate(primitives, certificate, session.caPublicKey, now.wall);
      if (typeof peer !== 'string') this.#keep({ ...stored, peer, fresh: false });
    }
    this.#prune(now);
  }

  /** A path that works, as it is now. */
  remember(path: Path, now: Now): void {
    const { direction, peer } = path;
    // Nobody proved anything in the thesis's own exchange.
    if (direction.suite === Suite.cbcMd5 || direction.expires <= now.wall) return;
    const stored = { ...direction, peer: peer.certificate, candidates: path.reach.whereabouts, fresh: false };
    const known = this.#paths.get(path.id);
    this.#keep(stored);
    if (known === undefined || !sameSight(known, stored)) this.#saveSoon(now);
  }

  /** It has no more rights in this network, or is another device now. */
  forget(nodeId: string, now: Now): void {
    const all = [...this.#paths.values()].filter(({ peer }) => peer.nodeId === nodeId);
    for (const { pathId } of all) this.#paths.delete(pathId);
    if (all.length > 0) this.#save(now);
  }

  /** The certificate that a device has now: what was stored of it under other keys counts no more. */
  shown({ nodeId, handshakeKey }: Certificate, now: Now): void {
    const isOther = ({ peer }: Direction): boolean =>
      peer.nodeId === nodeId && !sameOctets(peer.handshakeKey, handshakeKey);
    if ([...this.#paths.values()].some(isOther)) this.forget(nodeId, now);
  }

  /** This device has no more rights itself. */
  clear(now: Now): void {
    this.#paths.clear();
    this.#save(now);
  }

  has(pathId: string): boolean {
    return this.#paths.has(pathId);
  }

  path(pathId: string, now: Now): Direction | null {
    const direction = this.#paths.get(pathId);
    return direction !== undefined && isCurrent(direction, now) ? direction : null;
  }

  /** Paths to a device by name or address, the one used last first. */
  find(question: ResolveQuestion, now: Now): Direction[] {
    return this.latest(now).filter(({ peer }) =>
      'name' in question
        ? peer.fqdn === question.name
        : peer.vip4 === question.address || peer.vip6 === question.address,
    );
  }

  /** All that can still be used, the one used last first. */
  latest(now: Now): Direction[] {
    return [...this.#paths.values()].filter((direction) => isCurrent(direction, now)).reverse();
  }

  /** A renewed certificate: the file is bound to it. */
  rebound(now: Now): void {
    if (this.#paths.size > 0) this.#saveSoon(now);
  }

  tick(now: Now): void {
    if (this.timers.due(now.ms).length > 0) this.#save(now);
  }

  /** What waits to be written goes out now. */
  stop(now: Now): void {
    if (this.timers.isSet('save')) this.#save(now);
  }

  #keep(direction: Direction): void {
    this.#paths.delete(direction.pathId);
    this.#paths.set(direction.pathId, direction);
    const ofPeer = [...this.#paths.values()].filter(({ peer }) => peer.nodeId === direction.peer.nodeId);
    if (ofPeer.length > MAX_PER_PEER) this.#paths.delete(ofPeer[0]!.pathId);
    if (this.#paths.size > MAX_CACHED) this.#paths.delete(this.#paths.keys().next().value!);
  }

  #prune(now: Now): void {
    for (const [pathId, direction] of this.#paths) if (!isCurrent(direction, now)) this.#paths.delete(pathId);
  }

  #saveSoon(now: Now): void {
    if (this.timers.isSet('save')) return;
    this.timers.set('save', Math.max(now.ms + SAVE_AFTER_MS, this.#savedAt + SAVE_GAP_MS));
  }

  #save(now: Now): void {
    const { session, primitives, options, issued } = this.#context;
    if (session === null) return;
    this.#prune(now);
    this.timers.clear('save');
    this.#savedAt = now.ms;
    const paths = [...this.#paths.values()].map(({ peer, fresh: _, ...stored }) => ({
      ...stored,
      certificate: peer.octets,
    }));
    const content = new TextEncoder().encode(toJson({ format: FORMAT, issued, paths } satisfies Content));
    const octets = sealVault(primitives, options.identity, session.certificate, content);
    this.#context.emit({ do: 'storePeers', octets });
  }
}

function isCurrent({ expires, peer }: Direction, now: Now): boolean {
  return expires > now.wall && isTimely(peer, now.wall);
}

/** Whether both say the same of where and who the peer is. */
function sameSight(a: Direction, b: Direction): boolean {
  const places = ({ candidates }: Direction): string => candidates.map(formatEndpoint).join(' ');
  return places(a) === places(b) && sameOctets(a.peer.octets, b.peer.octets);
}
