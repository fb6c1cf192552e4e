/** The node's standing with the NMS over all address families. */

import type { Endpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import { NoticeReason } from '../../proto/messages.ts';
import { SenderKind } from '../../proto/options.ts';
import type { Channel } from '../channel.ts';
import { sendAll } from '../exchange.ts';
import type { NodeContext } from './context.ts';
import { Detour } from './detour.ts';
import { Registration } from './registration.ts';
import { Timers } from './timers.ts';
import type { NodeState, Session } from './types.ts';

/** Replicas of the NMS that may speak to us at one time. */
const NMS_INSTANCES = 8;
/** A certificate lives for 7 days and is renewed daily: 6 days before its end (protocol section 2.1). */
const RENEW_BEFORE_MS = 6 * 24 * 3_600_000;
const RENEW_AGAIN_MS = 10 * 60_000;
/** Offline for this long, the fault may be our Common Key. */
const UNREACHABLE_MS = 60_000;
/** At the start it is likely: the device may have been removed, or its last login not been acknowledged. */
const UNREACHABLE_AT_START_MS = 3_000;
const UNREACHABLE_AGAIN_MS = 5 * 60_000;
/** Nothing answers a goodbye that would have to be told from another. */
const GOODBYE_ID = 1;

export type RegistrarEvents = {
  online(now: Now): void;
  offline(now: Now): void;
  /** The NMS sees us elsewhere; `moved`: because we are. */
  remapped(moved: boolean, now: Now): void;
  /** UDP works again after it did not. */
  unblocked(now: Now): void;
};

export class Registrar {
  readonly #context: NodeContext;
  readonly #events: RegistrarEvents;
  readonly timers = new Timers<'renew' | 'unreachable'>();
  #channel: Channel | null = null;
  /** Over UDP, one for each family. */
  #registrations: Registration[] = [];
  readonly #detour: Detour;
  #everOnline = false;
  /** This process has no memory of paths from before. */
  #isFirst = true;
  #refused = false;

  constructor(context: NodeContext, events: RegistrarEvents) {
    this.#context = context;
    this.#events = events;
    this.#detour = new Detour(context, {
      register: (endpoint) => this.#registration(this.#channel!, endpoint),
      ended: (now) => this.#lost(now),
    });
  }

  /** The NodeID channel, null before the first session. */
  get channel(): Channel | null {
    return this.#channel;
  }

  get registrations(): readonly Registration[] {
    const { registration } = this.#detour;
    return registration === null ? this.#registrations : [...this.#registrations, registration];
  }

  get state(): NodeState {
    if (this.#refused) return 'refused';
    if (this.#channel === null) return 'authenticating';
    if (this.isOnline) return 'online';
    return this.#everOnline ? 'offline' : 'registering';
  }

  get isOnline(): boolean {
    return this.registrations.some(({ state }) => state === 'up');
  }

  /** Where requests to the NMS go: the registered family heard of last. */
  get nms(): Endpoint | null {
    const up = this.registrations.filter(({ state }) => state === 'up');
    return up.sort((a, b) => (b.lastContact ?? 0) - (a.lastContact ?? 0))[0]?.nms ?? null;
  }

  /** A new Common Key: everything under the old one is over. */
  session(session: Session, now: Now): void {
    for (const registration of this.#registrations) registration.stop();
    this.#registrations = [];
    this.#detour.restart(now);
    this.#channel?.close();
    this.#channel = this.#context.channel({
      id: session.nodeId,
      suite: session.suite,
      baseKey: session.commonKey,
      kind: SenderKind.node,
      accept: new Map([[SenderKind.nms, NMS_INSTANCES]]),
      proveAddress: true,
      freshKey: false,
    });
    const untilRenewal = session.certificateExpires - RENEW_BEFORE_MS * this.#context.jitter(0.01) - now.wall;
    this.timers.set('renew', now.ms + Math.max(RENEW_AGAIN_MS, untilRenewal));
    this.register(now);
  }

  /** Registers on every family that the NMS and this host have in common; `moved`: as our own addresses changed. */
  register(now: Now, moved = false): void {
    const channel = this.#channel;
    const { session } = this.#context;
    if (channel === null || session === null || this.#refused) return;
    const families = this.#context.families();
    const wanted = [families.includes(4) ? session.nms4 : null, families.includes(6) ? session.nms6 : null];
    const wasOnline = this.isOnline;
    for (const registration of this.#registrations) registration.stop();
    this.#registrations = wanted.flatMap((nms) => {
      if (nms === null) return [];
      const known = this.#registrations.find((registration) => registration.nms === nms);
      return [known ?? this.#registration(channel, nms)];
    });
    for (const registration of this.registrations) registration.begin(now, { moved });
    this.#watchUdp();
    if (!this.isOnline) this.#whileOffline(now);
    if (wasOnline && !this.isOnline) this.#events.offline(now);
  }

  /** Whether the NMS still knows us, asked ahead of time. */
  check(now: Now, gapMs?: number): void {
    for (const registration of this.registrations) registration.check(now, gapMs);
    this.#watchUdp();
  }

  /** A path went silent: the NAT in between, if there is one, may have lost its mappings. */
  checkMapping(now: Now): void {
    for (const registration of this.#registrations) if (registration.nat === true) registration.check(now);
  }

  /** There are paths of an earlier life: the NMS need not tell their other ends that they are gone. */
  remembers(): void {
    this.#isFirst = false;
    for (const registration of this.#registrations) registration.isFirst = false;
  }

  refuse(): void {
    if (this.#refused) return;
    this.#refused = true;
    this.stop();
    this.#context.log('error', 'the network refuses this device');
    this.#context.emit({ do: 'refused' });
  }

  get next(): number {
    return Math.min(this.timers.next, this.#detour.next, ...this.#registrations.map(({ timers }) => timers.next));
  }

  tick(now: Now): void {
    for (const timer of this.timers.due(now.ms)) {
      this.#context.emit({ do: 'renewLogin', why: timer === 'renew' ? 'certificate' : 'unreachable' });
      this.timers.set(timer, now.ms + (timer === 'renew' ? RENEW_AGAIN_MS : UNREACHABLE_AGAIN_MS));
    }
    for (const registration of this.#registrations) registration.tick(now);
    this.#watchUdp();
    this.#detour.tick(now);
  }

  /** Said once, as nobody waits for the answer. */
  sayGoodbye(): void {
    const { nms } = this;
    if (nms === null || this.#channel === null) return;
    const { id } = this.#channel;
    const body = { reason: NoticeReason.serviceStopping, subject: id };
    const datagrams = this.#channel.seal({ type: 'notice', id, transactionId: GOODBYE_ID, body });
    this.#context.emit(...sendAll(datagrams, nms));
  }

  stop(): void {
    this.timers.clearAll();
    this.#detour.stop();
    for (const registration of this.#registrations) registration.stop();
  }

  #registration(channel: Channel, nms: Endpoint): Registration {
    const registration: Registration = new Registration(this.#context, channel, nms, this.#isFirst, {
      registered: (now) => this.#registered(registration, now),
      lost: (now) => {
        if (registration === this.#detour.registration) this.#detour.lost(now);
        else this.#lost(now);
      },
      remapped: (moved, now) => this.#events.remapped(moved, now),
      refused: () => this.refuse(),
      heard: (now) => {
        if (registration !== this.#detour.registration) this.#heardByUdp(now);
      },
    });
    return registration;
  }

  #lost(now: Now): void {
    if (this.isOnline) return;
    this.#whileOffline(now);
    this.#events.offline(now);
  }

  /** Once no family gets an answer by UDP, another way is looked for. */
  #watchUdp(): void {
    const silent = this.#registrations.map(({ unansweredSince }) => unansweredSince);
    const heard = silent.length === 0 || silent.includes(null);
    this.#detour.silentSince(heard ? null : Math.max(...silent.filter((since) => since !== null)));
  }

  #heardByUdp(now: Now): void {
    const wasBlocked = this.#context.udpBlocked;
    this.#context.udpBlocked = false;
    this.#detour.leave(now);
    if (wasBlocked) this.#events.unblocked(now);
  }

  #registered(registration: Registration, now: Now): void {
    if (registration === this.#detour.registration) this.#context.udpBlocked = true;
    const others = this.registrations.filter((other) => other !== registration);
    const isNews = others.every(({ state }) => state !== 'up');
    this.#everOnline = true;
    this.#isFirst = false;
    this.timers.clear('unreachable');
    for (const other of others) other.notFirst(now);
    if (isNews) this.#events.online(now);
  }

  #whileOffline(now: Now): void {
    if (this.timers.isSet('unreachable')) return;
    this.timers.set('unreachable', now.ms + (this.#everOnline ? UNREACHABLE_MS : UNREACHABLE_AT_START_MS));
  }
}
