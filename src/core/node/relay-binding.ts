/**
 * Our side's binding of a path to its TRS (protocol section 2.4): a Keep Alive to the TRS proves our address to it, and
 * from then on it forwards what the other side sends. Tries the relay's addresses one after the other.
 */

import { type Endpoint, formatEndpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import { Flag } from '../../proto/messages.ts';
import { SenderKind } from '../../proto/options.ts';
import type { Channel } from '../channel.ts';
import type { NodeContext } from './context.ts';

/** Transmissions to one address of a relay before the next one is tried. */
const TRIES = 4;

export class RelayBinding {
  readonly #context: NodeContext;
  readonly #channel: Channel;
  readonly #relays: readonly Endpoint[];
  /** Called whenever an attempt ends. */
  readonly #settled: (bound: boolean, now: Now) => void;
  #attempt = 0;
  state: 'none' | 'binding' | 'bound' | 'failed' = 'none';

  constructor(
    context: NodeContext,
    channel: Channel,
    relays: readonly Endpoint[],
    settled: (bound: boolean, now: Now) => void,
  ) {
    this.#context = context;
    this.#channel = channel;
    this.#relays = relays;
    this.#settled = settled;
  }

  get possible(): boolean {
    return this.#reachable.length > 0;
  }

  /** Where relayed messages go to and come from; null while not bound. */
  get endpoint(): Endpoint | null {
    return this.state === 'bound' ? this.#relay : null;
  }

  /** Its addresses of the families that we have now. */
  get #reachable(): readonly Endpoint[] {
    return this.#relays.filter((relay) => this.#context.mayReach(relay));
  }

  get #relay(): Endpoint | null {
    const reachable = this.#reachable;
    return reachable[this.#attempt % reachable.length] ?? null;
  }

  isRelay(endpoint: Endpoint): boolean {
    return this.#relays.some(({ address, port }) => address === endpoint.address && port === endpoint.port);
  }

  /** Binds, or, where it is bound already, shows the TRS that we are still there and where. */
  bind(now: Now): void {
    if (this.state === 'binding') return;
    if (!this.possible) {
      this.state = 'failed';
      this.#settled(false, now);
      return;
    }
    if (this.state !== 'bound') this.state = 'binding';
    this.#try(this.#reachable.length, now);
  }

  /** Binds from our new address, whatever is under way from the old one. */
  rebind(now: Now): void {
    this.#context.cancel(this);
    this.state = 'none';
    this.bind(now);
  }

  /** Not needed for now: the TRS will forget us. */
  lapse(): void {
    this.stop();
    this.state = 'none';
  }

  stop(): void {
    this.#context.cancel(this);
  }

  #try(left: number, now: Now): void {
    const to = this.#relay;
    if (to === null) return;
    this.#context.cancel(this);
    this.#context.ask(
      {
        owner: this,
        channel: this.#channel,
        to,
        tries: TRIES,
        from: SenderKind.trs,
        expects: 'ack',
        request: { type: 'keepAlive', id: this.#channel.id, body: {} },
        answered: (message, _, _rtt, at) => {
          if ((message.flags & Flag.failure) !== 0) this.#failed(left - 1, at);
          else this.#bound(at);
        },
        failed: (at) => this.#failed(left - 1, at),
      },
      now,
    );
  }

  #bound(now: Now): void {
    this.state = 'bound';
    this.#settled(true, now);
  }

  #failed(left: number, now: Now): void {
    const relay = this.#relay;
    this.#attempt += 1;
    if (left > 0) {
      this.state = 'binding';
      this.#try(left, now);
      return;
    }
    this.state = 'failed';
    if (relay !== null) this.#context.log('debug', 'the relay does not answer', { relay: formatEndpoint(relay) });
    this.#settled(false, now);
  }
}
