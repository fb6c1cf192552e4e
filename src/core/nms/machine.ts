/**
 * The Node Management Service: hears where every node is, directs pairs of them to each other, tells the ends of a path
 * when the other one is gone (protocol section 4). It never sees an End Key, and nobody has to believe it about names:
 * what it hands out are certificates that the ends verify themselves.
 */

import type { KeyPair, Primitives } from '../../crypto/primitives.ts';
import type { Device, RegisterAnswer, SaveResult, Service } from '../../lib/device.ts';
import { contains, type Endpoint, type Prefix } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import { type Envelope, type Message, readEnvelope } from '../../proto/codec.ts';
import { PRESENCE_MS } from '../../proto/constants.ts';
import { type MessageName, NoticeReason } from '../../proto/messages.ts';
import { SenderKind } from '../../proto/options.ts';
import { PartBuffer } from '../../proto/parts.ts';
import type { Opened } from '../channel.ts';
import { Exchanges } from '../exchange.ts';
import { Buckets, siteOf } from '../limits.ts';
import type { Machine } from '../machine.ts';
import { asksMirror, MirrorDirectory, MirrorService } from '../mirror.ts';
import { Alarm, dropped, unopened } from '../service.ts';
import type { Action, ReplicaAction } from './actions.ts';
import { Changes } from './changes.ts';
import { Directions, type NmsTag } from './directions.ts';
import { Directory } from './directory.ts';
import { type Notice, Notices } from './notices.ts';
import { PathTable } from './paths.ts';
import { PresentNode } from './presence.ts';
import { type Relay, type RelayReplica, Relays } from './relays.ts';
import { Replicas } from './replicas.ts';
import { reply, Standing } from './standing.ts';

export type NmsOptions = {
  readonly primitives: Primitives;
  /** This service's NodeID and key pair, as registered. */
  readonly nodeId: string;
  readonly keys: KeyPair;
  readonly overlay: readonly Prefix[];
  /** Families this service can send in. */
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** Which of several replicas this is at the moment, 0 to 255; absent = the only one. */
  readonly replica?: () => number;
  /** See there; absent = replicas share one address, and any of them may send from it. */
  readonly behindBalancer?: boolean;
  /** See there; absent = other replicas may write what they share. */
  readonly alone?: boolean;
  /** Nodes of this network predict no ports. */
  readonly noPortPrediction?: boolean;
};

const SWEEP_MS = 1_000;
/** What does not fit goes along the next time. */
const MAX_SIGHTINGS = 4_096;
/** Unknown NodeIDs of one site that the register is asked for: a share of what it is asked for in all. */
const STRANGER_RATE = { burst: 256, perSecond: 400 };

/** What a node that is not known yet may begin with; nothing else is worth asking the register for. */
const opening = new Set<MessageName>(['registrationRequest', 'keepAlive', 'directionRequest']);

export class NmsMachine implements Machine<ReplicaAction> {
  readonly #options: NmsOptions;
  readonly #exchanges: Exchanges<NmsTag>;
  readonly #directory: Directory;
  readonly #directions: Directions;
  readonly #relays: Relays;
  readonly #mirror: MirrorService;
  readonly #mirrors: MirrorDirectory;
  #services: readonly Service[] = [];
  readonly #paths = new PathTable(({ initiator, responder }) => {
    // Whom it leads to must hear of its end all the same: who makes many paths could else outlive its revocation.
    for (const end of [initiator, responder]) {
      const node = this.#nodes.get(end);
      if (node !== undefined) node.mayHaveUnknownPaths = true;
    }
  });
  readonly #notices: Notices;
  readonly #changes: Changes;
  readonly #replicas: Replicas;
  readonly #standing: Standing;
  readonly #parts = new PartBuffer();
  readonly #strangers = new Buckets(STRANGER_RATE);
  /** By NodeID. */
  readonly #nodes = new Map<string, PresentNode>();
  #tickets = 0;
  /** Nodes seen, and when (Unix milliseconds), that the register does not know yet. */
  readonly #sightings = new Map<string, number>();
  #saving: number | null = null;
  /** What is being taken in arrived at another replica. */
  #overheard = false;
  /** Where a datagram came from that is answered only now, as its sender had to be looked up. */
  #answering: Endpoint | null = null;
  #sweepAt = 0;
  readonly #alarm = new Alarm();

  constructor(options: NmsOptions) {
    this.#options = options;
    const { primitives, replica: number = null, behindBalancer = false, alone = false } = options;
    this.#exchanges = new Exchanges(primitives, number);
    const nextTicket = (): number => ++this.#tickets;
    this.#replicas = new Replicas({
      number,
      behindBalancer,
      alone,
      nextTicket,
      known: (nodeId) => this.#nodes.get(nodeId),
      admit: (device, now) => this.#admit(device, now),
    });
    this.#directory = new Directory(nextTicket);
    this.#relays = new Relays({ ...options, parts: this.#parts });
    this.#mirror = new MirrorService(options, SenderKind.nms);
    this.#mirrors = new MirrorDirectory(options);
    this.#notices = new Notices(
      (notice, now) => this.#sendNotice(notice, now),
      (which) => this.#exchanges.cancel((tag) => tag.for === 'notice' && which(tag.notice)),
    );
    this.#directions = new Directions({
      ...options,
      exchanges: this.#exchanges,
      directory: this.#directory,
      paths: this.#paths,
      relays: this.#relays,
      replicas: this.#replicas,
      present: (nodeId) => this.#nodes.get(nodeId),
      closeRelay: (to, subject, now) => this.#notices.push({ to, reason: NoticeReason.pathClosed, subject }, now),
    });
    this.#changes = new Changes({
      nodes: this.#nodes,
      directory: this.#directory,
      directions: this.#directions,
      paths: this.#paths,
      listeners: [this.#relays, this.#mirror, { update: (services) => this.#listMirrors(services) }],
      relays: this.#relays,
      notices: this.#notices,
      replicas: this.#replicas,
      nextTicket,
    });
    this.#standing = new Standing({
      directory: this.#directory,
      changes: this.#changes,
      notices: this.#notices,
      mirrors: this.#mirrors,
      replicas: this.#replicas,
      forget: (node) => this.#forget(node),
    });
  }

  /** Sizes, for reports and for tests of the bounds. */
  get sizes(): {
    readonly nodes: number;
    readonly paths: number;
    readonly records: number;
    readonly questions: number;
  } {
    const { size: records, open: questions } = this.#directory;
    return { nodes: this.#nodes.size, paths: this.#paths.size, records, questions };
  }

  receive(datagram: Uint8Array, from: Endpoint, now: Now): Action[] {
    const envelope = readEnvelope(datagram);
    if (typeof envelope === 'string') return dropped(envelope, from);
    const passed = this.#replicas.pass(datagram, envelope, from, now);
    return this.#wake(passed ?? this.#dispatch(datagram, envelope, from, now), from);
  }

  /** A datagram that arrived at another replica and answers this one. */
  passed(datagram: Uint8Array, from: Endpoint, now: Now): Action[] {
    const envelope = readEnvelope(datagram);
    if (typeof envelope === 'string') return dropped(envelope, from);
    this.#overheard = true;
    const actions = this.#dispatch(datagram, envelope, from, now);
    this.#overheard = false;
    return this.#wake(actions);
  }

  /** The replicas of TRSs that announce themselves. */
  relaysPresent(replicas: readonly RelayReplica[], now: Now): Action[] {
    if (this.#relays.present(replicas, now)) this.#listMirrors();
    return [];
  }

  /** What replicas share is lost: each node is told of anew when it speaks next. */
  sharedEmptied(): Action[] {
    for (const node of this.#nodes.values()) node.unshare();
    return [];
  }

  /** What was asked of the store that replicas share; null = it could not be asked. */
  recalled(ticket: number, values: readonly (string | null)[] | null, now: Now): Action[] {
    return this.#wake(this.#replicas.recalled(ticket, values, now));
  }

  tick(now: Now): Action[] {
    this.#alarm.rang();
    const { actions, failed } = this.#exchanges.tick(now);
    const given = failed.flatMap((tag) =>
      tag.for === 'notice' ? this.#notices.failed(tag.notice, now) : this.#directions.failed(tag, now),
    );
    return this.#wake([...actions, ...given, ...(now.ms >= this.#sweepAt ? this.#sweep(now) : [])]);
  }

  /** The register changed, or may have: asks for what is new. Also the first input of all. */
  registerChanged(_now: Now): Action[] {
    return this.#wake(this.#changes.refresh());
  }

  loaded(ticket: number, answer: RegisterAnswer | null, now: Now): Action[] {
    return this.#wake(this.#directory.loaded(ticket, answer, now) ?? this.#changes.loaded(ticket, answer, now));
  }

  saved(ticket: number, _result: SaveResult | null, _now: Now): Action[] {
    if (ticket === this.#saving) this.#saving = null;
    return [];
  }

  #dispatch(datagram: Uint8Array, envelope: Envelope, from: Endpoint, now: Now): Action[] {
    if (this.#options.overlay.some((range) => contains(range, from.address))) return dropped('forbidden-address', from);
    if (asksMirror(envelope)) return this.#mirror.answer(datagram, envelope, from, now);
    const relay = this.#relayOf(envelope);
    if (relay !== undefined) return this.#fromRelay(relay, datagram, envelope, from, now);
    const confirming = envelope.type === 'routeDirectionConfirmation';
    const node = confirming ? this.#directions.responderOf(envelope.id) : this.#nodes.get(envelope.id);
    if (node !== undefined) return this.#fromNode(node, datagram, envelope, from, now);
    if (!opening.has(envelope.type)) return dropped(confirming ? 'unknown-path' : 'unknown-sender', from);
    if (this.#directory.known(envelope.id) === undefined && !this.#strangers.take(siteOf(from), now.ms)) {
      return dropped('rate-limited', from);
    }
    return this.#directory.find({ by: 'nodeId', value: envelope.id }, false, now, (found, later) => {
      if (found === 'busy') return dropped('rate-limited', from);
      if (found === null) return dropped('unknown-sender', from);
      return this.#replicas.refresh(found, later, (last) => {
        this.#answering = from;
        return this.#fromNode(this.#admit(found, last), datagram, envelope, from, last);
      });
    });
  }

  /** A TRS speaks under its own NodeID; what answers us carries ours. */
  #relayOf({ id, transactionId }: Envelope): Relay | undefined {
    if (id !== this.#options.nodeId) return this.#relays.get(id);
    const tag = this.#exchanges.peek(transactionId);
    if (tag?.for === 'relay') return tag.relay;
    return tag?.for === 'notice' ? this.#relays.get(tag.notice.to) : undefined;
  }

  /** Each replica of a TRS is a mirror of its own. */
  #listMirrors(services = this.#services): void {
    this.#services = services;
    this.#mirrors.update([...services.filter(({ role }) => role === 'nms'), ...this.#relays.services]);
  }

  #admit(device: Device, now: Now): PresentNode {
    const known = this.#nodes.get(device.nodeId);
    if (known !== undefined) return known;
    const { primitives, overlay } = this.#options;
    const node = new PresentNode({ primitives, overlay, parts: this.#parts }, device, now);
    node.revoked = device.state === 'disabled';
    this.#nodes.set(device.nodeId, node);
    return node;
  }

  #fromRelay(relay: Relay, datagram: Uint8Array, envelope: Envelope, from: Endpoint, now: Now): Action[] {
    const answersUs = this.#exchanges.expects(envelope.transactionId, from);
    const opened = relay.channel.open(datagram, envelope, from, now, answersUs);
    if (opened.kind !== 'message') return unopened(opened, from);
    const { message } = opened;
    this.#relays.heard(relay, now);
    if (message.type !== 'notice') return this.#answered(relay, message, from, now);
    if (message.body.reason === NoticeReason.relayDraining) this.#relays.draining(relay, now);
    return reply(relay.channel, message, 'ack', from);
  }

  #fromNode(node: PresentNode, datagram: Uint8Array, envelope: Envelope, from: Endpoint, now: Now): Action[] {
    const answersUs = this.#exchanges.expects(envelope.transactionId, from);
    const opened = node.open(datagram, envelope, from, now, answersUs);
    if (opened.kind === 'drop' && opened.reason === 'tag' && node.mayReload(now)) {
      // It may have logged in again: then the register has a newer Common Key.
      return this.#directory.reload(node.nodeId, now, (found, later) => {
        if (found === null || found === 'busy' || found.revision === node.device.revision) return dropped('tag', from);
        const changed = this.#changes.changed(found, later);
        const again = node.open(datagram, envelope, from, later, answersUs);
        return [...changed, ...this.#opened(node, again, from, later)];
      });
    }
    return this.#opened(node, opened, from, now);
  }

  #opened(node: PresentNode, opened: Opened, from: Endpoint, now: Now): Action[] {
    if (opened.kind !== 'message') return unopened(opened, from);
    const actions = this.#said(node, opened, from, now);
    return this.#overheard ? actions : [...actions, ...this.#replicas.share(node, now)];
  }

  #said(node: PresentNode, { message, sender }: Opened & { kind: 'message' }, from: Endpoint, now: Now): Action[] {
    if (message.id !== node.nodeId && message.type !== 'routeDirectionConfirmation') return dropped('unexpected', from);
    // Whoever heard it itself shares where it is.
    if (!this.#overheard) {
      this.#replicas.hears(from);
      node.hear(sender, message, from, this.#options.replica?.() ?? null, now);
    }
    this.#seen(node, now);
    switch (message.type) {
      case 'registrationRequest':
        return this.#standing.register(node, message, sender, from, now);
      case 'keepAlive':
        return this.#standing.keepAlive(node, message, from);
      case 'directionRequest':
        return this.#directions.request(node, message, sender, from, now);
      case 'notice':
        return this.#standing.noticed(node, message, sender, from, now);
      case 'ack':
      case 'routeDirectionConfirmation':
        return this.#answered(node, message, from, now);
      default:
        return dropped('unexpected', from);
    }
  }

  /** An answer counts only if it comes from whom the request went to. */
  #answered(by: PresentNode | Relay, message: Message, from: Endpoint, now: Now): Action[] {
    const tag = this.#exchanges.peek(message.transactionId);
    const asked = tag === undefined ? undefined : this.#receiverOf(tag);
    const answer = asked === by ? this.#exchanges.answer(message, from, now) : null;
    // Answers to repeated requests come more than once.
    if (answer === null) return [{ do: 'count', name: 'duplicates' }];
    if ('actions' in answer) return answer.actions;
    const { settled } = answer;
    if (settled.for === 'notice') return this.#notices.acknowledged(settled.notice, now);
    if (settled.for === 'relay') return this.#directions.relayAnswered(settled, message, now);
    return this.#directions.confirmed(settled.direction, message, now);
  }

  #receiverOf(tag: NmsTag): PresentNode | Relay | undefined {
    if (tag.for === 'relay') return tag.relay;
    if (tag.for === 'direction') return tag.direction.responder;
    return this.#relays.get(tag.notice.to) ?? this.#nodes.get(tag.notice.to);
  }

  #sendNotice(notice: Notice, now: Now): Action[] {
    const relay = this.#relays.get(notice.to);
    const node = this.#nodes.get(notice.to);
    const channel = relay?.channel ?? node?.channel ?? null;
    const endpoint = relay?.endpoint ?? node?.endpoint() ?? null;
    if (channel === null || endpoint === null) return [];
    const { reason, subject } = notice;
    const request = {
      type: 'notice',
      id: relay === undefined ? notice.to : this.#options.nodeId,
      body: { reason, subject },
    } as const;
    return [
      { do: 'count', name: 'notices' },
      ...this.#exchanges.start(channel, request, endpoint, { for: 'notice', notice }, now),
    ];
  }

  #seen(node: PresentNode, now: Now): void {
    if (!node.revoked && node.dueSeen(now)) this.#sightings.set(node.nodeId, now.wall);
  }

  /** All that were seen since the last time, as one change: a register commits few of them in a second. */
  #saveSightings(): Action[] {
    if (this.#sightings.size === 0 || this.#saving !== null) return [];
    const nodes = [...this.#sightings].slice(0, MAX_SIGHTINGS).map(([nodeId, at]) => ({ nodeId, at }));
    for (const { nodeId } of nodes) this.#sightings.delete(nodeId);
    this.#saving = ++this.#tickets;
    return [{ do: 'save', ticket: this.#saving, change: { set: 'seen', nodes } }];
  }

  #sweep(now: Now): Action[] {
    this.#sweepAt = now.ms + SWEEP_MS;
    for (const node of this.#nodes.values()) if (now.ms - node.heard > PRESENCE_MS) this.#forget(node);
    this.#paths.expire(now);
    const asked = [...this.#directory.tick(now), ...this.#replicas.tick(now), ...this.#changes.retry()];
    return [...asked, ...this.#saveSightings()];
  }

  #forget(node: PresentNode): void {
    this.#nodes.delete(node.nodeId);
    node.close();
  }

  /** `answered`: where the datagram came from that all this answers. Asks for the next tick if its time changed. */
  #wake(actions: Action[], answered: Endpoint | null = this.#answering): Action[] {
    this.#answering = null;
    return [
      ...this.#replicas.route(actions, answered),
      ...this.#alarm.set(Math.min(this.#exchanges.due, this.#sweepAt)),
    ];
  }
}
