/**
 * One path to a peer, from the Route Direction to its end. Reach (where), tunnel (keys) and liveness (whether) are its
 * parts; this is where they meet, through named events.
 */

import { type Endpoint, formatEndpoint } from '../../lib/ip.ts';
import type { PathTraffic } from '../../lib/path.ts';
import type { Now } from '../../lib/time.ts';
import type { Message, MessageOf } from '../../proto/codec.ts';
import { IDLE_PATH_MS } from '../../proto/constants.ts';
import { NoticeReason, nameOfProcess } from '../../proto/messages.ts';
import { type Options, SenderKind } from '../../proto/options.ts';
import type { Channel, Sender } from '../channel.ts';
import { acknowledge } from './acknowledge.ts';
import type { Arrival, NodeContext } from './context.ts';
import { type Direction, isRelayOf } from './direction.ts';
import { bidFarewell, sayGoodbye } from './farewell.ts';
import { Liveness } from './liveness.ts';
import { peerChannel, peerKindOf } from './path-channels.ts';
import { PathMtu } from './path-mtu.ts';
import type { Peer } from './peer.ts';
import { PortPrediction } from './port-prediction.ts';
import { Reach } from './reach.ts';
import { Timers } from './timers.ts';
import { Tunnel } from './tunnel.ts';
import type { PathKind } from './types.ts';
import type { Way } from './ways.ts';

const ESTABLISH_MS = 10_000;
/** The responder waits longer: the initiator's time begins later. */
const ESTABLISH_RESPONDER_MS = 30_000;
/** A path used within this time is wanted (ms). */
const WANTED_MS = 10_000;

export type PathEnd = 'failed' | 'idle' | 'closed by the peer';

/** How a path begins: who starts the handshake, and who waits for the binding to the relay. */
export type Beginning = { readonly starts?: boolean; readonly bindingSettled?: (now: Now) => void };

export class Path {
  readonly direction: Direction;
  readonly peer: Peer;
  /** With the peer. */
  readonly channel: Channel;
  readonly peerKind: SenderKind;
  readonly timers: Timers<'establish' | 'idle' | 'spare'> = new Timers(this);
  readonly createdAt: number;
  readonly #context: NodeContext;
  readonly reach: Reach;
  readonly #tunnel: Tunnel;
  readonly #liveness: Liveness;
  readonly #mtu: PathMtu;
  /** While packets take the relay, and as long as ports are open. */
  #prediction: PortPrediction | null = null;
  #closed = false;
  upSince: Now | null = null;

  constructor(context: NodeContext, peer: Peer, direction: Direction, now: Now, channel?: Channel) {
    this.#context = context;
    this.peer = peer;
    this.direction = direction;
    this.createdAt = now.ms;
    this.peerKind = peerKindOf(direction);
    this.channel = channel ?? peerChannel(context, direction);
    this.reach = new Reach(context, this);
    this.#tunnel = new Tunnel(context, this);
    this.#liveness = new Liveness(context, this, now);
    this.#mtu = new PathMtu(context, this);
  }

  get id(): string {
    return this.direction.pathId;
  }

  /** The TRS that a path in place of this one should not lead through. */
  get avoids(): string | null {
    return this.reach.relayDied ? this.direction.relayId : null;
  }

  /** Where capsules go. */
  get chosen(): Way | null {
    return this.reach.chosen;
  }

  /** With the TRS; null while there was no need for it. */
  get relayChannel(): Channel | null {
    return this.reach.binding?.channel ?? null;
  }

  get kind(): PathKind | null {
    return this.reach.kind;
  }

  get epoch(): number | null {
    return this.#tunnel.epoch;
  }

  /** When the key in use became active (ms). */
  get keyedAt(): number | null {
    return this.#tunnel.keyedAt;
  }

  get rttMs(): number | null {
    return this.chosen?.rttMs ?? null;
  }

  /** The largest packet it carries in one piece; null before the first use. */
  get mtu(): number | null {
    return this.#mtu.mtu;
  }

  get totals(): PathTraffic | null {
    return this.#liveness.totals;
  }

  get usedAt(): number {
    return this.#liveness.usedAt;
  }

  /** Packets can be sent. */
  get isUp(): boolean {
    return !this.#closed && this.#tunnel.isSending && this.chosen !== null;
  }

  get wasUp(): boolean {
    return this.upSince !== null;
  }

  /** Up or not, nothing shows that it leads nowhere. */
  get isHealthy(): boolean {
    return !this.#closed && !this.reach.isRecovering;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  wake(at: number): void {
    this.peer.wake(at);
  }

  get next(): number {
    const parts = [this.reach, this.#tunnel, this.#liveness, this.#mtu, this.#prediction];
    return Math.min(this.timers.next, ...parts.map((part) => part?.timers.next ?? Number.POSITIVE_INFINITY));
  }

  /** `bindingSettled`: called when the binding to a relay succeeded or failed, at once if none comes first. */
  begin(now: Now, { starts = this.direction.role === 'initiator', bindingSettled = () => {} }: Beginning = {}): void {
    const { virtual: local } = this.#context;
    this.#context.emit({ do: 'installPath', pathId: this.id, local, peer: this.peer.virtual });
    this.timers.set('establish', now.ms + (starts ? ESTABLISH_MS : ESTABLISH_RESPONDER_MS));
    this.timers.set('idle', now.ms + IDLE_PATH_MS);
    this.reach.begin(bindingSettled, now);
    if (starts) this.#tunnel.start(now);
  }

  /** A handshake on a path whose keys have run out. */
  wakeUp(now: Now): void {
    this.#liveness.usedAt = now.ms;
    this.#tunnel.start(now);
  }

  isRelay(from: Endpoint): boolean {
    return isRelayOf(this.direction, from);
  }

  receive(message: Message, sender: Sender, arrival: Arrival, now: Now): void {
    if (sender.kind === SenderKind.trs) {
      this.#receiveFromRelay(message, arrival, now);
      return;
    }
    this.#liveness.heard(now);
    this.reach.heardFrom(arrival, now, this.#prediction?.heard(arrival));
    switch (message.type) {
      case 'holePunching':
        this.reach.punched(message, arrival);
        break;
      case 'sizeProbe':
        acknowledge(this.#context, this.channel, message, arrival);
        break;
      case 'keepAlive':
        acknowledge(this.#context, this.channel, message, arrival, this.#agreement(message, now));
        this.#liveness.asked(arrival, now);
        if (message.options.candidates !== undefined)
          this.reach.announced(message.options.candidates.list, arrival, now);
        break;
      case 'tunnelRequest':
        this.#tunnel.requested(message, sender, arrival, now);
        break;
      case 'notice':
        acknowledge(this.#context, this.channel, message, arrival);
        if (message.body.reason === NoticeReason.pathClosed && message.body.subject === this.id) {
          this.peer.ended(this, 'closed by the peer', now);
        }
        break;
      default:
        this.#context.drop('unexpected', arrival.from);
    }
  }

  opened(epoch: number, from: Endpoint, now: Now): void {
    if (this.#closed) return;
    this.#liveness.heard(now);
    this.#tunnel.opened(epoch, from, now);
    this.reach.moved(from, now);
  }

  moved(from: Endpoint, now: Now): void {
    if (this.#closed) return;
    this.#liveness.heard(now);
    this.reach.moved(from, now);
  }

  traffic(totals: PathTraffic, now: Now): void {
    if (this.#closed) return;
    this.peer.budget.earn(totals.rxBytes - (this.totals?.rxBytes ?? 0));
    const large = totals.txLarge > (this.totals?.txLarge ?? 0);
    const sending = this.#liveness.traffic(totals, now);
    if (large) this.#mtu.sending(this.#liveness.isSilent(now), now);
    this.#tunnel.traffic(totals, sending, now);
  }

  /** Our own addresses changed, or a NAT has forgotten us. */
  readdress(now: Now): void {
    if (this.#closed) return;
    this.reach.readdress(now);
    this.#mtu.moved(now);
    this.peer.predictionPausedUntil = Number.NEGATIVE_INFINITY;
    this.#prediction?.readdress(now);
  }

  /** There is one more address of ours, or the NMS has said where it sees us. */
  reannounce(now: Now): void {
    if (!this.#closed) this.reach.reannounce(now);
  }

  /** Another way is in use, or none works any more. */
  wayChanged(now: Now): void {
    this.#tunnel.wayChanged(now);
    if (this.wasUp) this.#mtu.follow(this.chosen, now);
    this.#predict(now);
    this.keysChanged(now);
  }

  /** A way became possible that was not before. */
  wayOffered(now: Now): void {
    this.#tunnel.wayChanged(now);
  }

  fellSilent(way: Way, now: Now): void {
    this.peer.fellSilent(this, way, now);
  }

  /** For a while no way was found. */
  wayMissed(now: Now): void {
    if (this.peer.isWaitedFor || now.ms - this.#liveness.sentAt < WANTED_MS) this.peer.redirect(this, now);
  }

  /** Nor later. */
  wayLost(now: Now): void {
    this.peer.ended(this, 'failed', now);
  }

  handshakeTarget(now: Now): Arrival | null {
    return this.reach.handshakeTarget(now);
  }

  handshakeProved(from: Endpoint, now: Now): void {
    this.reach.handshakeProved(from, now);
  }

  handshakeFailed(now: Now): void {
    if (this.isUp && this.chosen !== null) this.reach.wayDead(this.chosen, now);
    else if (this.wasUp) this.peer.redirect(this, now);
    else this.peer.ended(this, 'failed', now);
  }

  /** Keys became active, or none is any more. */
  keysChanged(now: Now): void {
    if (this.isUp && this.upSince === null) this.#established(now);
    this.peer.settle(now);
  }

  /** Something should have come back and did not. */
  suspect(now: Now): void {
    this.#liveness.suspect(now);
  }

  /** An answer should have come, and has not. */
  get isOwing(): boolean {
    return this.#liveness.isOwing;
  }

  /** When something authentic last came (ms). */
  get heardAt(): number {
    return this.#liveness.heardAt;
  }

  suspicionChanged(now: Now): void {
    if (!this.#closed) this.peer.settle(now);
  }

  /** Tells the peer over one way where we are now. */
  announce(way: Way, now: Now): void {
    this.#liveness.announce(way, now);
  }

  /** One round trip on the way in use; null: no answer in time. */
  measure(way: Way, done: (rttMs: number | null) => void, now: Now): void {
    this.#liveness.measure(way, done, now);
  }

  tick(now: Now): void {
    this.reach.tick(now);
    this.#tunnel.tick(now);
    this.#liveness.tick(now);
    this.#mtu.tick(now);
    this.#prediction?.tick(now);
    for (const timer of this.timers.due(now.ms)) {
      if (this.#closed) return;
      if (timer === 'spare') this.peer.settle(now);
      else if (timer === 'establish') this.peer.ended(this, 'failed', now);
      else if (now.ms >= this.usedAt + IDLE_PATH_MS) this.peer.ended(this, 'idle', now);
      else this.timers.set('idle', this.usedAt + IDLE_PATH_MS);
    }
  }

  /** The end. With `notice` the other end is told, and the channel lives until it knows. */
  close(notice: boolean, gone: () => void, now: Now): void {
    if (this.#closed) return;
    this.#closed = true;
    this.timers.clearAll();
    for (const part of [this.#tunnel, this.#liveness, this.#mtu, this.#prediction]) part?.stop();
    this.reach.stop(now);
    this.#context.emit({ do: 'removePath', pathId: this.id });
    const end = (): void => {
      this.#prediction?.close();
      this.#context.cancel(this);
      this.channel.close();
      this.relayChannel?.close();
      gone();
    };
    if (!notice || this.chosen === null) {
      end();
      return;
    }
    bidFarewell(this.#context, this, this.chosen, end, now);
  }

  /** The goodbye of a node that stops. */
  sayGoodbye(): void {
    if (this.chosen !== null && !this.#closed) sayGoodbye(this.#context, this, this.chosen);
    this.#prediction?.close();
  }

  say(what: 'up' | 'changed' | 'silent, looking for another way' | PathEnd): void {
    const endpoint = this.chosen === null ? null : formatEndpoint(this.chosen.endpoint);
    // Which NATs were in between, what came of it.
    const situation = nameOfProcess(this.direction.processCode);
    this.#context.emit({ do: 'count', name: `path-${what.split(/\W/)[0]}-${situation}-${this.kind ?? 'none'}` });
    this.#context.log('info', `path ${what}`, { peer: this.peer.fqdn, path: this.kind, endpoint });
  }

  #agreement({ options: { portPrediction } }: MessageOf<'keepAlive'>, now: Now): Options {
    const role = portPrediction && this.#prediction?.asked(portPrediction.role, now);
    return role == null ? {} : { portPrediction: { role } };
  }

  #predict(now: Now): void {
    if (this.kind === 'relay') this.#prediction ??= new PortPrediction(this.#context, this);
    this.#prediction?.wayChanged(now);
    if (this.#prediction?.isOver === true) this.#prediction = null;
  }

  #established(now: Now): void {
    this.upSince = now;
    this.timers.clear('establish');
    this.#liveness.keepAliveSoon(now);
    this.#mtu.follow(this.chosen, now);
    this.say('up');
  }

  #receiveFromRelay(message: Message, arrival: Arrival, now: Now): void {
    if (message.type !== 'notice') {
      this.#context.drop('unexpected', arrival.from);
      return;
    }
    if (this.relayChannel !== null) acknowledge(this.#context, this.relayChannel, message, arrival);
    if (this.chosen?.origin === 'relay') this.peer.redirect(this, now);
  }
}
