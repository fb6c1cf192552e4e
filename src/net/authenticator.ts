/**
 * The authenticator of IEEE 802.1X-2010 (clause 8) for many devices on one link, each known by its MAC address: start and
 * logoff, retransmission (RFC 3748 section 4.3), a pause after a failure, re-authentication. What is said is the matter of
 * EapConversation. Without I/O, clock and randomness.
 */

import type { Mac } from '../lib/mac.ts';
import type { Now } from '../lib/time.ts';
import { decodeEap, encodeEap } from './eap.ts';
import {
  type Credential,
  EapConversation,
  type EapFailure,
  type EapMethod,
  type EapStep,
  type TlsEngine,
} from './eap-conversation.ts';
import { decodeEapol, encodeEapol } from './eapol.ts';
import type { LinkDropReason } from './link-drop.ts';

/** Milliseconds. */
export const authenticatorTiming = {
  /** First wait for a response; doubles up to the longest. */
  retransmit: 3_000,
  longestRetransmit: 20_000,
  retransmissions: 4,
  /** For the TLS engine, or for whoever decides about a credential. */
  decision: 30_000,
  /** quietWhile: the pause after a failure; doubles with every further one up to the longest. */
  held: 5_000,
  longestHeld: 60_000,
  reauthenticate: 3_600_000,
  /** A device can't start over more often. */
  restart: 1_000,
  /** Until a device that stays authorised, as nobody could be asked, is asked again. */
  postponed: 60_000,
} as const;

/** Conversations at once: each holds a TLS connection. */
const MAX_CONVERSATIONS = 256;
/** TLS handshakes of all devices together: whoever forges the names of many can't make us compute without end. */
const HANDSHAKES = { burst: 64, perSecond: 16 };

/** Why a device isn't authorised, or is no longer. */
export type AuthenticationFailure = EapFailure | 'silent' | 'undecided' | 'logoff' | 'unregistered';

export type AuthenticatorAction =
  /** Send an EAPOL PDU to this device. */
  | { readonly do: 'send'; readonly to: Mac; readonly pdu: Uint8Array }
  /** Ask whether the credential is good; the answer comes as `decided(mac, attempt, …)`. */
  | {
      readonly do: 'authenticate';
      readonly mac: Mac;
      readonly attempt: number;
      readonly identity: string;
      readonly credential: Credential;
    }
  | { readonly do: 'authorised'; readonly mac: Mac; readonly identity: string }
  | { readonly do: 'failed'; readonly mac: Mac; readonly reason: AuthenticationFailure }
  /** Call `tick` at this monotonic time; a later wake replaces an earlier one. */
  | { readonly do: 'wake'; readonly at: number }
  | { readonly do: 'drop'; readonly reason: LinkDropReason; readonly mac: Mac };

export type AuthenticatorDependencies = {
  /** What a device may authenticate by, best first; null for one that isn't registered for 802.1X. */
  methodsOf(mac: Mac): readonly EapMethod[] | null;
  makeEngine(mac: Mac, method: EapMethod): TlsEngine;
  /** In [0, 1). */
  random(): number;
};

type Timer = { readonly kind: 'retransmit' | 'decision' | 'held' | 'reauthenticate'; readonly at: number };

type Session = {
  readonly mac: Mac;
  conversation: EapConversation | null;
  authorised: boolean;
  /** The request that waits for its response. */
  request: Uint8Array | null;
  /** Of the latest request. */
  id: number;
  retransmissions: number;
  /** The decision that is waited for. */
  attempt: number;
  failures: number;
  started: number;
  timer: Timer | null;
};

export class Authenticator {
  readonly #dependencies: AuthenticatorDependencies;
  readonly #sessions = new Map<Mac, Session>();
  #actions: AuthenticatorAction[] = [];
  #attempts = 0;
  /** Handshakes that may begin, as of a time. */
  #handshakes = { left: HANDSHAKES.burst, at: Number.NEGATIVE_INFINITY };

  constructor(dependencies: AuthenticatorDependencies) {
    this.#dependencies = dependencies;
  }

  /** A device appeared, or shall authenticate again; one that is being asked, or has just failed, isn't asked anew. */
  begin(mac: Mac, now: Now): AuthenticatorAction[] {
    const session = this.#dependencies.methodsOf(mac) === null ? null : this.#sessionOf(mac, now);
    if (session === null) this.#drop(mac, 'eapol-unknown-device');
    else if (session.timer?.kind === 'held') this.#drop(mac, 'eapol-held');
    else if (session.conversation === null) this.#start(session, now);
    return this.#flush();
  }

  /** Whether a device has begun to say who it is, and there is no outcome yet. */
  isBusy(mac: Mac): boolean {
    return this.#sessions.get(mac)?.conversation?.fresh === false;
  }

  /** An EAPOL PDU from a device, to the group address or our own. */
  receive(mac: Mac, pdu: Uint8Array, now: Now): AuthenticatorAction[] {
    const eapol = decodeEapol(pdu);
    if (typeof eapol === 'string') this.#drop(mac, eapol);
    else if (this.#dependencies.methodsOf(mac) === null) this.#drop(mac, 'eapol-unknown-device');
    else if (eapol.type === 'start') this.#restart(mac, now);
    else if (eapol.type === 'logoff') this.#logoff(mac);
    else if (eapol.type === 'packet') this.#respond(mac, eapol.body, now);
    else this.#drop(mac, 'eapol-type');
    return this.#flush();
  }

  /** The engine of a device's conversation is no longer busy. */
  progressed(mac: Mac, now: Now): AuthenticatorAction[] {
    const session = this.#sessions.get(mac);
    if (session?.conversation && session.request === null) this.#take(session, session.conversation.progressed(), now);
    return this.#flush();
  }

  /** The answer to `authenticate`; null: nobody could be asked. */
  decided(mac: Mac, attempt: number, good: boolean | null, now: Now): AuthenticatorAction[] {
    const session = this.#sessions.get(mac);
    // Only the latest question's answer counts.
    if (session?.conversation && session.attempt === attempt) {
      session.attempt = 0;
      if (good === null) this.#giveUp(session, now);
      else this.#take(session, session.conversation.decided(good), now);
    }
    return this.#flush();
  }

  /** A device was unregistered, or left the link. */
  forget(mac: Mac): AuthenticatorAction[] {
    this.#sessions.get(mac)?.conversation?.close();
    this.#sessions.delete(mac);
    return this.#flush();
  }

  tick(now: Now): AuthenticatorAction[] {
    for (const session of [...this.#sessions.values()]) {
      if (session.timer !== null && session.timer.at <= now.ms) this.#expire(session, session.timer.kind, now);
    }
    return this.#flush();
  }

  #expire(session: Session, kind: Timer['kind'], now: Now): void {
    const { retransmit, longestRetransmit, retransmissions } = authenticatorTiming;
    if (kind === 'decision') this.#giveUp(session, now);
    else if (kind !== 'retransmit') this.#start(session, now);
    else if (session.retransmissions === retransmissions) {
      this.#fail(session, session.conversation?.denied ?? 'silent', now);
    } else {
      session.retransmissions++;
      const wait = Math.min(longestRetransmit, retransmit * 2 ** session.retransmissions);
      session.timer = { kind, at: now.ms + wait };
      this.#actions.push({ do: 'send', to: session.mac, pdu: session.request! });
    }
  }

  #sessionOf(mac: Mac, now: Now): Session {
    let session = this.#sessions.get(mac);
    if (session === undefined) {
      session = {
        mac,
        conversation: null,
        authorised: false,
        request: null,
        id: Math.floor(this.#dependencies.random() * 256),
        retransmissions: 0,
        attempt: 0,
        failures: 0,
        started: now.ms - authenticatorTiming.restart,
        timer: null,
      };
      this.#sessions.set(mac, session);
    }
    return session;
  }

  /** Begins a conversation; who is authorised stays so until it has failed. */
  #start(session: Session, now: Now): void {
    const { mac } = session;
    const { methodsOf, makeEngine } = this.#dependencies;
    const methods = methodsOf(mac);
    if (methods === null) {
      this.#sessions.delete(mac);
      this.#actions.push({ do: 'failed', mac, reason: 'unregistered' });
      return;
    }
    const others = [...this.#sessions.values()].filter((other) => other !== session && other.conversation !== null);
    if (others.length >= MAX_CONVERSATIONS) {
      session.timer = { kind: 'held', at: now.ms + authenticatorTiming.restart };
      this.#drop(mac, 'eapol-overloaded');
      return;
    }
    session.conversation?.close();
    session.conversation = new EapConversation(methods, (method) => {
      return this.#mayCompute(now) ? makeEngine(mac, method) : null;
    });
    session.started = now.ms;
    session.attempt = 0;
    this.#take(session, session.conversation.begin(), now);
  }

  /** EAPOL-Start: the device asks to be asked. */
  #restart(mac: Mac, now: Now): void {
    const session = this.#sessionOf(mac, now);
    const denied = session.conversation?.denied ?? null;
    if (session.timer?.kind === 'held') this.#drop(mac, 'eapol-held');
    // To start over spares nobody the pause after a failure.
    else if (denied !== null) this.#fail(session, denied, now);
    else if (session.conversation?.fresh && session.request !== null) {
      this.#actions.push({ do: 'send', to: mac, pdu: session.request });
    } else if (now.ms - session.started < authenticatorTiming.restart) this.#drop(mac, 'eapol-too-often');
    else this.#start(session, now);
  }

  #logoff(mac: Mac): void {
    const session = this.#sessions.get(mac);
    if (session === undefined || (session.conversation === null && !session.authorised)) {
      this.#drop(mac, 'eap-unexpected');
      return;
    }
    this.#end(session, 'logoff');
  }

  #respond(mac: Mac, body: Uint8Array, now: Now): void {
    const eap = decodeEap(body);
    if (typeof eap === 'string') {
      this.#drop(mac, eap);
      return;
    }
    const session = this.#sessions.get(mac);
    const awaited = session?.request != null && eap.id === session.id;
    if (eap.code !== 'response' || !awaited || !session.conversation) this.#drop(mac, 'eap-unexpected');
    else this.#take(session, session.conversation.respond(eap.type, eap.data), now);
  }

  #take(session: Session, step: EapStep, now: Now): void {
    const { mac } = session;
    const { retransmit, decision } = authenticatorTiming;
    switch (step.step) {
      case 'request': {
        session.id = (session.id + 1) & 255;
        session.request = encodeEapol('packet', encodeEap({ code: 'request', id: session.id, ...step }));
        session.retransmissions = 0;
        session.timer = { kind: 'retransmit', at: now.ms + retransmit };
        this.#actions.push({ do: 'send', to: mac, pdu: session.request });
        break;
      }
      case 'wait':
        this.#await(session, now.ms + decision);
        break;
      case 'authenticate': {
        const { identity, credential } = step;
        session.attempt = ++this.#attempts;
        this.#await(session, now.ms + decision);
        this.#actions.push({ do: 'authenticate', mac, attempt: session.attempt, identity, credential });
        break;
      }
      case 'success':
        this.#close(session, 'success');
        session.authorised = true;
        session.failures = 0;
        session.timer = { kind: 'reauthenticate', at: now.ms + authenticatorTiming.reauthenticate };
        this.#actions.push({ do: 'authorised', mac, identity: step.identity });
        break;
      case 'failure':
        this.#fail(session, step.reason, now);
        break;
      case 'drop':
        this.#drop(mac, step.reason);
    }
  }

  /** The device has answered, and it's our turn; a deadline that runs already stays. */
  #await(session: Session, at: number): void {
    session.request = null;
    if (session.timer?.kind !== 'decision') session.timer = { kind: 'decision', at };
  }

  /** Nothing was decided: who is authorised stays so, without having been told, and is asked again later. */
  #giveUp(session: Session, now: Now): void {
    if (!session.authorised) {
      this.#fail(session, 'undecided', now);
      return;
    }
    session.conversation?.close();
    session.conversation = null;
    session.request = null;
    session.attempt = 0;
    session.timer = { kind: 'reauthenticate', at: now.ms + authenticatorTiming.postponed };
  }

  #fail(session: Session, reason: AuthenticationFailure, now: Now): void {
    this.#end(session, reason);
    // Who never answers has no supplicant that could be guessing; it is asked again when it shows itself.
    if (reason === 'silent') return;
    const { held, longestHeld } = authenticatorTiming;
    session.timer = { kind: 'held', at: now.ms + Math.min(longestHeld, held * 2 ** session.failures) };
    session.failures++;
  }

  #end(session: Session, reason: AuthenticationFailure): void {
    this.#close(session, 'failure');
    session.authorised = false;
    this.#actions.push({ do: 'failed', mac: session.mac, reason });
  }

  #close(session: Session, code: 'success' | 'failure'): void {
    session.conversation?.close();
    session.conversation = null;
    session.request = null;
    session.attempt = 0;
    session.timer = null;
    const pdu = encodeEapol('packet', encodeEap({ code, id: session.id }));
    this.#actions.push({ do: 'send', to: session.mac, pdu });
  }

  #mayCompute(now: Now): boolean {
    const { left, at } = this.#handshakes;
    const since = Math.max(0, now.ms - at) / 1_000;
    const tokens = Math.min(HANDSHAKES.burst, left + since * HANDSHAKES.perSecond);
    this.#handshakes = { left: tokens < 1 ? tokens : tokens - 1, at: now.ms };
    return tokens >= 1;
  }

  #drop(mac: Mac, reason: LinkDropReason): void {
    this.#actions.push({ do: 'drop', reason, mac });
  }

  #flush(): AuthenticatorAction[] {
    const actions = this.#actions;
    this.#actions = [];
    let at = Number.POSITIVE_INFINITY;
    for (const { timer } of this.#sessions.values()) at = Math.min(at, timer?.at ?? at);
    return at === Number.POSITIVE_INFINITY ? actions : [...actions, { do: 'wake', at }];
  }
}
