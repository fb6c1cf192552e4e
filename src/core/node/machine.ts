/**
 * One overlay identity: registration, names, paths. Without I/O, clock or randomness of its own; every input returns
 * what is to be done, in order.
 */

import { type Address, contains, type Endpoint, formatEndpoint } from '../../lib/ip.ts';
import type { PathEvent, PathTraffic } from '../../lib/path.ts';
import type { Now } from '../../lib/time.ts';
import { type Envelope, type MessageOf, readEnvelope } from '../../proto/codec.ts';
import { Flag, NoticeReason } from '../../proto/messages.ts';
import { type Candidate, MAX_MIRRORS, type Mirror, type RelayTime, SenderKind } from '../../proto/options.ts';
import type { Channel, Opened, Sender } from '../channel.ts';
import { sendAll } from '../exchange.ts';
import type { Machine } from '../machine.ts';
import { type Arrival, NodeContext } from './context.ts';
import { Directory } from './directory.ts';
import { PeerCache } from './peer-cache.ts';
import { foundOf, Quests } from './quests.ts';
import { Registrar } from './registrar.ts';
import { isAboutTheSame } from './relay-times.ts';
import { Reopening } from './reopening.ts';
import { Responder } from './responder.ts';
import { snapshotOf } from './snapshot.ts';
import type { StreamState } from './streams.ts';
import type { NodeAction, NodeOptions, NodeSnapshot, ResolveQuestion, Session } from './types.ts';

/** A peer that starts anew may have a path of its new life before we hear of the end of the old one (ms). */
const NEW_LIFE_MS = 5_000;

type NodeOnly = Exclude<NodeAction, { readonly do: 'send' | 'wake' | 'drop' | 'log' | 'count' | 'load' | 'save' }>;

export class NodeMachine implements Machine<NodeOnly> {
  readonly #context: NodeContext;
  readonly #registrar: Registrar;
  readonly #directory: Directory;
  readonly #quests: Quests;
  readonly #responder: Responder;
  readonly #cache: PeerCache;
  readonly #reopening: Reopening;
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
    this.#responder = new Responder(context, this.#registrar, this.#directory);
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
    return this.#run(() => {
      const envelope = readEnvelope(datagram);
      if (typeof envelope === 'string') this.#context.drop(envelope, from);
      else if (envelope.type === 'routeDirection' || envelope.id === this.#context.session?.nodeId) {
        this.#receiveFromNms(datagram, envelope, from, now);
      } else {
        this.#receiveOnPath(datagram, envelope, from, now, port);
      }
    });
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

  /** Opens a datagram on its channel; null if there is nothing more to do about it. */
  #open(
    channel: Channel,
    datagram: Uint8Array,
    envelope: Envelope,
    arrival: Arrival,
    now: Now,
    heard: (octets: number) => void = () => {},
  ): Extract<Opened, { kind: 'message' }> | null {
    const { from } = arrival;
    const answersUs = this.#context.exchanges.expects(envelope.transactionId, from);
    const opened = channel.open(datagram, envelope, from, now, answersUs);
    if (opened.kind === 'message' || opened.kind === 'part') heard(datagram.length);
    if (opened.kind === 'challenge') this.#context.emit(...sendAll(opened.datagrams, from));
    if (opened.kind === 'drop') this.#context.drop(opened.reason, from);
    if (opened.kind !== 'message') return null;
    return this.#context.settle(channel, opened.message, opened.sender, arrival, now) ? null : opened;
  }

  #receiveFromNms(datagram: Uint8Array, envelope: Envelope, from: Endpoint, now: Now): void {
    const { channel } = this.#registrar;
    const arrival = { from, relayed: false };
    if (channel === null) return;
    const opened = this.#open(channel, datagram, envelope, arrival, now, () => this.#context.heard(from, now));
    if (opened === null) return;
    const { message, sender } = opened;
    if ((message.flags & Flag.response) !== 0) {
      this.#duplicate();
    } else if (message.type === 'routeDirection') {
      this.#responder.directed(message, sender, channel, arrival, now);
    } else if (message.type === 'notice') {
      this.#noticed(message, sender, channel, arrival, now);
    } else {
      this.#context.drop('unexpected', from);
    }
  }

  #noticed(message: MessageOf<'notice'>, sender: Sender, channel: Channel, arrival: Arrival, now: Now): void {
    const { answers, session } = this.#context;
    const isNew = answers.find(sender, message.transactionId) === undefined;
    const ack = { type: 'ack' as const, id: message.id, transactionId: message.transactionId, body: {} };
    answers.remember(sender, message.transactionId, ack, now);
    this.#context.reply(channel, ack, arrival);
    if (!isNew) return;
    const { reason, subject } = message.body;
    const peer = this.#directory.byId(subject);
    if (reason === NoticeReason.refused && subject === session?.nodeId) {
      for (const path of [...this.#directory.paths]) path.peer.closePaths(false, Number.POSITIVE_INFINITY, now);
      this.#registrar.refuse();
      this.#cache.clear(now);
    } else if (reason === NoticeReason.peerRevoked) {
      this.#cache.forget(subject, now);
      peer?.closePaths(false, Number.POSITIVE_INFINITY, now);
    } else if (reason === NoticeReason.peerGone && peer !== undefined) {
      peer.closePaths(false, now.ms - NEW_LIFE_MS, now);
      for (const path of peer.paths) path.suspect(now);
    } else if (reason === NoticeReason.registerChanged) {
      this.#context.emit({ do: 'registerChanged' });
    } else if (reason === NoticeReason.serviceStopping) {
      this.#context.log('info', 'an NMS is about to stop', { nms: formatEndpoint(arrival.from) });
      this.#registrar.register(now);
    }
  }

  #receiveOnPath(datagram: Uint8Array, envelope: Envelope, from: Endpoint, now: Now, port?: number): void {
    const path = this.#directory.path(envelope.id);
    const relayed = (envelope.flags & Flag.relayed) !== 0;
    const claimsRelay = envelope.options.instance?.kind === SenderKind.trs;
    if (path === undefined) {
      this.#knocked(datagram, envelope, { from, relayed }, now);
      return;
    }
    // Relayed messages come from the relay; what the relay says itself is not relayed.
    if ((relayed || claimsRelay) !== path.isRelay(from) || (relayed && claimsRelay)) {
      this.#context.drop('foreign-address', from);
      return;
    }
    const arrival = { from, relayed, port };
    const opened = claimsRelay
      ? this.#open(path.relayChannel, datagram, envelope, arrival, now)
      : this.#open(path.channel, datagram, envelope, arrival, now, (octets) => path.peer.budget.earn(octets));
    if (opened === null) return;
    if ((opened.message.flags & Flag.response) !== 0) this.#duplicate();
    // A closed path only waits for the acknowledgement of its goodbye.
    else if (path.isClosed) this.#context.drop('unknown-path', from);
    else path.receive(opened.message, opened.sender, arrival, now);
  }

  /** A path that is not open: a peer that talked to an earlier life of ours may come back to it. */
  #knocked(datagram: Uint8Array, envelope: Envelope, arrival: Arrival, now: Now): void {
    const door = this.#reopening.door(envelope.id, arrival, now);
    if (door === null) {
      this.#context.drop('unknown-path', arrival.from);
      return;
    }
    const opened = this.#open(door, datagram, envelope, arrival, now);
    if (opened !== null)
      this.#reopening.entered(envelope.id, envelope.type, now)?.receive(opened.message, opened.sender, arrival, now);
  }

  /** Answers to repeated requests come more than once. */
  #duplicate(): void {
    this.#context.emit({ do: 'count', name: 'duplicates' });
  }
}

function canonicalName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}
