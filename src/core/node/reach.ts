/**
 * How one path reaches its peer: probes its addresses, falls back to the relay, chooses where capsules go, and recovers
 * when that dies (protocol section 4.6 and the table "which path").
 */

import { type Endpoint, sameEndpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { MessageOf } from '../../proto/codec.ts';
import { KEEP_ALIVE_MS } from '../../proto/constants.ts';
import { ProcessCode } from '../../proto/messages.ts';
import type { Candidate } from '../../proto/options.ts';
import { Bucket } from '../limits.ts';
import type { Arrival, NodeContext } from './context.ts';
import { isRelayOf, startsRelayed } from './direction.ts';
import type { Path } from './path.ts';
import { Probing } from './probing.ts';
import { type BindingUser, RelayBinding } from './relay-binding.ts';
import { Timers } from './timers.ts';
import type { PathKind } from './types.ts';
import { arrivalOf, kindOf, lossOf, type Way, Ways } from './ways.ts';

/** Without a direct way after this long the relay is used, where the NMS expected none to be needed (ms). */
const RELAY_AFTER_MS = 600;
/** With a way in use that does not answer the relay is made ready, and then used beside it (ms). */
const SPARE_AFTER_MS = 250;
const BOTH_AFTER_MS = 750;
/** Without any proven way: ask the NMS for a new path, and later give this one up (ms). */
const REDIRECT_AFTER_MS = 1_500;
const ABANDON_AFTER_MS = 10_000;
/** All ways are looked at again (ms). */
const OPTIMISE_MS = 60_000;
/** The same after the relay died, which the NMS may know nothing of (ms). */
const REDIRECT_FROM_RELAY_MS = 200;
/** After a move the peer is told of it by every way that comes into use (ms). */
const MOVING_MS = 3_000;
/** Announcements of a peer that are heeded, and how many a second (their probes go to addresses that nobody has proven). */
const ANNOUNCEMENTS = { burst: 4, perSecond: 1 };
/** A direct way proven within this time is not doubted because the peer still, or again, uses the relay (ms). */
const LEFT_MS = 2_000;

export class Reach implements BindingUser {
  readonly timers: Timers<'relay' | 'spare' | 'both' | 'refresh' | 'redirect' | 'abandon' | 'optimise' | 'heed'>;
  readonly #context: NodeContext;
  readonly #path: Path;
  readonly #ways: Ways;
  readonly #probing: Probing;
  /** From the first time that the relay is needed. */
  binding: RelayBinding | null = null;
  #onBindingSettled: ((now: Now) => void) | null = null;
  #recovering = false;
  /** It worked once and then did not answer. */
  relayDied = false;
  #stopped = false;
  /** The relay is wanted beside the way in use. */
  #sparing = false;
  /** Packets shall go both ways, and do. */
  #wantsBoth = false;
  #sendsBoth = false;
  #movedAt = Number.NEGATIVE_INFINITY;
  #heed: Bucket | null = null;
  /** The peer's last word, where it came too soon after others. */
  #unheeded: readonly [readonly Candidate[], Arrival] | null = null;

  constructor(context: NodeContext, path: Path) {
    this.#context = context;
    this.#path = path;
    this.timers = new Timers(path);
    this.#ways = new Ways(path.direction.candidates);
    this.#probing = new Probing(context, path, this.#ways);
  }

  get chosen(): Way | null {
    return this.#ways.chosen;
  }

  get kind(): PathKind | null {
    return this.chosen === null ? null : kindOf(this.chosen, this.#isLan);
  }

  get ways(): readonly Way[] {
    return this.#ways.all;
  }

  /** Where the peer may be found again later. */
  get whereabouts(): Candidate[] {
    return this.#ways.candidates;
  }

  /** Nothing proven is left, and something else is being looked for. */
  get isRecovering(): boolean {
    return this.#recovering;
  }

  get #isLan(): boolean {
    return this.#path.direction.processCode === ProcessCode.lan;
  }

  get #isRelayed(): boolean {
    return this.chosen?.origin === 'relay';
  }

  /** `settled`: called when the binding to the relay succeeded or failed, at once if none is to be made first. */
  begin(settled: (now: Now) => void, now: Now): void {
    const { direction } = this.#path;
    this.#probing.probeAll(now);
    if (startsRelayed(direction) || this.#likely() === null) {
      this.#onBindingSettled = settled;
      this.#relay.bind(now);
    } else {
      this.timers.set('relay', now.ms + RELAY_AFTER_MS);
      settled(now);
    }
  }

  stop(now: Now): void {
    this.#stopped = true;
    this.timers.clearAll();
    this.#probing.stop();
    this.binding?.stop(now);
  }

  /** Where a Tunnel Request goes now: a proven way, else the relay, else where the peer most likely is. */
  handshakeTarget(now: Now): Arrival | null {
    const proven = this.#ways.best(now.ms);
    if (proven !== null) return arrivalOf(proven);
    const relay = this.binding?.endpoint ?? null;
    if (relay !== null) return { from: relay, relayed: true };
    if (this.chosen !== null) return arrivalOf(this.chosen);
    return startsRelayed(this.#path.direction) ? null : this.#likely();
  }

  affords(to: Endpoint, octets: number, now: Now): boolean {
    return this.#probing.affords(to, octets, now);
  }

  punched(message: MessageOf<'holePunching'>, arrival: Arrival): void {
    this.#probing.punched(message, arrival);
  }

  /** What an authentic message of the peer says about the way it came; `met`: by one of many ports, which shall be proven. */
  heardFrom({ from, relayed }: Arrival, now: Now, met = false): void {
    if (relayed) {
      // The relay forwards between bound ends only, so both are: as good as a proof.
      const relay = this.#relayWay();
      if (relay !== null && !this.#ways.isProven(relay, now.ms)) this.wayProven(relay, null, now);
      this.#peerLeft(now);
      return;
    }
    const isNew = this.#ways.find(from, false) === undefined;
    if (met) this.#probing.probe([this.#ways.findOrAdd(from, false)], now);
    if (this.#probing.sighted(from, now) !== null && isNew) this.#doubtChosen(now);
  }

  /** Capsules come from there now. */
  moved(from: Endpoint, now: Now): void {
    if (isRelayOf(this.#path.direction, from)) this.#peerLeft(now);
    else if (this.#probing.sighted(from, now) !== null) this.#doubtChosen(now);
  }

  /** Our own addresses changed: everything is proven anew, from the new address, and the peer told, directly and by relay. */
  readdress(now: Now): void {
    this.#movedAt = now.ms;
    this.#ways.doubtAll((endpoint) => this.#context.mayReach(endpoint));
    this.#probing.probeAll(now);
    this.#sparing = this.#path.wasUp;
    if (this.#sparing || startsRelayed(this.#path.direction)) this.#relay.rebind(now);
    if (this.chosen !== null && !this.#isRelayed) this.#path.announce(this.chosen, now);
  }

  /** The peer hears of all our addresses, by the way in use and the relay. */
  reannounce(now: Now): void {
    for (const way of new Set([this.chosen, this.#relayWay()])) if (way !== null) this.#path.announce(way, now);
  }

  /** Where the peer is now, in its own words. It is asked there itself before anything goes there. */
  announced(candidates: readonly Candidate[], arrival: Arrival, now: Now): void {
    const usable = this.#context.usable(candidates);
    this.#unheeded = null;
    if (this.#ways.isAnnounced(usable)) return;
    this.#heed ??= new Bucket(ANNOUNCEMENTS);
    if (!this.#heed.take(now.ms)) {
      this.#unheeded = [candidates, arrival];
      this.timers.set('heed', now.ms + 1_000 / ANNOUNCEMENTS.perSecond);
      return;
    }
    const { added, withdrawn } = this.#ways.announce(usable);
    this.#probing.forget(withdrawn);
    this.#probing.probe(added, now);
    const { chosen } = this;
    if (chosen === null || this.#isRelayed || (!arrival.relayed && sameEndpoint(arrival.from, chosen.endpoint))) return;
    // It would have said so by the way in use, could it still.
    chosen.doubted = true;
    this.#choose(now);
  }

  /**
   * The way in use is silent: the relay and other ways shall be there when it turns out to be dead. If it is not even trusted
   * any more, as its last proof is too old, nothing is waited for.
   */
  suspected(isTrusted: boolean, now: Now): void {
    if (this.#isRelayed) return;
    this.#probing.compare(now);
    if (!this.timers.isSet('spare')) this.timers.set('spare', now.ms + (isTrusted ? SPARE_AFTER_MS : 0));
    this.timers.set('both', now.ms + (isTrusted ? BOTH_AFTER_MS : 0));
  }

  /** From time to time while packets flow: where some are lost, and after a rest, other ways are looked at. */
  heartbeat(now: Now): void {
    if (!this.timers.isSet('optimise')) {
      this.timers.set('optimise', now.ms + OPTIMISE_MS);
      this.#probing.remeasure(now);
    } else if (this.chosen !== null && lossOf(this.chosen) > 0) this.#probing.compare(now);
  }

  /** A message came back from there, or a challenge: this way works. */
  wayProven(way: Way, rttMs: number | null, now: Now): void {
    if (this.#stopped) return;
    way.provenAt = now.ms;
    way.answered = true;
    way.doubted = false;
    way.rttMs = rttMs ?? way.rttMs;
    this.timers.clear('redirect');
    this.timers.clear('abandon');
    if (way.origin !== 'relay') this.timers.clear('relay');
    if (way === this.chosen) {
      this.timers.clear('spare');
      this.#singly();
    }
    const recovered = this.#recovering;
    this.#recovering = false;
    this.#choose(now);
    if (recovered) this.#path.wayChanged(now);
    else this.#path.wayOffered(now);
  }

  /** The handshake just done went through this address. */
  handshakeProved(from: Endpoint, now: Now): void {
    this.wayProven(this.#ways.findOrAdd(from, isRelayOf(this.#path.direction, from)), null, now);
  }

  wayDead(way: Way, now: Now): void {
    way.provenAt = null;
    if (way.origin === 'relay') this.relayDied = true;
    if (way !== this.chosen || this.#stopped) return;
    if (this.#ways.best(now.ms) !== null) this.#choose(now);
    else this.#recover(way.origin === 'relay' ? REDIRECT_FROM_RELAY_MS : REDIRECT_AFTER_MS, now);
  }

  tick(now: Now): void {
    for (const timer of this.timers.due(now.ms)) {
      if (timer === 'redirect') this.#path.wayMissed(now);
      else if (timer === 'abandon') this.#path.wayLost(now);
      else if (timer === 'relay') this.#useRelay(now);
      else if (timer === 'spare') this.#spare(now);
      else if (timer === 'both') this.#both();
      else if (timer === 'refresh') this.#refresh(now);
      else if (timer === 'optimise') this.#optimise(now);
      else if (this.#unheeded !== null) this.announced(...this.#unheeded, now);
    }
  }

  #choose(now: Now): void {
    const before = this.chosen;
    const best = this.#ways.best(now.ms);
    if (best === null || best === before) return;
    // What was left in doubt has to be proven again before it counts.
    if (before?.doubted === true) before.provenAt = null;
    this.#ways.chosen = best;
    const relayed = best.origin === 'relay';
    this.timers.clear('both');
    this.#wantsBoth = false;
    this.#sendsBoth = false;
    this.#lead(best, null);
    this.timers.set('optimise', now.ms + OPTIMISE_MS);
    if (relayed) this.timers.set('refresh', now.ms + KEEP_ALIVE_MS);
    // What was direct may be so again in a moment.
    if (relayed && before !== null && before.origin !== 'relay') this.#probing.probeAll(now);
    if (this.#path.wasUp) this.#path.say('changed');
    if (now.ms - this.#movedAt < MOVING_MS) this.#path.announce(best, now);
    this.#path.wayChanged(now);
  }

  /** Tries all ways and the relay at once, then the NMS. */
  #recover(redirectAfterMs: number, now: Now): void {
    if (this.#recovering) return;
    this.#recovering = true;
    this.#path.say('silent, looking for another way');
    this.timers.set('redirect', now.ms + redirectAfterMs);
    this.timers.set('abandon', now.ms + ABANDON_AFTER_MS);
    if (this.chosen !== null) this.#path.fellSilent(this.chosen, now);
    this.#probing.probeAll(now);
    if (this.#relay.state !== 'binding') this.#relay.rebind(now);
    this.#path.wayChanged(now);
  }

  #useRelay(now: Now): void {
    if (this.#relay.state === 'none') this.#relay.bind(now);
  }

  #spare(now: Now): void {
    this.#sparing = true;
    this.#relay.bind(now);
  }

  /** Packets go by the silent way and the relay: whichever comes first counts, the other is a repetition there. */
  #both(): void {
    const { chosen } = this;
    const relay = this.#relayWay();
    this.#wantsBoth = true;
    if (chosen === null || this.#isRelayed || relay === null) return;
    this.#sendsBoth = true;
    this.#lead(chosen, relay.endpoint);
  }

  /** By the way in use alone again. */
  #singly(): void {
    this.timers.clear('both');
    this.#wantsBoth = false;
    if (this.#sendsBoth && this.chosen !== null) this.#lead(this.chosen, null);
    this.#sendsBoth = false;
  }

  #lead({ endpoint, origin }: Way, also: Endpoint | null): void {
    const relayed = origin === 'relay' || also !== null;
    this.#context.emit({ do: 'setEndpoint', pathId: this.#path.id, endpoint, relayed, ...(also !== null && { also }) });
  }

  #refresh(now: Now): void {
    if (this.chosen === null || this.#isRelayed) {
      this.#relay.bind(now);
      return;
    }
    // The relay is not needed beside a direct way that works.
    const relay = this.#relayWay();
    if (relay !== null) relay.provenAt = null;
    this.binding?.lapse(now);
  }

  /** A relay is left as soon as may be; a direct way is compared with others by the next heartbeat, so only if it is used. */
  #optimise(now: Now): void {
    if (this.chosen === null || !this.#isRelayed) return;
    this.timers.set('optimise', now.ms + OPTIMISE_MS);
    this.#probing.probeAll(now);
    // Word of a move may have been lost.
    this.#path.announce(this.chosen, now);
  }

  bindingSettled(bound: boolean, now: Now): void {
    const settled = this.#onBindingSettled;
    this.#onBindingSettled = null;
    const relay = this.#relayWay();
    if (bound && relay !== null) {
      relay.doubted = false;
      this.timers.set('refresh', now.ms + KEEP_ALIVE_MS);
      this.#path.wayOffered(now);
      if (this.#path.wasUp && (this.#sparing || this.#ways.best(now.ms) === null)) this.#path.announce(relay, now);
      this.#sparing = false;
      if (this.#wantsBoth) this.#both();
    } else if (this.chosen !== null && this.#isRelayed) {
      this.wayDead(this.chosen, now);
    } else if (this.timers.isSet('redirect')) {
      this.timers.set('redirect', now.ms);
    }
    settled?.(now);
  }

  get #relay(): RelayBinding {
    this.binding ??= new RelayBinding(this.#context, this.#path.direction, this);
    return this.binding;
  }

  #relayWay(): Way | null {
    const endpoint = this.binding?.endpoint ?? null;
    return endpoint === null ? null : this.#ways.findOrAdd(endpoint, true);
  }

  #doubtChosen(now: Now): void {
    const way = this.chosen;
    if (way === null || way.doubted || way.origin === 'relay' || !this.#path.wasUp) return;
    way.doubted = true;
    this.#probing.check(way, now);
  }

  /**
   * The peer speaks through the relay: our direct way may lead to where it is no more. Who only answers would not notice,
   * as something is heard whenever something is sent.
   */
  #peerLeft(now: Now): void {
    const way = this.chosen;
    if (way === null || way.origin === 'relay' || !this.#path.wasUp) return;
    if (now.ms - (way.provenAt ?? Number.NEGATIVE_INFINITY) >= LEFT_MS) this.#path.suspect(now);
  }

  #likely(): Arrival | null {
    return this.#ways.likely(this.#isLan, (endpoint) => this.#context.mayReach(endpoint));
  }
}
