/** A supplicant of EAP-TLS and EAP-TTLS around a TLS client: it answers one EAP request after the other. */

import { expect } from 'vitest';
import { concat } from '../../../../src/lib/bytes.ts';
import type { EapMethod } from '../../../../src/net/eap-conversation.ts';
import {
  decodeTlsFragment,
  encodeTlsFragment,
  FlightReceiver,
  FlightSender,
  tlsAcknowledgement,
} from '../../../../src/net/eap-tls-framing.ts';
import { decoded } from '../../../net/support/link.ts';
import { eapIn, responsePdu } from '../../../net/support/supplicant.ts';
import type { TlsClient } from './tls-client.ts';

const methodTypes: Record<EapMethod, number> = { tls: 13, ttls: 21 };

export class Supplicant {
  readonly #tls: TlsClient;
  readonly #method: EapMethod;
  /** What is said once the tunnel stands. */
  readonly #inner: Uint8Array | null;
  readonly #receiver = new FlightReceiver();
  readonly #sender = new FlightSender();
  /** Application data of the authenticator. */
  readonly heard: Uint8Array[] = [];
  /** Every record that came and went. */
  readonly received: Uint8Array[] = [];
  readonly sent: Uint8Array[] = [];
  #told = false;

  constructor(tls: TlsClient, method: EapMethod, inner: Uint8Array | null) {
    this.#tls = tls;
    this.#method = method;
    this.#inner = inner;
  }

  /** The response to a PDU; null at the end. */
  async answer(pdu: Uint8Array): Promise<Uint8Array | null> {
    const eap = eapIn(pdu);
    if (!('type' in eap)) return null;
    if (eap.type === 1) return responsePdu(eap.id, 1, Uint8Array.from(Buffer.from('anonymous')));
    expect(eap.type).toBe(methodTypes[this.#method]);
    const fragment = decoded(decodeTlsFragment(eap.data));
    if (this.#sender.pending) return responsePdu(eap.id, eap.type, encodeTlsFragment(this.#sender.next()));
    const flight = fragment.start ? new Uint8Array(0) : this.#receiver.accept(fragment);
    if (typeof flight === 'string') throw new Error(flight);
    const reply = flight === null ? tlsAcknowledgement : await this.#react(flight);
    return responsePdu(eap.id, eap.type, encodeTlsFragment(reply));
  }

  async #react(flight: Uint8Array) {
    this.received.push(flight);
    await this.#tls.feed(flight);
    if (this.#tls.established && this.#inner !== null && !this.#told) {
      this.#told = true;
      await this.#tls.write(this.#inner);
    }
    const heard = this.#tls.read();
    if (heard.length > 0) this.heard.push(heard);
    const out = this.#tls.take();
    this.sent.push(out);
    return out.length === 0 ? tlsAcknowledgement : this.#sender.begin(out);
  }

  /** All it sent over TLS. */
  get said(): Uint8Array {
    return concat(...this.sent);
  }
}
