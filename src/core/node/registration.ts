/**
 * Being known to the NMS on one address family (protocol section 4.2): register, keep alive, register again when that
 * stops working, forever.
 */

import { type Endpoint, type Family, familyOf, formatEndpoint, sameEndpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { Message } from '../../proto/codec.ts';
import { KEEP_ALIVE_JITTER, KEEP_ALIVE_LOST, KEEP_ALIVE_MS, RETRANSMIT_TRIES } from '../../proto/constants.ts';
import { Flag } from '../../proto/messages.ts';
import { type Mirror, Refusal, SenderKind } from '../../proto/options.ts';
import type { Channel } from '../channel.ts';
import type { NodeContext } from './context.ts';
import { Timers } from './timers.ts';

const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 25_000;
const BACKOFF_JITTER = 0.4;
/** While another way than UDP is in use, UDP is asked at least this often (ms). */
const BACKOFF_BLOCKED_MS = 2_500;
/** So many failures bring the longest backoff. */
const PATIENT = 5;
/** Transmissions of a Keep Alive; unanswered, the next one comes at its time, as all nodes of an NMS that is gone do this. */
const KEEP_ALIVE_TRIES = 4;
/** Little: they are spread as they were before, and who comes early meets those whose turn it is. */
const KEEP_ALIVE_AGAIN_JITTER = 0.2;
/**
 * Transmissions of an attempt while nobody answers: so that one lost datagram costs nobody another interval, and few are
 * under way whenever the NMS comes back, as those come all at once.
 */
const DOWN_TRIES = 2;
/** Whoever heard of the NMS this recently need not ask (ms). */
const CHECK_GAP_MS = 1_000;

/** What a registration tells its owner. */
export type RegistrationEvents = {
  registered(now: Now): void;
  lost(now: Now): void;
  /** The NMS sees us at another address than before; `moved`: as we do ourselves. */
  remapped(moved: boolean, now: Now): void;
  refused(now: Now): void;
  /** It is there. */
  heard(now: Now): void;
};

type Attempt = { readonly tries?: number; readonly echo?: string; readonly moved?: boolean };

export class Registration {
  readonly nms: Endpoint;
  readonly family: Family;
  readonly timers = new Timers<'register' | 'keepAlive'>();
  readonly #context: NodeContext;
  readonly #channel: Channel;
  readonly #events: RegistrationEvents;
  /** This process has no memory of paths from before. */
  isFirst: boolean;
  #failures = 0;
  #unanswered = 0;
  /** Our own addresses changed, and the NMS has not said yet where it sees us since. */
  #moved = false;
  state: 'registering' | 'up' | 'down' = 'registering';
  mapped: Endpoint | null = null;
  /** Who tells us where we are seen. */
  mirrors: readonly Mirror[] = [];
  nat: boolean | null = null;
  lastContact: number | null = null;
  rttMs: number | null = null;
  /** When what is still unanswered was first asked (ms); null = everything is answered. */
  unansweredSince: number | null = null;

  constructor(context: NodeContext, channel: Channel, nms: Endpoint, isFirst: boolean, events: RegistrationEvents) {
    this.#context = context;
    this.#channel = channel;
    this.nms = nms;
    this.family = familyOf(nms.address);
    this.isFirst = isFirst;
    this.#events = events;
  }

  /** Registers now: at the start and after every change of our addresses. */
  begin(now: Now, { tries = RETRANSMIT_TRIES, echo, moved }: Attempt = {}): void {
    const context = this.#context;
    this.#moved ||= moved === true;
    const candidates = context.offered();
    const own = (family: Family) => candidates.find(({ address }) => familyOf(address) === family)?.address ?? null;
    this.stop();
    this.unansweredSince ??= now.ms;
    if (this.state === 'down') this.state = 'registering';
    context.ask(
      {
        owner: this,
        channel: this.#channel,
        to: this.nms,
        tries,
        from: SenderKind.nms,
        expects: 'registrationResponse',
        request: {
          type: 'registrationRequest',
          id: this.#channel.id,
          flags: this.isFirst ? Flag.first : 0,
          body: { port: candidates[0]?.port ?? 0, notificationType: 0, node4: own(4), node6: own(6) },
          options: {
            ...(echo !== undefined && { echo: { value: echo } }),
            candidates: { list: candidates },
            suites: { mask: context.suites.reduce((mask, suite) => mask | (1 << suite), 0) },
            ...(context.relayTimes.length > 0 && { relayTimes: { list: context.relayTimes } }),
          },
        },
        answered: (message, _, rttMs, at) => this.#answered(message, rttMs, at),
        failed: (at) => this.#failed(at),
      },
      now,
    );
  }

  /** A Keep Alive ahead of time. */
  check(now: Now, gapMs = CHECK_GAP_MS): void {
    if (this.state === 'up' && now.ms - (this.lastContact ?? 0) > gapMs && this.timers.isSet('keepAlive')) {
      this.timers.clear('keepAlive');
      this.#keepAlive(now);
    }
  }

  /** A family registered meanwhile: what comes later is no first registration any more. */
  notFirst(now: Now): void {
    if (!this.isFirst) return;
    this.isFirst = false;
    if (this.state !== 'up') this.begin(now);
  }

  tick(now: Now): void {
    for (const timer of this.timers.due(now.ms)) {
      if (timer === 'register') this.begin(now, { tries: DOWN_TRIES });
      else this.#keepAlive(now);
    }
  }

  stop(): void {
    this.timers.clearAll();
    this.#context.cancel(this);
  }

  get #isStreamed(): boolean {
    return this.nms.over === 'tls';
  }

  #answered(message: Message, rttMs: number | null, now: Now): void {
    if ((message.flags & Flag.failure) !== 0 || message.type !== 'registrationResponse') {
      if (message.options.refusal?.reason === Refusal.disabled) this.#events.refused(now);
      else this.#failed(now);
      return;
    }
    const wasUp = this.state === 'up';
    this.state = 'up';
    this.#failures = 0;
    this.nat = this.#isStreamed ? null : message.body.natFlag !== 0;
    this.mirrors = (message.options.mirrors?.list ?? []).filter((mirror) => this.#context.mayReach(mirror));
    this.isFirst = false;
    this.#contact(message, rttMs, now);
    if (wasUp) return;
    this.#context.log('info', 'registered', {
      nms: formatEndpoint(this.nms),
      mapped: this.mapped === null ? null : formatEndpoint(this.mapped),
      nat: this.nat,
    });
    this.#events.registered(now);
  }

  /** Nobody answered: tries again later and later, by chance, so that the nodes of a network don't come back all at once. */
  #failed(now: Now): void {
    const longest = this.#context.udpBlocked ? BACKOFF_BLOCKED_MS : BACKOFF_MAX_MS;
    const backoff = Math.min(longest, BACKOFF_FIRST_MS * 2 ** this.#failures);
    this.#failures += 1;
    this.timers.set('register', now.ms + backoff * this.#context.jitter(BACKOFF_JITTER));
    if (this.state === 'down') return;
    this.state = 'down';
    this.#context.log('warn', 'the NMS does not answer', { nms: formatEndpoint(this.nms) });
    this.#events.lost(now);
  }

  #keepAlive(now: Now): void {
    this.unansweredSince ??= now.ms;
    this.#context.ask(
      {
        owner: this,
        channel: this.#channel,
        to: this.nms,
        tries: this.#unanswered === 0 ? KEEP_ALIVE_TRIES : DOWN_TRIES,
        from: SenderKind.nms,
        expects: 'ack',
        request: { type: 'keepAlive', id: this.#channel.id, body: {} },
        // It has started anew, or sees us elsewhere: either way it wants a registration next.
        challenged: (echo, at) => this.begin(at, { echo }),
        answered: (message, _, rttMs, at) => {
          // The NMS has no registration of ours any more, for instance after a restart.
          if ((message.flags & Flag.failure) !== 0) this.begin(at);
          else this.#contact(message, rttMs, at);
        },
        failed: (at) => {
          this.#unanswered += 1;
          if (this.#unanswered < KEEP_ALIVE_LOST) {
            this.timers.set('keepAlive', at.ms + KEEP_ALIVE_MS * this.#context.jitter(KEEP_ALIVE_AGAIN_JITTER));
            return;
          }
          // Others lost it as well, and are about to come back as well.
          this.#failures = PATIENT;
          this.#failed(at);
        },
      },
      now,
    );
  }

  #contact(message: Message, rttMs: number | null, now: Now): void {
    // Those that started together, after a power cut say, don't stay together: anywhere within the first interval.
    const interval = this.lastContact === null ? this.#context.jitter(1) / 2 : this.#context.jitter(KEEP_ALIVE_JITTER);
    this.lastContact = now.ms;
    this.rttMs = rttMs ?? this.rttMs;
    this.#unanswered = 0;
    this.unansweredSince = null;
    this.#events.heard(now);
    this.timers.set('keepAlive', now.ms + KEEP_ALIVE_MS * interval);
    // What the NMS sees then is the TRS.
    if (this.#isStreamed) return;
    const mapped = message.options.mapped?.endpoint ?? this.mapped;
    const seenAnew = mapped !== null && (this.mapped === null || !sameEndpoint(mapped, this.mapped));
    const changed = seenAnew && this.mapped !== null;
    this.mapped = mapped;
    if (seenAnew) this.#context.emit({ do: 'seenAnew' });
    const moved = this.#moved;
    this.#moved = false;
    if (changed) this.#events.remapped(moved, now);
  }
}
