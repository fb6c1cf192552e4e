/** A scripted TLS engine, and a device's end of EAPOL that answers what the authenticator asks. */

import type { AuthenticatorAction } from '../../../src/net/authenticator.ts';
import { decodeEap, type Eap, encodeEap } from '../../../src/net/eap.ts';
import type { TlsEngine } from '../../../src/net/eap-conversation.ts';
import { decodeEapol, encodeEapol } from '../../../src/net/eapol.ts';
import { decoded } from './link.ts';

/** Says and becomes what the test sets. */
export class ScriptedEngine implements TlsEngine {
  busy = false;
  failed = false;
  established = false;
  tls13 = false;
  closed = false;
  certificateProof: Uint8Array | null = null;
  outgoing: Uint8Array = new Uint8Array(0);
  incoming: Uint8Array = new Uint8Array(0);
  readonly fed: Uint8Array[] = [];
  readonly written: Uint8Array[] = [];
  /** Called with what is fed. */
  onFeed: (octets: Uint8Array) => void = () => {};

  feed(octets: Uint8Array): void {
    this.fed.push(octets);
    this.onFeed(octets);
  }

  take(): Uint8Array {
    const octets = this.outgoing;
    this.outgoing = new Uint8Array(0);
    return octets;
  }

  read(): Uint8Array {
    const octets = this.incoming;
    this.incoming = new Uint8Array(0);
    return octets;
  }

  write(octets: Uint8Array): void {
    this.written.push(octets);
    this.outgoing = Uint8Array.from(octets);
  }

  close(): void {
    this.closed = true;
  }
}

/** The EAP packet a PDU carries. */
export function eapIn(pdu: Uint8Array): Eap {
  const eapol = decoded(decodeEapol(pdu));
  if (eapol.type !== 'packet') throw new Error(`no EAP packet but ${eapol.type}`);
  return decoded(decodeEap(eapol.body));
}

/** What was sent, as EAP packets. */
export function sentIn(actions: readonly AuthenticatorAction[]): Eap[] {
  return actions.filter((action) => action.do === 'send').map(({ pdu }) => eapIn(pdu));
}

export function responsePdu(id: number, type: number, data: Uint8Array): Uint8Array {
  return encodeEapol('packet', encodeEap({ code: 'response', id, type, data }));
}
