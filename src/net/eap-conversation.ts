/**
 * The authentication server's side of one EAP conversation: identity, agreement on a method, a TLS handshake in fragments,
 * then a client certificate (EAP-TLS: RFC 5216, with TLS 1.3 RFC 9190) or a name and password in the tunnel (EAP-TTLS/PAP:
 * RFC 5281). Without I/O, time and cryptography: the TLS engine is given, and whether the credential is good is asked for.
 */

import { isUtf8 } from 'node:buffer';
import { eapType } from './eap.ts';
import {
  decodeTlsFragment,
  encodeTlsFragment,
  FlightReceiver,
  FlightSender,
  type TlsFragment,
  tlsAcknowledgement,
  tlsStart,
} from './eap-tls-framing.ts';
import type { LinkDropReason } from './link-drop.ts';
import { decodeAvps, papCredentials } from './ttls-avps.ts';

export type EapMethod = 'tls' | 'ttls';

/**
 * The server end of one TLS connection, without session tickets and resumption. For EAP-TLS it asks for a client
 * certificate and takes any: who may have one is decided elsewhere.
 */
export interface TlsEngine {
  /** Records from the client. */
  feed(octets: Uint8Array): void;
  /** All records for the client that are ready. */
  take(): Uint8Array;
  /** All application data that came. */
  read(): Uint8Array;
  write(octets: Uint8Array): void;
  close(): void;
  /** Still at work on what it was given; when it no longer is, the conversation wants `progressed`. */
  readonly busy: boolean;
  readonly failed: boolean;
  readonly established: boolean;
  readonly tls13: boolean;
  /** What shows the client's certificate and that it has the key to it; null if it showed none. */
  readonly certificateProof: Uint8Array | null;
}

export type Credential =
  | { readonly kind: 'password'; readonly password: Uint8Array }
  | { readonly kind: 'certificate'; readonly proof: Uint8Array };

export type EapFailure = 'no-common-method' | 'tls' | 'no-certificate' | 'inner-method' | 'too-long' | 'refused';

export type EapStep =
  | { readonly step: 'request'; readonly type: number; readonly data: Uint8Array }
  /** Until `progressed`. */
  | { readonly step: 'wait' }
  /** Until `decided`. */
  | { readonly step: 'authenticate'; readonly identity: string; readonly credential: Credential }
  | { readonly step: 'success'; readonly identity: string }
  | { readonly step: 'failure'; readonly reason: EapFailure }
  | { readonly step: 'drop'; readonly reason: LinkDropReason };

/** RFC 7542 section 2.2. */
const MAX_IDENTITY = 253;
/** Packets of the peer: enough for the longest flights, too few to go on for ever. */
const MAX_ROUNDS = 100;
/** RFC 9190 section 2.1.1: the octet that says that nothing but success follows. */
const COMMITMENT = Uint8Array.of(0);
/** RFC 5246 section 6.2.1 and 7.2: a record with a fatal alert. */
const ACCESS_DENIED = Uint8Array.of(21, 3, 3, 0, 2, 2, 49);

export class EapConversation {
  readonly #makeEngine: (method: EapMethod) => TlsEngine | null;
  readonly #sender = new FlightSender();
  #receiver = new FlightReceiver();
  /** The methods still to propose, the current one first. */
  #left: readonly EapMethod[];
  #phase: 'identity' | 'proposed' | 'handshake' | 'deciding' | 'committing' | 'denying' = 'identity';
  #denied: EapFailure | null = null;
  #engine: TlsEngine | null = null;
  #identity = '';
  #rounds = 0;
  #waiting = false;

  /** `methods`, at least one, in order of preference; without an engine the device may try again. */
  constructor(methods: readonly EapMethod[], makeEngine: (method: EapMethod) => TlsEngine | null) {
    this.#left = methods;
    this.#makeEngine = makeEngine;
  }

  /** Whether nothing but the question who is there has been sent. */
  get fresh(): boolean {
    return this.#phase === 'identity';
  }

  /** Why it fails as soon as the device has taken note. */
  get denied(): EapFailure | null {
    return this.#denied;
  }

  begin(): EapStep {
    return { step: 'request', type: eapType.identity, data: new Uint8Array(0) };
  }

  /** The peer's response to the latest request. */
  respond(type: number, data: Uint8Array): EapStep {
    if (++this.#rounds > MAX_ROUNDS) return failure('too-long');
    if (this.#phase === 'identity') return this.#identified(type, data);
    if (type === eapType.nak && this.#phase === 'proposed') return this.#proposeOf(data);
    if (type !== eapType[this.#method] || this.#phase === 'deciding' || this.#waiting) return drop('eap-unexpected');
    const fragment = decodeTlsFragment(data);
    return typeof fragment === 'string' ? drop(fragment) : this.#received(fragment);
  }

  /** The engine has done what it was given. */
  progressed(): EapStep {
    return this.#waiting ? this.#advance() : { step: 'wait' };
  }

  /** Whether the credential is good. */
  decided(good: boolean): EapStep {
    if (this.#phase !== 'deciding') return { step: 'wait' };
    if (!good) return this.#deny('refused');
    this.#phase = 'committing';
    if (this.#method === 'tls' && this.#engine!.tls13) this.#engine!.write(COMMITMENT);
    return this.#advance();
  }

  close(): void {
    this.#engine?.close();
    this.#engine = null;
  }

  get #method(): EapMethod {
    return this.#left[0]!;
  }

  #identified(type: number, data: Uint8Array): EapStep {
    if (type !== eapType.identity) return drop('eap-unexpected');
    const identity = textOf(data);
    if (identity === null) return drop('eap-malformed');
    this.#identity = identity;
    return this.#propose();
  }

  #propose(): EapStep {
    this.#phase = 'proposed';
    return this.#request(tlsStart);
  }

  /** RFC 3748 section 5.3.1: the peer declines, and lists what it would take. */
  #proposeOf(wanted: Uint8Array): EapStep {
    this.#left = this.#left.slice(1).filter((method) => wanted.includes(eapType[method]));
    return this.#left.length === 0 ? failure('no-common-method') : this.#propose();
  }

  #received(fragment: TlsFragment): EapStep {
    if (this.#denied !== null) return failure(this.#denied);
    if (this.#sender.pending) {
      const acknowledged = !fragment.start && !fragment.more && fragment.payload.length === 0;
      return acknowledged ? this.#request(this.#sender.next()) : drop('eap-fragment');
    }
    const flight = this.#receiver.accept(fragment);
    if (typeof flight === 'string') return drop(flight);
    this.#engine ??= this.#makeEngine(this.#method);
    if (this.#engine === null) {
      this.#receiver = new FlightReceiver();
      return drop('eapol-overloaded');
    }
    if (this.#phase === 'proposed') this.#phase = 'handshake';
    if (flight === null) return this.#request(tlsAcknowledgement);
    if (flight.length > 0) this.#engine.feed(flight);
    return this.#advance();
  }

  /**
   * What the engine has for the peer goes out first, an alert too; then what the handshake has come to counts. Only the end
   * of a handshake with a certificate is held back until that has been judged: with TLS 1.2 it is a success (RFC 5216
   * section 2.1.1), which a peer lets no failure undo.
   */
  #advance(): EapStep {
    const engine = this.#engine!;
    this.#waiting = engine.busy;
    if (engine.busy) return { step: 'wait' };
    const shown = this.#method === 'tls' && this.#phase === 'handshake' && engine.established && !engine.failed;
    if (shown) return this.#askCertificate(engine);
    const flight = engine.take();
    if (flight.length > 0) return this.#request(this.#sender.begin(flight));
    if (engine.failed) return failure('tls');
    if (this.#phase === 'committing') return { step: 'success', identity: this.#identity };
    return engine.established ? this.#askPassword(engine) : this.#request(tlsAcknowledgement);
  }

  #askCertificate(engine: TlsEngine): EapStep {
    const proof = engine.certificateProof;
    return proof === null ? this.#deny('no-certificate') : this.#ask({ kind: 'certificate', proof });
  }

  /** With TLS 1.2 the handshake itself has to fail; nothing is encrypted yet from our side, nor is the alert. */
  #deny(reason: EapFailure): EapStep {
    if (this.#method === 'ttls' || this.#engine!.tls13) return failure(reason);
    this.#phase = 'denying';
    this.#denied = reason;
    return this.#request(this.#sender.begin(ACCESS_DENIED));
  }

  #askPassword(engine: TlsEngine): EapStep {
    const inner = engine.read();
    // The tunnel stands, and it's the peer's turn to speak in it.
    if (inner.length === 0) return this.#request(tlsAcknowledgement);
    const avps = decodeAvps(inner);
    const credentials = avps && papCredentials(avps);
    const userName = credentials && textOf(credentials.userName);
    if (credentials === null || userName === null) return failure('inner-method');
    this.#identity = userName;
    return this.#ask({ kind: 'password', password: credentials.password });
  }

  #ask(credential: Credential): EapStep {
    this.#phase = 'deciding';
    return { step: 'authenticate', identity: this.#identity, credential };
  }

  #request(fragment: TlsFragment): EapStep {
    return { step: 'request', type: eapType[this.#method], data: encodeTlsFragment(fragment) };
  }
}

function textOf(octets: Uint8Array): string | null {
  if (octets.length === 0 || octets.length > MAX_IDENTITY || octets.includes(0) || !isUtf8(octets)) return null;
  return Buffer.from(octets).toString('utf8');
}

function failure(reason: EapFailure): EapStep {
  return { step: 'failure', reason };
}

function drop(reason: LinkDropReason): EapStep {
  return { step: 'drop', reason };
}
