/**
 * The End Keys of one path: handshakes, epochs, confirmation and retirement (protocol section 2.1).
 *
 *   start → Tunnel Request … Tunnel Response → installed and active → empty capsules until one came back → old key retired
 *   Tunnel Request → offered: installed, not active → a capsule opened under it → active → old key retired
 */

import { answerHandshake, type EndKeys, type StartedHandshake, startHandshake } from '../../crypto/handshake.ts';
import { type Endpoint, sameEndpoint } from '../../lib/ip.ts';
import type { PathTraffic } from '../../lib/path.ts';
import type { Now } from '../../lib/time.ts';
import type { Draft, Message, MessageOf } from '../../proto/codec.ts';
import {
  HANDSHAKE_INTERVAL_MS,
  OLD_KEY_MAX_MS,
  OLD_KEY_MIN_MS,
  REJECT_AFTER_MS,
  REJECT_AFTER_PACKETS,
  REKEY_AFTER_PACKETS,
  RETRANSMIT_TRIES,
} from '../../proto/constants.ts';
import { Flag } from '../../proto/messages.ts';
import type { Options } from '../../proto/options.ts';
import type { Sender } from '../channel.ts';
import { ANSWER_MEMORY_MS, retransmitDelay } from '../exchange.ts';
import { AnsweredRequests } from './answered-requests.ts';
import { type Arrival, type NodeContext, type Purpose, sameArrival } from './context.ts';
import { agreedFeatures, offeredFeatures } from './features.ts';
import type { Path } from './path.ts';
import { Timers } from './timers.ts';

type Epoch = {
  readonly number: number;
  readonly since: number;
  readonly startedByUs: boolean;
  /** Packets sent on the path before. */
  readonly sentBefore: number;
  /** The peer has it too: a capsule under it came in. */
  confirmed: boolean;
};

/** Our Tunnel Request; `purpose` is null while there is nowhere to send it to. */
type Attempt = {
  readonly number: number;
  readonly handshake: StartedHandshake;
  purpose: Purpose | null;
  target: Arrival | null;
};

/** Our Tunnel Response: the key is installed, and becomes active when a capsule arrives under it. */
type Offer = { readonly number: number; readonly answeredTo: Endpoint[] };

/** Who answered the last handshake rekeys this much later, so that both seldom start at once (ms). */
const ANSWERER_DELAY_MS = 10_000;
/** The data path sends for a moment after it was told to stop: a key ends this much before its limits. */
const EXPIRE_EARLY_MS = 1_000;
const EXPIRE_EARLY_PACKETS = 2 ** 27;
const OFFER_MS = 15_000;
/** Addresses remembered of those that our answer went to. */
const MAX_ANSWERED_TO = 4;
/** How far ahead of the last common epoch a request may be, as failed attempts use numbers up. */
const EPOCHS_AHEAD = 16;
/** The answerer's empty capsules (ms after activation): one may be lost, and nobody asks for it again. */
const OWED = [0, 200, 600, 1_400];
/** Transmissions of a Tunnel Request on a path that was up before; the first one of a path has more time. */
const LATER_TRIES = 4;

export class Tunnel {
  readonly #context: NodeContext;
  readonly #path: Path;
  readonly timers: Timers<'confirm' | 'owed' | 'expire' | 'retireOld' | 'dropOffer' | 'forgetAnswers'>;
  #attempt: Attempt | null = null;
  #offer: Offer | null = null;
  #current: Epoch | null = null;
  #old: number | null = null;
  /** Highest number used by anyone here, and the last that both ends are known to have had. */
  #used: number;
  #common = 0;
  /** The life of the peer that the last handshake was with: a new one remembers no epochs. */
  #peerLife: string | null = null;
  /** When a Tunnel Request was last worked on (ms). */
  #answeredAt = Number.NEGATIVE_INFINITY;
  /** For as long as they may be repeated. */
  #answered: AnsweredRequests | null = null;
  #capsules = 0;
  #sent = 0;

  constructor(context: NodeContext, path: Path) {
    this.#context = context;
    this.#path = path;
    this.timers = new Timers(path);
    // On a path of an earlier life the peer may still use the numbers of that time.
    this.#used = path.direction.fresh ? 0 : context.primitives.random(1)[0]! | 1;
  }

  /** Whether packets can be sealed. */
  get isSending(): boolean {
    return this.#current !== null;
  }

  get epoch(): number | null {
    return this.#current?.number ?? null;
  }

  get keyedAt(): number | null {
    return this.#current?.since ?? null;
  }

  /** Begins a handshake unless one is under way. */
  start(now: Now): void {
    const { session, primitives } = this.#context;
    if (this.#attempt !== null || this.#offer !== null || session === null) return;
    if (this.#current !== null && !this.#current.confirmed && this.timers.isSet('confirm')) return;
    const number = (this.#used + 1) & 255;
    this.#used = number;
    const own = this.#context.ownCertificates(session);
    const ends = { initiator: session.nodeId, responder: this.#path.peer.nodeId };
    const handshake = startHandshake(primitives, this.#terms(number, ends), own, this.#path.peer.certificate);
    if (typeof handshake === 'string') {
      this.#context.refuse(handshake, { peer: this.#path.peer.fqdn });
      this.#path.handshakeFailed(now);
      return;
    }
    this.#attempt = { number, handshake, purpose: null, target: null };
    this.wayChanged(now);
  }

  /** There may be a better way for the Tunnel Request that waits or is under way. */
  wayChanged(now: Now): void {
    const attempt = this.#attempt;
    const target = this.#path.handshakeTarget(now);
    if (attempt === null || target === null) return;
    const flags = target.relayed ? Flag.relayed : 0;
    const before = attempt.target;
    attempt.target = target;
    if (attempt.purpose === null || before === null) {
      attempt.purpose = this.#request(attempt, target, flags);
      this.#context.ask(attempt.purpose, now);
    } else if (!sameArrival(before, target)) {
      this.#context.emit(...this.#context.exchanges.redirect(attempt.purpose, target.from, flags, now));
    }
  }

  /** The peer's Tunnel Request. */
  requested(message: MessageOf<'tunnelRequest'>, sender: Sender, arrival: Arrival, now: Now): void {
    const context = this.#context;
    const { session } = context;
    const given = this.#answered?.find(sender, message) ?? null;
    if (given === 'other') {
      // By its number alone a short question gets no long answer, wherever it says to come from.
      context.drop('unexpected', arrival.from);
      return;
    }
    if (given !== null) {
      if (this.#offer?.number === message.epoch) noteAddress(this.#offer.answeredTo, arrival.from);
      context.reply(this.#path.channel, given, arrival);
      return;
    }
    const ahead = (message.epoch - this.#common) & 255;
    const isNewLife = this.#used > 0 && this.#peerLife !== sender.instance;
    const isNext = isNewLife || (ahead >= 1 && ahead <= EPOCHS_AHEAD);
    if (!isNext || message.epoch === this.#current?.number || message.epoch === this.#old) {
      context.drop('unknown-epoch', arrival.from);
      return;
    }
    if (session === null) return;
    const { peer } = this.#path;
    // Both started at once: the lower NodeID's request stands (section 2.1).
    if (this.#attempt?.purpose != null && session.nodeId < peer.nodeId) {
      context.drop('unexpected', arrival.from);
      return;
    }
    if (now.ms - this.#answeredAt < HANDSHAKE_INTERVAL_MS) {
      context.drop('rate-limited', arrival.from);
      return;
    }
    this.#answeredAt = now.ms;
    const ends = { initiator: peer.nodeId, responder: session.nodeId };
    const terms = this.#terms(message.epoch, ends);
    const own = context.ownCertificates(session);
    const answered = answerHandshake(context.primitives, terms, own, message.body.endKey, now.wall);
    if (typeof answered === 'string') {
      context.refuse(answered, { peer: peer.fqdn }, arrival.from);
      return;
    }
    this.#abandonAttempt();
    if (isNewLife) this.#common = (message.epoch - 1) & 255;
    this.#peerLife = sender.instance;
    if (answered.peer !== null) this.#path.peer.renewed(answered.peer);
    if (this.#offer !== null && this.#offer.number !== message.epoch) this.#retire(this.#offer.number);
    const used = (this.#used - this.#common) & 255;
    if (used > EPOCHS_AHEAD || used < ((message.epoch - this.#common) & 255)) this.#used = message.epoch;
    this.#offer = { number: message.epoch, answeredTo: [arrival.from] };
    this.timers.set('dropOffer', now.ms + OFFER_MS);
    this.#install(message.epoch, answered.keys, message.options, false);
    const response: Draft = {
      type: 'tunnelResponse',
      id: message.id,
      transactionId: message.transactionId,
      epoch: message.epoch,
      options: offeredFeatures(this.#path.direction.suite),
      body: { endKey: answered.message },
    };
    this.#answered ??= new AnsweredRequests();
    this.#answered.remember(sender, message, response, now);
    this.timers.set('forgetAnswers', now.ms + ANSWER_MEMORY_MS);
    context.reply(this.#path.channel, response, arrival);
  }

  /** The data path opened the first capsule of an epoch. */
  opened(number: number, from: Endpoint, now: Now): void {
    if (this.#offer?.number === number) {
      const { answeredTo } = this.#offer;
      this.#offer = null;
      this.timers.clear('dropOffer');
      this.#context.emit({ do: 'activateKey', pathId: this.#path.id, epoch: number });
      this.#activate(number, false, now);
      this.#confirmed(now);
      // The fresh handshake proves the address that our answer went to (section 2.3).
      if (answeredTo.some((to) => sameEndpoint(to, from))) this.#path.handshakeProved(from, now);
      this.#path.keysChanged(now);
      this.#capsules = 0;
      this.#sendOwed(now);
    } else if (this.#current?.number === number && !this.#current.confirmed) {
      this.timers.clear('confirm');
      this.#confirmed(now);
    }
  }

  /** Running totals of the path; `sending` = packets were sent since the last ones. */
  traffic(totals: PathTraffic, sending: boolean, now: Now): void {
    this.#sent = totals.txPackets;
    const current = this.#current;
    if (current === null || !sending) return;
    const sent = this.#sent - current.sentBefore;
    if (sent >= REJECT_AFTER_PACKETS - EXPIRE_EARLY_PACKETS) {
      this.#expire(now);
      return;
    }
    const delay = current.startedByUs ? 0 : ANSWERER_DELAY_MS;
    if (now.ms - current.since >= this.#context.rekeyAfterMs + delay || sent >= REKEY_AFTER_PACKETS) this.start(now);
  }

  tick(now: Now): void {
    for (const timer of this.timers.due(now.ms)) {
      if (timer === 'confirm') this.#sendConfirmation(now);
      else if (timer === 'owed') this.#sendOwed(now);
      else if (timer === 'expire') this.#expire(now);
      else if (timer === 'retireOld') this.#retireOld();
      else if (timer === 'forgetAnswers') this.#answered = null;
      else this.#dropOffer();
    }
  }

  stop(): void {
    this.#abandonAttempt();
    this.timers.clearAll();
  }

  #terms(epoch: number, ends: { initiator: string; responder: string }) {
    const { suite, temporaryKey, pathId } = this.#path.direction;
    return { suite, pathId, epoch, ...ends, temporaryKey, caKey: this.#context.session!.caPublicKey };
  }

  #request(attempt: Attempt, target: Arrival, flags: number): Purpose {
    return {
      owner: this,
      channel: this.#path.channel,
      to: target.from,
      tries: this.#path.wasUp ? LATER_TRIES : RETRANSMIT_TRIES,
      allows: (to, octets, at) => attempt.target?.relayed === true || this.#path.reach.affords(to, octets, at),
      from: this.#path.peerKind,
      expects: 'tunnelResponse',
      request: {
        type: 'tunnelRequest',
        id: this.#path.id,
        flags,
        epoch: attempt.number,
        options: offeredFeatures(this.#path.direction.suite),
        body: { endKey: attempt.handshake.message },
      },
      answered: (message, arrival, _, now, sender) => this.#responded(attempt, message, sender, arrival, now),
      failed: (now) => {
        this.#attempt = null;
        this.#path.handshakeFailed(now);
      },
    };
  }

  #responded(attempt: Attempt, message: Message, sender: Sender, arrival: Arrival, now: Now): void {
    this.#attempt = null;
    const established =
      message.type === 'tunnelResponse' && message.epoch === attempt.number
        ? attempt.handshake.finish(message.body.endKey, now.wall)
        : 'handshake-failed';
    if (typeof established === 'string') {
      this.#context.refuse(established, { peer: this.#path.peer.fqdn }, arrival.from);
      this.#path.handshakeFailed(now);
      return;
    }
    if (established.peer !== null) this.#path.peer.renewed(established.peer);
    // From here on a request of its own that ours has overtaken is an old one, even where it is the first that we see.
    this.#peerLife = sender.instance;
    this.#common = attempt.number;
    this.#install(attempt.number, established.keys, message.options, true);
    this.#activate(attempt.number, true, now);
    this.#path.handshakeProved(arrival.from, now);
    this.#path.keysChanged(now);
    this.#capsules = 0;
    this.#sendConfirmation(now);
  }

  #install(epoch: number, keys: EndKeys, peers: Options, activate: boolean): void {
    const { id: pathId, direction } = this.#path;
    const { suite } = direction;
    const { send: sendKey, receive: receiveKey } = keys;
    const key = { epoch, suite, sendKey, receiveKey, activate, ...agreedFeatures(suite, peers) };
    this.#context.emit({ do: 'installKey', pathId, ...key });
  }

  #activate(number: number, startedByUs: boolean, now: Now): void {
    this.#retireOld();
    this.#old = this.#current?.number ?? null;
    this.#current = { number, since: now.ms, startedByUs, sentBefore: this.#sent, confirmed: false };
    this.timers.set('expire', now.ms + REJECT_AFTER_MS - EXPIRE_EARLY_MS);
    if (this.#old !== null) this.timers.set('retireOld', now.ms + OLD_KEY_MAX_MS);
  }

  #confirmed(now: Now): void {
    if (this.#current === null) return;
    this.#current.confirmed = true;
    this.#common = this.#current.number;
    if (this.#old === null) return;
    const grace = Math.min(OLD_KEY_MAX_MS, Math.max(OLD_KEY_MIN_MS, 3 * (this.#path.rttMs ?? 0)));
    this.timers.set('retireOld', now.ms + grace);
  }

  /** Key confirmation: empty capsules until one comes back. If none does, the way there is looked at. */
  #sendConfirmation(now: Now): void {
    this.#capsules += 1;
    if (this.#capsules > RETRANSMIT_TRIES) {
      this.#path.suspect(now);
      return;
    }
    this.timers.set('confirm', now.ms + retransmitDelay(this.#capsules));
    this.#context.emit({ do: 'sendPackets', pathId: this.#path.id, packets: [] });
  }

  #sendOwed(now: Now): void {
    this.#context.emit({ do: 'sendPackets', pathId: this.#path.id, packets: [] });
    const at = OWED[this.#capsules]!;
    this.#capsules += 1;
    const next = OWED[this.#capsules];
    if (next !== undefined) this.timers.set('owed', now.ms + next - at);
  }

  /** Nothing is sent under a key older than 180 s (section 2.1). */
  #expire(now: Now): void {
    if (this.#current === null) return;
    const { number } = this.#current;
    this.#current = null;
    this.#common = number;
    for (const timer of ['confirm', 'owed', 'expire'] as const) this.timers.clear(timer);
    // Packets are led elsewhere before the key is gone.
    this.#path.keysChanged(now);
    this.#retireOld();
    this.#retire(number);
  }

  #retireOld(): void {
    this.timers.clear('retireOld');
    if (this.#old !== null) this.#retire(this.#old);
    this.#old = null;
  }

  #dropOffer(): void {
    if (this.#offer !== null) this.#retire(this.#offer.number);
    this.#offer = null;
  }

  #retire(epoch: number): void {
    this.#context.emit({ do: 'retireKey', pathId: this.#path.id, epoch });
  }

  #abandonAttempt(): void {
    this.#attempt = null;
    this.#context.cancel(this);
  }
}

/** The latest few: a request may be repeated from ever new addresses. */
function noteAddress(list: Endpoint[], address: Endpoint): void {
  if (list.some((known) => sameEndpoint(known, address))) return;
  list.push(address);
  if (list.length > MAX_ANSWERED_TO) list.shift();
}
