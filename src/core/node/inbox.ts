/** What comes in by UDP: who it is about, whether it is believed, and who has to know. */

import { type Endpoint, formatEndpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import { type Envelope, type MessageOf, readEnvelope } from '../../proto/codec.ts';
import { Flag, NoticeReason } from '../../proto/messages.ts';
import { SenderKind } from '../../proto/options.ts';
import type { Channel, Opened, Sender } from '../channel.ts';
import { sendAll } from '../exchange.ts';
import type { Arrival, NodeContext } from './context.ts';
import type { Directory } from './directory.ts';
import type { PeerCache } from './peer-cache.ts';
import type { Registrar } from './registrar.ts';
import type { Reopening } from './reopening.ts';
import type { Responder } from './responder.ts';

/** A peer that starts anew may have a path of its new life before we hear of the end of the old one (ms). */
const NEW_LIFE_MS = 5_000;

/** The parts of a node that messages are for. */
type Receivers = {
  readonly registrar: Registrar;
  readonly directory: Directory;
  readonly responder: Responder;
  readonly reopening: Reopening;
  readonly cache: PeerCache;
};

export class Inbox {
  readonly #context: NodeContext;
  readonly #registrar: Registrar;
  readonly #directory: Directory;
  readonly #responder: Responder;
  readonly #reopening: Reopening;
  readonly #cache: PeerCache;

  constructor(context: NodeContext, { registrar, directory, responder, reopening, cache }: Receivers) {
    this.#context = context;
    this.#registrar = registrar;
    this.#directory = directory;
    this.#responder = responder;
    this.#reopening = reopening;
    this.#cache = cache;
  }

  /** `port`: the local one, if it was opened for this. */
  receive(datagram: Uint8Array, from: Endpoint, now: Now, port?: number): void {
    const envelope = readEnvelope(datagram);
    if (typeof envelope === 'string') this.#context.drop(envelope, from);
    else if (envelope.type === 'routeDirection' || envelope.id === this.#context.session?.nodeId) {
      this.#receiveFromNms(datagram, envelope, from, now);
    } else {
      this.#receiveOnPath(datagram, envelope, from, now, port);
    }
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
    const channel = claimsRelay ? path.relayChannel : path.channel;
    if (channel === null) {
      // A relay speaks to nobody who has not spoken to it.
      this.#context.drop('unknown-sender', from);
      return;
    }
    const arrival = { from, relayed, port };
    const earn = (octets: number): void => path.peer.budget.earn(octets);
    const opened = this.#open(channel, datagram, envelope, arrival, now, claimsRelay ? undefined : earn);
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
