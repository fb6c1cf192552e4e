/** Another device: who it is by its verified certificate, the paths to it, and what waits for one. */

import type { Certificate } from '../../crypto/certificate.ts';
import { sameOctets } from '../../lib/bytes.ts';
import { sameEndpoint } from '../../lib/ip.ts';
import type { PathTraffic, VirtualAddresses } from '../../lib/path.ts';
import type { Now } from '../../lib/time.ts';
import { WAITING_PACKETS } from '../../proto/constants.ts';
import type { Channel } from '../channel.ts';
import type { NodeContext } from './context.ts';
import type { Direction } from './direction.ts';
import { Path, type PathEnd } from './path.ts';
import { ProbeBudget } from './probe-budget.ts';
import { Timers } from './timers.ts';
import type { Way } from './ways.ts';

/** Paths that came up within this time of one another were asked for by both ends at once (ms). */
const SIMULTANEOUS_MS = 5_000;
/**
 * A path that another one has replaced is closed after this long without a packet (ms). Each end may take another one for
 * the spare: if both closed theirs at once none would be left.
 */
const SPARE_MS = { ofLowerNodeId: 30_000, ofHigher: 40_000 } as const;
/** How long somebody who measures the round trip is kept waiting (ms). */
const PROBE_MS = 4_000;
/** The newest displace the oldest: a peer that starts anew again and again leaves dead ones behind. */
const MAX_PATHS = 4;
/** Peers stay listed until an hour idle. */
const FORGET_MS = 3_600_000;

export type Traffic = Omit<PathTraffic, 'pathId'>;

const noTraffic: Traffic = {
  txPackets: 0,
  txBytes: 0,
  txDropped: 0,
  txLarge: 0,
  rxPackets: 0,
  rxBytes: 0,
  rxDropped: 0,
  rxReplayed: 0,
  rxRejected: 0,
};

export type PeerEvents = {
  /** It wants `tick` to be called by then. */
  wake(peer: Peer, at: number): void;
  /** Ask the NMS for a path, rather not through this relay. */
  seek(peer: Peer, avoid: string | null, now: Now): void;
  isSeeking(peer: Peer): boolean;
  /** Packets go this way now. */
  settled(path: Path, now: Now): void;
  pathGone(path: Path): void;
  /** It cannot be reached: nothing waits for it any more. */
  unreachable(peer: Peer, now: Now): void;
  /** Unused for so long that it need not be remembered. */
  forget(peer: Peer): void;
};

/** Somebody waits for a round trip, which may be under way. */
type Probe = { readonly ticket: number; readonly deadline: number; measuring: boolean };

/** Shared by all who have none. */
const nothing: readonly never[] = [];

export class Peer {
  certificate: Certificate;
  readonly timers: Timers<'probe' | 'forget'> = new Timers(this);
  readonly budget = new ProbeBudget();
  /** So many datagrams as port prediction takes go to one peer but rarely (ms). */
  predictionPausedUntil = Number.NEGATIVE_INFINITY;
  readonly #context: NodeContext;
  readonly #events: PeerEvents;
  #paths: readonly Path[] = [];
  /** The path that packets take. */
  #routed: Path | null = null;
  #waiting: readonly Uint8Array[] = nothing;
  /** Traffic of paths that are gone. */
  #past = noTraffic;
  /** Those who wait for a round trip, the longest first. */
  #probes: readonly Probe[] = nothing;
  usedAt: number;

  constructor(context: NodeContext, certificate: Certificate, events: PeerEvents, now: Now) {
    this.#context = context;
    this.certificate = certificate;
    this.#events = events;
    this.usedAt = now.ms;
    this.timers.set('forget', now.ms + FORGET_MS);
  }

  get nodeId(): string {
    return this.certificate.nodeId;
  }

  get fqdn(): string {
    return this.certificate.fqdn;
  }

  get virtual(): VirtualAddresses {
    const { vip4, vip6 } = this.certificate;
    return { vip4, vip6 };
  }

  get paths(): readonly Path[] {
    return this.#paths;
  }

  /** The path in use, or, while there is none, the newest. */
  get path(): Path | null {
    return this.#routed ?? this.#paths.at(-1) ?? null;
  }

  /** A path is up, coming up, or asleep: the peer need not be asked for. */
  get isLive(): boolean {
    return this.#paths.some((path) => path.isHealthy);
  }

  get isWaitedFor(): boolean {
    return this.#waiting.length > 0;
  }

  /** Traffic of all paths there have been. */
  get traffic(): Traffic {
    return this.#paths.reduce((sum, { totals }) => added(sum, totals), this.#past);
  }

  /** It has shown its latest certificate, mostly the one that is known. */
  renewed(certificate: Certificate): void {
    if (!sameOctets(certificate.octets, this.certificate.octets)) this.certificate = certificate;
  }

  addPath(direction: Direction, now: Now, channel?: Channel): Path {
    const unused = this.#paths.filter((path) => path !== this.#routed);
    if (unused.length >= MAX_PATHS - 1) this.#close(unused[0]!, true, now);
    const path = new Path(this.#context, this, direction, now, channel);
    this.#paths = this.#paths.concat(path);
    this.usedAt = now.ms;
    return path;
  }

  /** A packet for it, which goes out at once, or waits for a path. */
  packet(packet: Uint8Array, now: Now): void {
    this.usedAt = now.ms;
    if (this.#routed !== null) {
      this.#context.emit({ do: 'sendPackets', pathId: this.#routed.id, packets: [packet] });
      return;
    }
    this.adopt([packet]);
    this.#wantPath(now);
  }

  /** Packets that wait for a path, maybe since before it was known. */
  adopt(packets: readonly Uint8Array[]): void {
    const room = WAITING_PACKETS - this.#waiting.length;
    this.#waiting = this.#waiting.concat(packets.slice(0, room));
    for (let i = room; i < packets.length; i++) this.#context.drop('backlog-full');
  }

  /** One round trip for this ticket, as soon as there is a path. */
  probe(ticket: number, now: Now): void {
    this.#probes = this.#probes.concat({ ticket, deadline: now.ms + PROBE_MS, measuring: false });
    this.#awaitProbes();
    this.usedAt = now.ms;
    if (!this.#measure(now)) this.#wantPath(now);
  }

  /** The NMS had no path to offer. */
  seekFailed(now: Now): void {
    if (!this.#paths.some((path) => path.isUp || !path.wasUp)) this.#giveUp(now);
  }

  /** Its life before is over, or its rights are: all paths made before go. */
  closePaths(notice: boolean, before: number, now: Now): void {
    for (const path of [...this.#paths]) if (path.createdAt < before) this.#close(path, notice, now);
    this.settle(now);
  }

  tick(now: Now): void {
    for (const path of [...this.#paths]) if (path.next <= now.ms) path.tick(now);
    for (const timer of this.timers.due(now.ms)) {
      if (timer === 'probe') this.#expireProbes(now);
      else this.#expire(now);
    }
  }

  /** It wants `tick` to be called by then. */
  wake(at: number): void {
    this.#events.wake(this, at);
  }

  get next(): number {
    return Math.min(this.timers.next, ...this.#paths.map((path) => path.next));
  }

  #wantPath(now: Now): void {
    // One that comes up or recovers is worth the wait; one that can't do either asks for another by itself. Whether one of
    // an earlier life comes up nobody knows: the peer may not have it any more, and an NMS that answers makes a new one.
    const isUnderWay = this.#paths.some((path) => (path.isHealthy ? !path.wasUp && path.direction.fresh : path.isUp));
    if (isUnderWay || this.#events.isSeeking(this)) return;
    const asleep = this.#paths.find((path) => path.isHealthy && path.wasUp && path.chosen !== null);
    if (asleep === undefined) this.#events.seek(this, null, now);
    else asleep.wakeUp(now);
  }

  /** A path can carry packets now, or no longer, or goes another way: leads them over the best one there is. */
  settle(now: Now): void {
    const best = preferred(this.#paths);
    // What waited goes before what comes now.
    if (best !== null && this.isWaitedFor) {
      this.#context.emit({ do: 'sendPackets', pathId: best.id, packets: this.#waiting });
      this.#waiting = nothing;
    }
    if (best !== this.#routed) {
      this.#routed = best;
      const { virtual: local } = this.#context;
      this.#context.emit({ do: 'route', local, peer: this.virtual, pathId: best?.id ?? null });
    }
    if (best === null) return;
    this.#events.settled(best, now);
    this.#measure(now);
    for (const path of [...this.#paths]) if (path !== best && path.isUp) this.#spare(path, best, now);
  }

  #spare(path: Path, best: Path, now: Now): void {
    const since = Math.max(path.usedAt, path.upSince?.ms ?? 0, best.upSince?.ms ?? 0);
    const isLower = this.#context.session !== null && this.#context.session.nodeId < this.nodeId;
    const until = since + (isLower ? SPARE_MS.ofLowerNodeId : SPARE_MS.ofHigher);
    if (!path.isHealthy || now.ms >= until) this.#close(path, true, now);
    else path.timers.set('spare', until);
  }

  /**
   * No answer comes by this way, nor by any other. Paths that go the same way, and have heard no more, need not find that out
   * by themselves once packets take them.
   */
  fellSilent(path: Path, { endpoint, origin }: Way, now: Now): void {
    for (const { chosen, heardAt, reach } of this.#paths) {
      if (chosen === null || chosen.origin !== origin || !sameEndpoint(chosen.endpoint, endpoint)) continue;
      if (heardAt <= path.heardAt) reach.wayDead(chosen, now);
    }
  }

  /** A new path should be asked for; this one may still recover. */
  redirect(path: Path, now: Now): void {
    // Its keys ran out and nobody answers: it has no use beside the new one.
    if (!path.isUp) this.#close(path, false, now);
    this.settle(now);
    if (!this.#events.isSeeking(this)) this.#events.seek(this, path.avoids, now);
  }

  ended(path: Path, why: PathEnd, now: Now): void {
    path.say(why);
    this.#close(path, why !== 'closed by the peer', now);
    this.settle(now);
    if (!this.isLive && !this.#events.isSeeking(this)) this.#giveUp(now);
  }

  #close(path: Path, notice: boolean, now: Now): void {
    this.usedAt = Math.max(this.usedAt, path.usedAt);
    this.#past = added(this.#past, path.totals);
    this.#paths = this.#paths.filter((other) => other !== path);
    path.close(notice, () => this.#events.pathGone(path), now);
  }

  #giveUp(now: Now): void {
    for (const _ of this.#waiting) this.#context.drop('no-route');
    const wasWaitedFor = this.isWaitedFor;
    this.#waiting = nothing;
    for (const probe of this.#probes) this.#answerProbe(probe, null);
    if (wasWaitedFor) this.#events.unreachable(this, now);
  }

  /** Whether there is a way to measure on. */
  #measure(now: Now): boolean {
    const path = this.path;
    const way = path?.chosen ?? null;
    if (path === null || way === null || !path.isHealthy) return false;
    for (const probe of this.#probes) {
      if (probe.measuring) continue;
      probe.measuring = true;
      path.measure(way, (rttMs) => this.#answerProbe(probe, rttMs), now);
    }
    return true;
  }

  #answerProbe(probe: Probe, rttMs: number | null): void {
    if (!this.#probes.includes(probe)) return;
    const left = this.#probes.filter((other) => other !== probe);
    this.#probes = left.length > 0 ? left : nothing;
    const path = this.path;
    const way = path?.chosen ?? null;
    const result =
      rttMs === null || path?.kind == null || way === null
        ? ({ status: 'timeout' } as const)
        : ({ status: 'reply', rttMs, path: path.kind, endpoint: way.endpoint } as const);
    this.#context.emit({ do: 'answer', ticket: probe.ticket, result });
  }

  #awaitProbes(): void {
    const [first] = this.#probes;
    if (first !== undefined) this.timers.set('probe', first.deadline);
  }

  #expireProbes(now: Now): void {
    for (const probe of this.#probes) if (probe.deadline <= now.ms) this.#answerProbe(probe, null);
    this.#awaitProbes();
  }

  #expire(now: Now): void {
    const usedAt = Math.max(this.usedAt, ...this.#paths.map((path) => path.usedAt));
    const until = usedAt + FORGET_MS;
    if (this.#paths.length === 0 && now.ms >= until) this.#events.forget(this);
    else this.timers.set('forget', Math.max(until, now.ms + FORGET_MS / 2));
  }
}

function added(sum: Traffic, totals: PathTraffic | null): Traffic {
  if (totals === null) return sum;
  const names = Object.keys(noTraffic) as (keyof Traffic)[];
  return Object.fromEntries(names.map((name) => [name, sum[name] + totals[name]])) as Traffic;
}

/**
 * Where packets go; while nothing proven leads to the peer they wait. Of several paths for one pair the newest carries the
 * packets; of those that came up at once, because both ends asked for one, the one with the lower PathID (protocol section 3),
 * or the one that an NMS knows of. One that owes an answer goes last: it may lead to the peer's life before.
 */
function preferred(paths: readonly Path[]): Path | null {
  const fit = paths.filter((path) => path.isUp && path.isHealthy);
  const newest = Math.max(...fit.map((path) => path.upSince?.ms ?? 0));
  const latest = fit.filter((path) => newest - (path.upSince?.ms ?? 0) < SIMULTANEOUS_MS);
  const owing = ({ isOwing, heardAt }: Path): number => (isOwing ? -heardAt : Number.NEGATIVE_INFINITY);
  const rank = ({ direction }: Path): number => (direction.fresh ? 0 : 1);
  const order = (a: Path, b: Path): number =>
    a.isOwing || b.isOwing ? owing(a) - owing(b) : rank(a) - rank(b) || (a.id < b.id ? -1 : 1);
  return latest.sort(order)[0] ?? null;
}
