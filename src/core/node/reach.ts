/**
 * How one path reaches its peer: probes its addresses, falls back to the relay, chooses where capsules go, and recovers
 * when that dies (protocol section 4.6 and the table "which path").
 */

import { type Endpoint, isPrivate } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { MessageOf } from '../../proto/codec.ts';
import { KEEP_ALIVE_MS } from '../../proto/constants.ts';
import { ProcessCode } from '../../proto/messages.ts';
import type { Arrival, NodeContext } from './context.ts';
import { startsRelayed } from './direction.ts';
import type { Path } from './path.ts';
import { Probing } from './probing.ts';
import { RelayBinding } from './relay-binding.ts';
import { Timers } from './timers.ts';
import type { PathKind } from './types.ts';
import { kindOf, type Way, Ways } from './ways.ts';

/** Without a direct way after this long the relay is used, where the NMS expected none to be needed (ms). */
const RELAY_AFTER_MS = 600;
/** Without any proven way: ask the NMS for a new path, and later give this one up (ms). */
const REDIRECT_AFTER_MS = 1_500;
const ABANDON_AFTER_MS = 10_000;
/** A relayed path looks for a direct way again (ms). */
const OPTIMISE_MS = 60_000;
const RELAY_CHECK_TRIES = 4;
/** A direct way proven within this time is not doubted because the peer still, or again, uses the relay (ms). */
const LEFT_MS = 2_000;

export class Reach {
  readonly timers: Timers<'relay' | 'refresh' | 'redirect' | 'abandon' | 'optimise'>;
  readonly #context: NodeContext;
  readonly #path: Path;
  readonly #ways: Ways;
  readonly #probing: Probing;
  readonly #binding: RelayBinding;
  #onBindingSettled: ((now: Now) => void) | null = null;
  #recovering = false;
  #stopped = false;

  constructor(context: NodeContext, path: Path) {
    this.#context = context;
    this.#path = path;
    this.timers = new Timers((at) => path.wake(at));
    const { channel, peerKind, direction } = path;
    this.#ways = new Ways(direction.candidates);
    this.#probing = new Probing(context, channel, peerKind, this.#ways, (way, rttMs, now) =>
      this.wayProven(way, rttMs, now),
    );
    this.#binding = new RelayBinding(context, channel, direction.relays, (bound, now) =>
      this.#bindingSettled(bound, now),
    );
  }

  get chosen(): Way | null {
    return this.#ways.chosen;
  }

  get kind(): PathKind | null {
    return this.chosen === null ? null : kindOf(this.chosen, this.#isLan);
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
    if (startsRelayed(direction) || direction.candidates.length === 0) {
      this.#onBindingSettled = settled;
      this.#binding.bind(now);
    } else {
      this.timers.set('relay', now.ms + RELAY_AFTER_MS);
      settled(now);
    }
  }

  /** From now on the path is worth keeping in shape. */
  established(now: Now): void {
    this.timers.set('optimise', now.ms + OPTIMISE_MS);
  }

  stop(): void {
    this.#stopped = true;
    this.timers.clearAll();
    this.#probing.stop();
    this.#binding.stop();
  }

  /** Whether datagrams with the relayed flag come from there, and others of the peer do not. */
  isRelay(from: Endpoint): boolean {
    return this.#binding.isRelay(from);
  }

  /** Where a Tunnel Request goes now: a proven way, else the relay, else where the peer most likely is. */
  handshakeTarget(now: Now): Arrival | null {
    const proven = this.#ways.best(now.ms);
    if (proven !== null) return arrivalOf(proven);
    const relay = this.#binding.endpoint;
    if (relay !== null) return { from: relay, relayed: true };
    if (this.chosen !== null) return arrivalOf(this.chosen);
    return startsRelayed(this.#path.direction) ? null : this.#likely();
  }

  punched(message: MessageOf<'holePunching'>, arrival: Arrival): void {
    this.#probing.punched(message, arrival);
  }

  /** What an authentic message of the peer says about the way it came. */
  heardFrom({ from, relayed }: Arrival, now: Now): void {
    if (relayed) {
      // The relay forwards between bound ends only, so both are: as good as a proof.
      const relay = this.#relayWay();
      if (relay !== null && !this.#ways.isProven(relay, now.ms)) this.wayProven(relay, null, now);
      this.#peerLeft(now);
      return;
    }
    const isNew = this.#ways.find(from, false) === undefined;
    if (this.#probing.sighted(from, now) !== null && isNew) this.#doubtChosen(now);
  }

  /** Capsules come from there now. */
  moved(from: Endpoint, now: Now): void {
    if (this.isRelay(from)) this.#peerLeft(now);
    else if (this.#probing.sighted(from, now) !== null) this.#doubtChosen(now);
  }

  /** Our own addresses changed: everything is proven anew, from the new address. */
  readdress(now: Now): void {
    this.#ways.doubtAll();
    this.#probing.probeAll(now);
    const wantsRelay = this.#isRelayed || startsRelayed(this.#path.direction);
    if (wantsRelay || this.#binding.state !== 'none') this.#binding.rebind(now);
    if (!this.#isRelayed) this.#path.suspect(now);
  }

  /** A message came back from there, or a challenge: this way works. */
  wayProven(way: Way, rttMs: number | null, now: Now): void {
    if (this.#stopped) return;
    way.provenAt = now.ms;
    way.doubted = false;
    way.rttMs = rttMs ?? way.rttMs;
    this.timers.clear('redirect');
    this.timers.clear('abandon');
    if (way.origin !== 'relay') this.timers.clear('relay');
    const recovered = this.#recovering;
    this.#recovering = false;
    this.#choose(now);
    if (recovered) this.#path.wayChanged(now);
    else this.#path.wayOffered(now);
  }

  /** The handshake just done went through this address. */
  handshakeProved(from: Endpoint, now: Now): void {
    this.wayProven(this.#ways.findOrAdd(from, this.isRelay(from)), null, now);
  }

  wayDead(way: Way, now: Now): void {
    way.provenAt = null;
    if (way !== this.chosen || this.#stopped) return;
    if (this.#ways.best(now.ms) !== null) this.#choose(now);
    else this.#recover(now);
  }

  tick(now: Now): void {
    for (const timer of this.timers.due(now.ms)) {
      if (timer === 'redirect') this.#path.wayMissed(now);
      else if (timer === 'abandon') this.#path.wayLost(now);
      else if (timer === 'relay') this.#useRelay(now);
      else if (timer === 'refresh') this.#refresh(now);
      else this.#optimise(now);
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
    this.#context.emit({ do: 'setEndpoint', pathId: this.#path.id, endpoint: best.endpoint, relayed });
    if (relayed) this.timers.set('refresh', now.ms + KEEP_ALIVE_MS);
    if (this.#path.wasUp) this.#path.say('changed');
    this.#path.wayChanged(now);
  }

  /** Tries all ways and the relay at once, then the NMS. */
  #recover(now: Now): void {
    if (this.#recovering) return;
    this.#recovering = true;
    this.#path.say('silent, looking for another way');
    this.timers.set('redirect', now.ms + REDIRECT_AFTER_MS);
    this.timers.set('abandon', now.ms + ABANDON_AFTER_MS);
    this.#probing.probeAll(now);
    this.#binding.rebind(now);
    this.#path.wayChanged(now);
  }

  #useRelay(now: Now): void {
    if (this.#binding.state === 'none') this.#binding.bind(now);
  }

  #refresh(now: Now): void {
    if (this.chosen === null || this.#isRelayed) this.#binding.bind(now);
    else this.#binding.lapse();
  }

  #optimise(now: Now): void {
    this.timers.set('optimise', now.ms + OPTIMISE_MS);
    if (this.#isRelayed) this.#probing.probeAll(now);
  }

  #bindingSettled(bound: boolean, now: Now): void {
    const settled = this.#onBindingSettled;
    this.#onBindingSettled = null;
    const relay = this.#relayWay();
    if (bound && relay !== null) {
      relay.doubted = false;
      this.timers.set('refresh', now.ms + KEEP_ALIVE_MS);
      this.#path.wayOffered(now);
      if (this.#path.wasUp && this.#ways.best(now.ms) === null) this.#path.check(relay, RELAY_CHECK_TRIES, now);
    } else if (this.chosen !== null && this.#isRelayed) {
      this.wayDead(this.chosen, now);
    }
    settled?.(now);
  }

  #relayWay(): Way | null {
    const { endpoint } = this.#binding;
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
    const fits = this.#ways.direct.find(({ endpoint }) => isPrivate(endpoint.address) === this.#isLan);
    const way = fits ?? this.#ways.direct[0];
    return way === undefined ? null : arrivalOf(way);
  }
}

function arrivalOf({ endpoint, origin }: Way): Arrival {
  return { from: endpoint, relayed: origin === 'relay' };
}
