/**
 * Our side's binding of a path to its TRS (protocol section 2.4): a Keep Alive to the TRS proves our address to it, and
 * from then on it forwards what the other side sends. Tries the relay's addresses one after the other, over UDP and then
 * over TLS; the other way round while UDP is known not to work. Where it does work, a TRS that has answered before and now
 * does not has gone or started anew without the path: TLS would not change that, but a new path will.
 */

import { type Endpoint, formatEndpoint, sameEndpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import { Flag } from '../../proto/messages.ts';
import { SenderKind } from '../../proto/options.ts';
import type { Channel } from '../channel.ts';
import { retransmitDelay } from '../exchange.ts';
import type { NodeContext } from './context.ts';
import type { Direction } from './direction.ts';
import { relayChannel } from './path-channels.ts';
import type { StreamUser } from './streams.ts';

/** Transmissions to one address of a relay before the next one is tried, and how long after each (ms): 2 s before TLS. */
const TRIES = 4;
const PATIENCE_MS = 600;
/** What came by UDP so short before an attempt shows as well that UDP works (ms). */
const FRESH_MS = 500;

export type BindingUser = {
  /** An attempt has ended. */
  bindingSettled(bound: boolean, now: Now): void;
};

export class RelayBinding implements StreamUser {
  /** With the TRS, which knows a key of its own only. */
  readonly channel: Channel;
  readonly #context: NodeContext;
  readonly #direction: Direction;
  readonly #user: BindingUser;
  /** Where it is bound or being bound. */
  #target: Endpoint | null = null;
  /** The address that answered last. */
  #best: Endpoint | null = null;
  /** What else may be tried, in this order. */
  #others: Endpoint[] = [];
  state: 'none' | 'binding' | 'bound' | 'failed' = 'none';
  /** When the attempt began (ms). */
  #since = 0;

  constructor(context: NodeContext, direction: Direction, user: BindingUser) {
    this.channel = relayChannel(context, direction);
    this.#context = context;
    this.#direction = direction;
    this.#user = user;
  }

  /** Where relayed messages go to and come from; null while not bound. */
  get endpoint(): Endpoint | null {
    return this.state === 'bound' ? this.#target : null;
  }

  /** Its addresses of the families that we have now, the likeliest first. */
  get #possible(): Endpoint[] {
    const { relays, streams } = this.#direction;
    const reachable = relays.filter((relay) => this.#context.mayReach(relay));
    const best = reachable.find((relay) => this.#best !== null && sameEndpoint(relay, this.#best));
    if (best !== undefined) reachable.unshift(...reachable.splice(reachable.indexOf(best), 1));
    return this.#context.udpBlocked ? [...streams, ...reachable] : [...reachable, ...streams];
  }

  /** Binds, or, where it is bound already, shows the TRS that we are still there and where. */
  bind(now: Now): void {
    if (this.state === 'binding') return;
    if (this.state === 'bound') {
      this.#ask(now);
      return;
    }
    this.state = 'binding';
    this.#since = now.ms;
    this.#others = this.#possible;
    if (this.#hasAnswered(now)) this.#context.askNms(FRESH_MS, now);
    this.#next(now);
  }

  /** Binds from our new address, whatever is under way from the old one. */
  rebind(now: Now): void {
    this.#context.cancel(this);
    this.state = 'none';
    this.bind(now);
  }

  /** Not needed for now: the TRS will forget us. */
  lapse(now: Now): void {
    this.stop(now);
    this.state = 'none';
  }

  stop(now: Now): void {
    this.#context.cancel(this);
    this.#context.streams.release(this, now);
  }

  streamOpened(endpoint: Endpoint, now: Now): void {
    if (this.state === 'bound' || this.state === 'none') return;
    this.#context.cancel(this);
    this.state = 'binding';
    this.#target = endpoint;
    this.#ask(now);
  }

  streamClosed(endpoint: Endpoint, now: Now): void {
    if (this.#target === null || !sameEndpoint(endpoint, this.#target)) return;
    this.#context.cancel(this);
    if (this.state === 'bound') {
      this.state = 'failed';
      this.#user.bindingSettled(false, now);
    } else if (this.state === 'binding') {
      this.#next(now);
    }
  }

  /** Tries the next address; none is left: failed. */
  #next(now: Now): void {
    this.#context.cancel(this);
    const relay = this.#target;
    const isForgotten = this.#context.udpHeardAt >= this.#since - FRESH_MS && this.#hasAnswered(now);
    if (isForgotten) this.#others = this.#others.filter(({ over }) => over === undefined);
    this.#target = this.#others.shift() ?? null;
    if (this.#target === null) {
      this.state = 'failed';
      if (relay !== null) this.#context.log('debug', 'the relay does not answer', { relay: formatEndpoint(relay) });
      this.#user.bindingSettled(false, now);
    } else if (this.#target.over === undefined || this.#context.streams.isOpen(this.#target)) {
      if (this.#target.over === 'tls') this.#context.streams.want(this.#target, this);
      this.#ask(now);
    } else if (!this.#context.streams.want(this.#target, this)) {
      // It broke just now. Should it be open again later, that is still welcome.
      this.#next(now);
    }
  }

  #ask(now: Now): void {
    if (this.#target === null) return;
    this.#context.cancel(this);
    this.#context.ask(
      {
        owner: this,
        channel: this.channel,
        to: this.#target,
        tries: TRIES,
        delay: (tries) => Math.min(PATIENCE_MS, retransmitDelay(tries)),
        from: SenderKind.trs,
        expects: 'ack',
        request: { type: 'keepAlive', id: this.channel.id, body: {} },
        answered: (message, _, rttMs, at) => {
          if (this.#target !== null) this.#context.spokeToRelay(this.#target, true, rttMs, at);
          if ((message.flags & Flag.failure) !== 0) this.#unbound(at);
          else this.#bound(at);
        },
        failed: (at) => {
          if (this.#target !== null) this.#context.spokeToRelay(this.#target, false, null, at);
          this.#unbound(at);
        },
      },
      now,
    );
  }

  #bound(now: Now): void {
    this.state = 'bound';
    this.#best = this.#target;
    this.#context.streams.release(this, now, this.#target);
    this.#user.bindingSettled(true, now);
  }

  #unbound(now: Now): void {
    if (this.state === 'bound') this.rebind(now);
    else this.#next(now);
  }

  #hasAnswered(now: Now): boolean {
    return this.#direction.relays.some((relay) => this.#context.hasAnswered(relay, now));
  }
}
