/**
 * The Tunnel Relay Service: relays between the two ends of a path that an NMS announced (protocol section 2.4). It knows
 * the Tunnel Key, by which each end proves its address; of capsules it sees PathID and length. The data plane forwards
 * them byte for byte once both sides are bound; this machine says which paths and between which addresses.
 */

import { serviceKey } from '../crypto/kdf.ts';
import type { KeyPair, Primitives } from '../crypto/primitives.ts';
import { sameOctets } from '../lib/bytes.ts';
import type { RegisterAnswer, SaveResult, Service } from '../lib/device.ts';
import { contains, type Endpoint, type Prefix } from '../lib/ip.ts';
import type { RelayCommand } from '../lib/path.ts';
import type { Now } from '../lib/time.ts';
import { type Draft, type Envelope, type Message, type MessageOf, readEnvelope } from '../proto/codec.ts';
import { Suite } from '../proto/constants.ts';
import { Flag, NoticeReason } from '../proto/messages.ts';
import { Refusal, SenderKind } from '../proto/options.ts';
import { PartBuffer } from '../proto/parts.ts';
import type { Action } from './actions.ts';
import { Channel } from './channel.ts';
import { Exchanges, sendAll } from './exchange.ts';
import type { Machine } from './machine.ts';
import { asksMirror, MirrorService } from './mirror.ts';
import { Alarm, dropped, unopened } from './service.ts';
import { type RelayLimits, type RelayPath, RelayTable } from './trs-paths.ts';

export type TrsAction = Action | RelayCommand;

export type TrsOptions = {
  readonly primitives: Primitives;
  /** This service's NodeID and key pair, as registered. */
  readonly nodeId: string;
  readonly keys: KeyPair;
  readonly overlay: readonly Prefix[];
  readonly limits?: Partial<RelayLimits>;
};

/** One NMS of the register. Its address is learnt from its requests: replicas have several. */
type Announcer = { readonly service: Service; readonly channel: Channel; endpoint: Endpoint | null };

const SWEEP_MS = 1_000;
/** NMS replicas that share one key. */
const MAX_REPLICAS = 8;

export class TrsMachine implements Machine<RelayCommand> {
  readonly #options: TrsOptions;
  readonly #parts = new PartBuffer();
  /** Notices of ours, by whom they went to. */
  readonly #exchanges: Exchanges<Announcer | RelayPath>;
  readonly #announcers = new Map<string, Announcer>();
  readonly #paths: RelayTable;
  readonly #mirror: MirrorService;
  #tickets = 0;
  #servicesTicket: number | null = null;
  #stale = false;
  #draining = false;
  #sweepAt = 0;
  readonly #alarm = new Alarm();

  constructor(options: TrsOptions) {
    this.#options = options;
    this.#exchanges = new Exchanges(options.primitives);
    this.#paths = new RelayTable(options.limits);
    this.#mirror = new MirrorService(options, SenderKind.trs);
  }

  /** Paths announced, and those with a bound side. */
  get sizes(): { readonly paths: number; readonly bound: number } {
    return { paths: this.#paths.size, bound: this.#paths.bound };
  }

  receive(datagram: Uint8Array, from: Endpoint, now: Now): TrsAction[] {
    const envelope = readEnvelope(datagram);
    if (typeof envelope === 'string') return dropped(envelope, from);
    return this.#wake(this.#dispatch(datagram, envelope, from, now));
  }

  tick(now: Now): TrsAction[] {
    this.#alarm.rang();
    const { actions } = this.#exchanges.tick(now);
    return this.#wake([...actions, ...(now.ms >= this.#sweepAt ? this.#sweep(now) : [])]);
  }

  /** The register's services changed, or may have. Also the first input of all. */
  registerChanged(_now: Now): TrsAction[] {
    this.#stale = true;
    return this.#wake(this.#refresh());
  }

  loaded(ticket: number, answer: RegisterAnswer | null, now: Now): TrsAction[] {
    if (ticket !== this.#servicesTicket) return [];
    this.#servicesTicket = null;
    if (answer?.got === 'services') this.#update(answer.services);
    else this.#stale = true;
    this.#sweepAt = Math.min(this.#sweepAt, now.ms + SWEEP_MS);
    return this.#wake([]);
  }

  saved(_ticket: number, _result: SaveResult | null, _now: Now): TrsAction[] {
    return [];
  }

  /** Paths over which something was forwarded since the last report. */
  forwarded(pathIds: Iterable<string>, now: Now): void {
    for (const pathId of pathIds) this.#paths.use(pathId, now);
  }

  /** About to stop: no new paths; the NMSs and the ends in use look for another relay. */
  drain(now: Now): TrsAction[] {
    this.#draining = true;
    const notify = (to: Announcer | RelayPath, channel: Channel, id: string, endpoint: Endpoint): Action[] => {
      const body = { reason: NoticeReason.relayDraining, subject: id };
      return this.#exchanges.start(channel, { type: 'notice', id, body }, endpoint, to, now);
    };
    const actions = [...this.#announcers.values()].flatMap((nms) =>
      nms.endpoint === null ? [] : notify(nms, nms.channel, this.#options.nodeId, nms.endpoint),
    );
    for (const path of this.#paths.inUse()) {
      for (const side of path.sides) {
        if (side !== null && path.channel !== null) actions.push(...notify(path, path.channel, path.pathId, side));
      }
    }
    return this.#wake(actions);
  }

  #dispatch(datagram: Uint8Array, envelope: Envelope, from: Endpoint, now: Now): TrsAction[] {
    if (this.#options.overlay.some((range) => contains(range, from.address))) return dropped('forbidden-address', from);
    if (asksMirror(envelope)) return this.#mirror.answer(datagram, envelope, from, now);
    const path = this.#paths.get(envelope.id);
    // What a bound address sent to its peer was forwarded before it came here.
    if ((envelope.flags & Flag.relayed) !== 0) {
      return dropped(path === undefined ? 'relay-not-announced' : 'relay-unproven', from);
    }
    if (path !== undefined) return this.#fromEnd(path, datagram, envelope, from, now);
    const announcer = this.#announcers.get(envelope.id) ?? this.#acknowledging(envelope);
    if (announcer !== undefined) return this.#fromAnnouncer(announcer, datagram, envelope, from, now);
    return dropped(envelope.type === 'relayRequest' ? 'unknown-sender' : 'relay-not-announced', from);
  }

  /** The NMS that an ACK of our own Notice comes from. */
  #acknowledging({ id, transactionId }: Envelope): Announcer | undefined {
    const asked = id === this.#options.nodeId ? this.#exchanges.peek(transactionId) : undefined;
    return asked !== undefined && 'service' in asked ? asked : undefined;
  }

  #fromAnnouncer(nms: Announcer, datagram: Uint8Array, envelope: Envelope, from: Endpoint, now: Now): TrsAction[] {
    const answersUs = this.#exchanges.expects(envelope.transactionId, from);
    const opened = nms.channel.open(datagram, envelope, from, now, answersUs);
    if (opened.kind !== 'message') return unopened(opened, from);
    const { message, newest } = opened;
    if (newest) nms.endpoint = from;
    switch (message.type) {
      case 'relayRequest':
        return this.#announced(nms, message, from, now);
      case 'notice':
        return [...this.#noticed(message), ...this.#acknowledge(nms.channel, message, from)];
      case 'ack':
        return this.#answered(message, from, now);
      default:
        return dropped('unexpected', from);
    }
  }

  #announced(nms: Announcer, message: MessageOf<'relayRequest'>, from: Endpoint, now: Now): TrsAction[] {
    const { pathId, cipherType, tunnelKey } = message.body;
    const refusal = this.#announce(message, now);
    const answer: Draft = {
      type: 'relayResponse',
      id: this.#options.nodeId,
      transactionId: message.transactionId,
      flags: Flag.response | (refusal === null ? 0 : Flag.failure),
      body: { pathId, cipherType, tunnelKey: new Uint8Array(0) },
      ...(refusal !== null && { options: { refusal: { reason: refusal } } }),
    };
    tunnelKey.fill(0);
    const added = this.#paths.get(pathId);
    const displaced = refusal === null && added !== undefined ? this.#close(this.#paths.surplus(added.ends)) : [];
    const counted: Action =
      refusal === null
        ? { do: 'count', name: 'announcements' }
        : { do: 'drop', reason: refusal === Refusal.pathIdInUse ? 'path-in-use' : 'relay-limit', from };
    return [...displaced, counted, ...sendAll(nms.channel.seal(answer), from)];
  }

  #announce({ body, options }: MessageOf<'relayRequest'>, now: Now): Refusal | null {
    const { pathId, cipherType, tunnelKey } = body;
    const ends = options.relayEnds;
    const suite = Object.values(Suite).find((known) => known === cipherType);
    if (suite === undefined || tunnelKey.length !== 32) return Refusal.suite;
    if (ends === undefined || pathId === this.#options.nodeId || this.#announcers.has(pathId))
      return Refusal.pathIdInUse;
    const { initiator, responder } = ends;
    const known = this.#paths.get(pathId);
    if (known !== undefined) {
      const same = known.ends[0] === initiator && known.ends[1] === responder && sameOctets(known.tunnelKey, tunnelKey);
      return same ? null : Refusal.pathIdInUse;
    }
    if (this.#draining) return Refusal.overloaded;
    const added = this.#paths.add({ pathId, ends: [initiator, responder], suite, tunnelKey: tunnelKey.slice() }, now);
    return added ? null : Refusal.overloaded;
  }

  #noticed({ body }: MessageOf<'notice'>): TrsAction[] {
    if (body.reason === NoticeReason.pathClosed) return this.#close(this.#paths.get(body.subject));
    if (body.reason !== NoticeReason.peerRevoked) return [];
    return this.#paths.of(body.subject).flatMap((path) => this.#close(path));
  }

  #fromEnd(path: RelayPath, datagram: Uint8Array, envelope: Envelope, from: Endpoint, now: Now): TrsAction[] {
    path.channel ??= this.#channelOf(path);
    const { channel } = path;
    const answersUs = this.#exchanges.expects(envelope.transactionId, from);
    const opened = channel.open(datagram, envelope, from, now, answersUs);
    if (opened.kind !== 'message') return unopened(opened, from);
    const { message, sender, newest } = opened;
    if (message.type === 'ack') return this.#answered(message, from, now);
    if (message.type === 'notice') return this.#acknowledge(channel, message, from);
    if (message.type !== 'keepAlive') return dropped('unexpected', from);
    const bound = newest ? this.#bind(path, sender.kind === SenderKind.initiator ? 0 : 1, from, now) : [];
    const answer: Draft = {
      type: 'ack',
      id: path.pathId,
      transactionId: message.transactionId,
      flags: Flag.response,
      body: {},
      options: { mapped: { endpoint: from } },
    };
    return [...bound, { do: 'count', name: 'keep-alives' }, ...sendAll(channel.seal(answer), from)];
  }

  #bind(path: RelayPath, side: 0 | 1, endpoint: Endpoint, now: Now): TrsAction[] {
    const { pathId } = path;
    const fresh = path.sides[0] === null && path.sides[1] === null;
    this.#paths.use(pathId, now);
    if (!this.#paths.bind(path, side, endpoint)) return [];
    const bind: TrsAction = { do: 'bindSide', pathId, side, endpoint };
    return fresh
      ? [{ do: 'addRelay', pathId }, { do: 'count', name: 'bindings' }, bind]
      : [{ do: 'count', name: 'bindings' }, bind];
  }

  #answered(message: Message, from: Endpoint, now: Now): TrsAction[] {
    const answer = this.#exchanges.answer(message, from, now);
    return answer !== null && 'actions' in answer ? answer.actions : [{ do: 'count', name: 'duplicates' }];
  }

  #acknowledge(channel: Channel, { id, transactionId }: Message, to: Endpoint): Action[] {
    return sendAll(channel.seal({ type: 'ack', id, transactionId, flags: Flag.response, body: {} }), to);
  }

  #close(path: RelayPath | undefined): TrsAction[] {
    if (path === undefined) return [];
    this.#paths.remove(path);
    return path.sides[0] === null && path.sides[1] === null ? [] : [{ do: 'removeRelay', pathId: path.pathId }];
  }

  /** Takes over the register's list: only services registered as NMS may announce. */
  #update(services: readonly Service[]): void {
    this.#mirror.update(services);
    const listed = new Map(services.filter((s) => s.role === 'nms').map((s) => [s.nodeId, s]));
    for (const [nodeId, { service, channel }] of this.#announcers) {
      const key = listed.get(nodeId)?.publicKey;
      if (key !== undefined && sameOctets(key, service.publicKey)) continue;
      channel.close();
      this.#announcers.delete(nodeId);
    }
    for (const [nodeId, service] of listed) {
      if (this.#announcers.has(nodeId)) continue;
      const { primitives, keys } = this.#options;
      const baseKey = serviceKey(primitives, keys, service.publicKey);
      if (baseKey === null) continue;
      const channel = new Channel({
        primitives,
        suite: Suite.aes256Gcm,
        baseKey,
        id: nodeId,
        own: { kind: SenderKind.trs, instance: primitives.random(16).toHex() },
        accept: new Map([[SenderKind.nms, MAX_REPLICAS]]),
        proveAddress: true,
        freshKey: false,
        parts: this.#parts,
      });
      this.#announcers.set(nodeId, { service, channel, endpoint: null });
    }
  }

  /** Made when an end first speaks: most announced paths go direct and never do. */
  #channelOf({ pathId, suite, tunnelKey }: RelayPath): Channel {
    const { primitives } = this.#options;
    return new Channel({
      primitives,
      suite,
      baseKey: tunnelKey,
      id: pathId,
      own: { kind: SenderKind.trs, instance: primitives.random(16).toHex() },
      accept: new Map([
        [SenderKind.initiator, 1],
        [SenderKind.responder, 1],
      ]),
      proveAddress: true,
      freshKey: true,
      parts: this.#parts,
    });
  }

  #refresh(): TrsAction[] {
    if (!this.#stale || this.#servicesTicket !== null) return [];
    this.#stale = false;
    this.#servicesTicket = ++this.#tickets;
    return [{ do: 'load', ticket: this.#servicesTicket, query: { get: 'services' } }];
  }

  #sweep(now: Now): TrsAction[] {
    this.#sweepAt = now.ms + SWEEP_MS;
    const idle = this.#paths.sweep(now);
    return [...idle.map((pathId): TrsAction => ({ do: 'removeRelay', pathId })), ...this.#refresh()];
  }

  /** Asks for the next tick if its time changed. */
  #wake(actions: TrsAction[]): TrsAction[] {
    return [...actions, ...this.#alarm.set(Math.min(this.#exchanges.due, this.#sweepAt))];
  }
}
