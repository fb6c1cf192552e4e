/**
 * One overlay identity: registration, names, paths. Without I/O, clock or randomness of its own; every input returns
 * what is to be done, in order.
 */

import { type Address, contains, type Endpoint } from '../../lib/ip.ts';
import type { PathEvent, PathTraffic } from '../../lib/path.ts';
import type { Now } from '../../lib/time.ts';
import type { Envelope } from '../../proto/codec.ts';
import { type Candidate, MAX_MIRRORS, type Mirror, type RelayTime } from '../../proto/options.ts';
import type { Machine } from '../machine.ts';
import { NodeContext } from './context.ts';
import { Directory } from './directory.ts';
import { Inbox } from './inbox.ts';
import { PeerCache } from './peer-cache.ts';
import { foundOf, Quests } from './quests.ts';
import { Registrar } from './registrar.ts';
import { isAboutTheSame } from './relay-times.ts';
import { Reopening } from './reopening.ts';
import { Responder } from './responder.ts';
import { snapshotOf } from './snapshot.ts';
import type { StreamState } from './streams.ts';
import type { NodeAction, NodeOptions, NodeSnapshot, ResolveQuestion, Session } from './types.ts';

type NodeOnly = Exclude<NodeAction, { readonly do: 'send' | 'wake' | 'drop' | 'log' | 'count' | 'load' | 'save' }>;

export class NodeMachine implements Machine<NodeOnly> {
  readonly #context: NodeContext;
  readonly #registrar: Registrar;
  readonly #directory: Directory;
  readonly #quests: Quests;
  readonly #cache: PeerCache;
  readonly #reopening: Reopening;
  readonly #inbox: Inbox;
  #wake = Number.POSITIVE_INFINITY;
  #stopped = false;

  constructor(options: NodeOptions) {
    const context = new NodeContext(options);
    this.#context = context;
    this.#registrar = new Registrar(context, {
      online: (now) => {
        context.emit({ do: 'online' });
        this.#quests.online(now);
        this.#reopening.online(now);
      },
      offline: () => context.log('warn', 'offline'),
      remapped: (moved, now) => {
        // What the router forwards may be offered only now, or no longer.
        if (context.forwarded !== null) this.#registrar.register(now);
        for (const path of this.#directory.paths) {
          if (moved) path.reannounce(now);
          else path.readdress(now);
        }
      },
      unblocked: (now) => {
        for (const path of this.#directory.paths) path.readdress(now);
      },
    });
    context.checkMapping = (now) => this.#registrar.checkMapping(now);
    context.mapped = () => this.#registrar.registrations.flatMap(({ mapped }) => (mapped === null ? [] : [mapped]));
    context.askNms = (gapMs, now) => this.#registrar.check(now, gapMs);
    this.#directory = new Directory(context, {
      seek: (peer, avoid, now) => this.#quests.seek(peer, avoid, now),
      isSeeking: (peer) => this.#quests.isSeeking(peer),
      settled: (path, now) => this.#cache.remember(path, now),
      shown: (certificate, now) => this.#cache.shown(certificate, now),
      unreachable: (peer, now) => {
        const { vip4, vip6 } = peer.virtual;
        for (const address of [vip4, vip6]) if (address !== null) this.#quests.remember(address, now);
      },
    });
    this.#cache = new PeerCache(context);
    this.#quests = new Quests(context, this.#registrar, this.#directory, () => this.#reopening);
    this.#reopening = new Reopening(context, this.#registrar, this.#directory, this.#cache, (peer, now) =>
      this.#quests.seek(peer, null, now),
    );
    this.#inbox = new Inbox(context, {
      registrar: this.#registrar,
      directory: this.#directory,
      responder: new Responder(context, this.#registrar, this.#directory),
      reopening: this.#reopening,
      cache: this.#cache,
    });
  }

  /** After a login, and again after a renewed one: existing paths stay. */
  session(session: Session, now: Now): NodeAction[] {
    return this.#run(() => {
      this.#context.session = session;
      this.#quests.restart();
      this.#registrar.session(session, now);
      this.#cache.rebound(now);
    });
  }

  /** What an earlier life of this device stored; after the first session. */
  restore(octets: Uint8Array, now: Now): NodeAction[] {
    return this.#run(() => {
      this.#cache.restore(octets, now);
      this.#reopening.restored(now);
    });
  }

  /** The host's own usable addresses with the UDP port: at start and after every network change; and whether IPv4 is reached without one. */
  localAddresses(candidates: readonly Candidate[], now: Now, behindNat64 = false): NodeAction[] {
    return this.#run(() => {
      this.#context.local = candidates;
      this.#context.hereSince = now.ms;
      this.#context.behindNat64 = behindNat64;
      this.#registrar.register(now, true);
      for (const path of this.#directory.paths) path.readdress(now);
    });
  }

  /** Round trips to TRSs, from where we are now: the NMS hears of them if that makes a difference. */
  relayTimes(times: readonly RelayTime[], now: Now): NodeAction[] {
    return this.#run(() => {
      const known = this.#context.relayTimes;
      this.#context.relayTimes = times.slice(0, MAX_MIRRORS);
      if (!isAboutTheSame(known, this.#context.relayTimes)) this.#registrar.register(now);
    });
  }

  /** The port of the router that leads to ours, as it says; null = none. */
  forwarded(endpoint: Endpoint | null, now: Now): NodeAction[] {
    return this.#run(() => {
      this.#context.forwarded = endpoint;
      this.#registrar.register(now);
      for (const path of this.#directory.paths) path.reannounce(now);
    });
  }

  /** A stream that was asked for is open, or is not or no longer, and why. */
  streamed(endpoint: Endpoint, state: StreamState, now: Now): NodeAction[] {
    return this.#run(() => this.#context.streams.changed(endpoint, state, now));
  }

  /** Whatever the data plane reports. */
  event(event: PathEvent, now: Now): NodeAction[] {
    switch (event.on) {
      case 'datagram':
        return this.receive(event.datagram, event.from, now);
      case 'unrouted':
        return this.packet(event.packet, event.destination, now);
      case 'opened':
        return this.#run(() => this.#directory.path(event.pathId)?.opened(event.epoch, event.from, now));
      case 'moved':
        return this.#run(() => this.#directory.path(event.pathId)?.moved(event.from, now));
    }
  }

  /** `port`: the local one, if it was opened by `openPort`. */
  receive(datagram: Uint8Array, from: Endpoint, now: Now, port?: number): NodeAction[] {
    return this.#run(() => this.#inbox.receive(datagram, from, now, port));
  }

  tick(now: Now): NodeAction[] {
    return this.#run(() => {
      // The shell has just used up its timer.
      this.#wake = Number.POSITIVE_INFINITY;
      const { actions, failed } = this.#context.exchanges.tick(now);
      this.#context.emit(...actions);
      for (const purpose of failed) purpose.failed(now);
      this.#context.streams.tick(now);
      this.#registrar.tick(now);
      this.#quests.tick(now);
      this.#directory.tick(now);
      this.#reopening.tick(now);
      this.#cache.tick(now);
    });
  }

  /** Comes back as `answer` within 4 s. */
  resolve(ticket: number, question: ResolveQuestion, now: Now): NodeAction[] {
    return this.#run(() => {
      const asked = 'name' in question ? { name: canonicalName(question.name) } : question;
      const known = this.#known(asked);
      if (known !== null) this.#context.emit({ do: 'answer', ticket, result: foundOf(known) });
      else if ('address' in asked && !this.#isOverlay(asked.address)) {
        this.#context.emit({ do: 'answer', ticket, result: { status: 'unknown' } });
      } else {
        this.#quests.resolve(ticket, asked, now);
      }
    });
  }

  /** A packet without a route: it waits for its path. */
  packet(packet: Uint8Array, destination: Address, now: Now): NodeAction[] {
    return this.#run(() => {
      const { vip4, vip6 } = this.#context.virtual;
      if (!this.#isOverlay(destination) || destination === vip4 || destination === vip6) {
        this.#context.drop('no-route');
        return;
      }
      const peer = this.#directory.byAddress(destination);
      if (peer === undefined) this.#quests.packet(packet, destination, now);
      else if (peer.isLive || !this.#quests.isVain(destination, now)) peer.packet(packet, now);
      else this.#context.drop('no-route');
    });
  }

  /** Running totals of one path; about once a second while they change. */
  traffic(totals: PathTraffic, now: Now): NodeAction[] {
    return this.#run(() => this.#directory.path(totals.pathId)?.traffic(totals, now));
  }

  /** One round trip to a peer; comes back as `answer`. */
  probe(ticket: number, peerNodeId: string, now: Now): NodeAction[] {
    return this.#run(() => {
      const peer = this.#directory.byId(peerNodeId);
      if (peer === undefined) this.#context.emit({ do: 'answer', ticket, result: { status: 'timeout' } });
      else peer.probe(ticket, now);
    });
  }

  /** Says goodbye to peers and NMS; the machine does nothing afterwards. */
  stop(now: Now): NodeAction[] {
    return this.#run(() => {
      this.#cache.stop(now);
      this.#reopening.stop();
      for (const path of this.#directory.paths) path.sayGoodbye();
      this.#registrar.sayGoodbye();
      this.#registrar.stop();
      this.#context.streams.stop();
      this.#stopped = true;
    });
  }

  /** Whether a datagram is for this identity, of several on one port. */
  concerns({ id, transactionId }: Envelope, from: Endpoint): boolean {
    return (
      id === this.#context.session?.nodeId ||
      this.owns(id) ||
      this.#cache.has(id) ||
      this.#context.exchanges.expects(transactionId, from)
    );
  }

  owns(pathId: string): boolean {
    return this.#directory.path(pathId) !== undefined;
  }

  /** Services that tell where they see us, as of the last registration. */
  get mirrors(): readonly Mirror[] {
    return this.#registrar.registrations.flatMap(({ mirrors }) => mirrors);
  }

  snapshot(now: Now): NodeSnapshot {
    return snapshotOf(this.#context, this.#registrar, this.#directory, (peer) => this.#quests.isSeeking(peer), now);
  }

  #run(input: () => void): NodeAction[] {
    if (this.#stopped) return [];
    input();
    const wake = this.#stopped ? Number.POSITIVE_INFINITY : Math.min(...this.#timed.map(({ next }) => next));
    if (wake !== this.#wake) this.#context.emit({ do: 'wake', at: wake });
    this.#wake = wake;
    return this.#context.drain();
  }

  get #timed(): readonly { readonly next: number }[] {
    const { exchanges, streams } = this.#context;
    const mine = [this.#registrar, this.#quests, this.#directory, this.#reopening, this.#cache.timers];
    return [{ next: exchanges.due }, streams.timers, ...mine];
  }

  #known(question: ResolveQuestion): Parameters<typeof foundOf>[0] | null {
    const { session } = this.#context;
    if (session === null) return null;
    if ('name' in question) {
      if (question.name === session.fqdn) return session;
      const peer = this.#directory.byName(question.name);
      return peer?.isLive === true ? peer.certificate : null;
    }
    if (question.address === session.vip4 || question.address === session.vip6) return session;
    const peer = this.#directory.byAddress(question.address);
    return peer?.isLive === true ? peer.certificate : null;
  }

  #isOverlay(address: Address): boolean {
    return this.#context.session?.overlay.some((range) => contains(range, address)) ?? false;
  }
}

function canonicalName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}
