/**
 * Paths from the peer cache: opened while no NMS answers, by whoever wants to talk or knocks first, and confirmed by an
 * NMS as soon as there is one, since it alone knows whether the peer still belongs to the network.
 */

import { sameEndpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { MessageName } from '../../proto/messages.ts';
import type { Channel } from '../channel.ts';
import { Agenda } from './agenda.ts';
import type { Arrival, NodeContext } from './context.ts';
import type { Direction } from './direction.ts';
import type { Directory } from './directory.ts';
import type { Path } from './path.ts';
import { peerChannel } from './path-channels.ts';
import type { Peer } from './peer.ts';
import { MAX_CACHED, type PeerCache } from './peer-cache.ts';
import type { Registrar } from './registrar.ts';
import { Timers } from './timers.ts';
import type { ResolveQuestion } from './types.ts';

/** After its start a node without an NMS knocks at the peers it used last: behind NATs both ends have to. */
const KNOCK_AFTER_MS = 3_000;
const KNOCK_AGAIN_MS = 20_000;
const KNOCK_JITTER = 0.3;
const MAX_KNOCKS = 16;
/** When an NMS is back, not everybody asks at once; who is answered nothing asks again (ms). */
const CONFIRM_WITHIN_MS = 5_000;
const CONFIRM_AGAIN_MS = 60_000;

export class Reopening {
  readonly timers = new Timers<'knock'>();
  readonly #context: NodeContext;
  readonly #registrar: Registrar;
  readonly #directory: Directory;
  readonly #cache: PeerCache;
  readonly #seek: (peer: Peer, now: Now) => void;
  readonly #unconfirmed = new Agenda<Peer>();
  /** Of stored paths that somebody sent something about, whom we don't know yet. */
  readonly #doors = new Map<string, Channel>();
  /** PathIDs of an earlier life. */
  #restored: readonly string[] = [];

  constructor(
    context: NodeContext,
    registrar: Registrar,
    directory: Directory,
    cache: PeerCache,
    seek: (peer: Peer, now: Now) => void,
  ) {
    this.#context = context;
    this.#registrar = registrar;
    this.#directory = directory;
    this.#cache = cache;
    this.#seek = seek;
  }

  /** An earlier life had these paths. */
  restored(now: Now): void {
    const paths = this.#cache.latest(now).slice(0, MAX_KNOCKS);
    this.#restored = paths.map(({ pathId }) => pathId);
    if (paths.length > 0) this.timers.set('knock', now.ms + KNOCK_AFTER_MS);
  }

  /** Opens what leads to a device; null if nothing does. */
  open(question: ResolveQuestion, now: Now): Peer | null {
    const stored = this.#cache.find(question, now);
    const opened = stored.map((direction) => this.#open(direction, now));
    // Meanwhile it may have been opened by a knock, ours or the peer's.
    const known = stored.map(({ peer }) => this.#directory.byId(peer.nodeId)).find((peer) => peer?.isLive === true);
    return opened.find((path) => path !== null)?.peer ?? known ?? null;
  }

  /**
   * The channel for a datagram about a path that is not open: null if none is stored. The path is opened only after the
   * sender proved that it has its key, and lives now.
   */
  door(pathId: string, { from, relayed }: Arrival, now: Now): Channel | null {
    const direction = this.#cache.path(pathId, now);
    if (direction === null || relayed !== direction.relays.some((relay) => sameEndpoint(relay, from))) return null;
    const door = this.#doors.get(pathId) ?? peerChannel(this.#context, direction);
    this.#doors.set(pathId, door);
    if (this.#doors.size > MAX_CACHED) this.#closeDoors();
    return door;
  }

  /** Those of paths that are not stored any more. */
  #closeDoors(): void {
    for (const [pathId, door] of this.#doors) {
      if (this.#cache.has(pathId)) continue;
      door.close();
      this.#doors.delete(pathId);
    }
  }

  /**
   * Somebody was let in by that door. Who neither begins a handshake nor says goodbye may still go by keys that our earlier
   * life had, and would go on looking for us with them.
   */
  entered(pathId: string, type: MessageName, now: Now): Path | null {
    const direction = this.#cache.path(pathId, now);
    const starts = type !== 'tunnelRequest' && type !== 'notice';
    const path = direction === null ? null : this.#begin(direction, starts, now);
    if (path !== null && this.#registrar.isOnline) this.#unconfirmed.wake(path.peer, now.ms);
    return path;
  }

  /** An NMS says that there is no such device, or that it is not for us: what was stored of it counts no more. */
  denied(question: ResolveQuestion, now: Now): void {
    for (const { peer } of this.#cache.find(question, now)) this.#cache.forget(peer.nodeId, now);
    const peer =
      'name' in question ? this.#directory.byName(question.name) : this.#directory.byAddress(question.address);
    peer?.closePaths(false, Number.POSITIVE_INFINITY, now);
  }

  online(now: Now): void {
    this.#restored = [];
    this.timers.clear('knock');
    for (const peer of this.#directory.peers) if (isStored(peer)) this.#confirmSoon(peer, now);
  }

  get next(): number {
    return Math.min(this.timers.next, this.#unconfirmed.next);
  }

  tick(now: Now): void {
    if (this.timers.due(now.ms).length > 0) this.#knock(now);
    for (let peer = this.#unconfirmed.due(now.ms); peer !== undefined; peer = this.#unconfirmed.due(now.ms)) {
      if (!isStored(peer) || !this.#registrar.isOnline) continue;
      this.#unconfirmed.wake(peer, now.ms + CONFIRM_AGAIN_MS * this.#context.jitter(KNOCK_JITTER));
      this.#seek(peer, now);
    }
  }

  stop(): void {
    for (const door of this.#doors.values()) door.close();
    this.#doors.clear();
  }

  #knock(now: Now): void {
    for (const pathId of this.#restored) {
      const direction = this.#cache.path(pathId, now);
      if (direction !== null && this.#directory.byId(direction.peer.nodeId)?.isLive !== true)
        this.#open(direction, now);
    }
    this.timers.set('knock', now.ms + KNOCK_AGAIN_MS * this.#context.jitter(KNOCK_JITTER));
  }

  #open(direction: Direction, now: Now): Path | null {
    const path = this.#begin(direction, true, now);
    path?.peer.budget.wish();
    if (path !== null && this.#registrar.isOnline) this.#confirmSoon(path.peer, now);
    return path;
  }

  #begin(direction: Direction, starts: boolean, now: Now): Path | null {
    const { pathId } = direction;
    if (this.#directory.path(pathId) !== undefined) return null;
    const known = this.#directory.byId(direction.peer.nodeId);
    const isNewer = known === undefined || known.certificate.notBefore < direction.peer.notBefore;
    const peer = isNewer ? this.#directory.learn(direction.peer, now) : known;
    if (peer === null) return null;
    const opened = this.#directory.open(peer, direction, now, this.#doors.get(pathId));
    if (opened === null) return null;
    // What the peers of an earlier life still have is of use.
    this.#registrar.remembers();
    this.#doors.delete(pathId);
    this.#context.emit({ do: 'count', name: 'paths-reopened' });
    opened.path.begin(now, { starts });
    return opened.path;
  }

  #confirmSoon(peer: Peer, now: Now): void {
    this.#unconfirmed.wake(peer, now.ms + (CONFIRM_WITHIN_MS / 2) * this.#context.jitter(1));
  }
}

/** Whether packets to the peer take a path that no NMS made in this life. */
function isStored(peer: Peer): boolean {
  return peer.path !== null && !peer.path.direction.fresh;
}
