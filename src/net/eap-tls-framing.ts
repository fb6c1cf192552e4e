/**
 * TLS flights in EAP packets, cut in fragments that are acknowledged one by one: EAP-TLS (RFC 5216 section 2.1.5 and 3) and
 * EAP-TTLS version 0 (RFC 5281 section 9), which are framed alike.
 */

import { concat, Reader, Writer } from '../lib/bytes.ts';
import type { LinkDropReason } from './link-drop.ts';

const Flag = { length: 0x80, more: 0x40, start: 0x20 } as const;
/** The longest flight that is put together: several times a long certificate chain. */
export const MAX_FLIGHT = 65_536;
/** With all headers below 1,500 octets, also when a provider's network takes some. */
export const FRAGMENT_SIZE = 1_300;

export type TlsFragment = {
  /** Of the whole flight; null if it isn't said. */
  readonly length: number | null;
  readonly more: boolean;
  readonly start: boolean;
  readonly payload: Uint8Array;
};

/** A packet without flags says nothing, as an acknowledgement does. The low bits, a version in TTLS, are passed over. */
export function decodeTlsFragment(data: Uint8Array): TlsFragment | LinkDropReason {
  const from = new Reader(data);
  const flags = from.left === 0 ? 0 : from.u8();
  const length = (flags & Flag.length) === 0 ? null : from.u32();
  if (from.failed) return 'eap-fragment';
  return {
    length,
    more: (flags & Flag.more) !== 0,
    start: (flags & Flag.start) !== 0,
    payload: from.take(from.left),
  };
}

export function encodeTlsFragment({ length, more, start, payload }: TlsFragment): Uint8Array {
  const into = new Writer();
  into.u8((length === null ? 0 : Flag.length) | (more ? Flag.more : 0) | (start ? Flag.start : 0));
  if (length !== null) into.u32(length);
  into.octets(payload);
  return into.written;
}

const empty = new Uint8Array(0);
export const tlsStart: TlsFragment = { length: null, more: false, start: true, payload: empty };
export const tlsAcknowledgement: TlsFragment = { length: null, more: false, start: false, payload: empty };

/** Puts one flight after the other together. A refused fragment changes nothing. */
export class FlightReceiver {
  #pieces: Uint8Array[] = [];
  #received = 0;
  #expected = 0;

  /** The whole flight, empty for an acknowledgement; null if more is to come. */
  accept(fragment: TlsFragment): Uint8Array | null | LinkDropReason {
    const { payload, length, more } = fragment;
    const first = this.#pieces.length === 0;
    // RFC 5216 section 3.1: the first of several fragments says how much will come.
    const expected = length ?? (first ? (more ? 0 : payload.length) : this.#expected);
    const received = this.#received + payload.length;
    if (fragment.start || expected > MAX_FLIGHT || (!first && expected !== this.#expected)) return 'eap-fragment';
    if (more ? payload.length === 0 || received >= expected : received !== expected) return 'eap-fragment';
    // A copy: the frame it came in may not last until the flight is whole.
    this.#pieces.push(Uint8Array.from(payload));
    this.#received = received;
    this.#expected = expected;
    if (more) return null;
    const flight = concat(...this.#pieces);
    this.#pieces = [];
    this.#received = 0;
    return flight;
  }
}

/** Hands one flight out in fragments. */
export class FlightSender {
  #flight: Uint8Array = empty;
  #sent = 0;

  get pending(): boolean {
    return this.#sent < this.#flight.length;
  }

  begin(flight: Uint8Array): TlsFragment {
    this.#flight = flight;
    this.#sent = 0;
    return this.next();
  }

  next(): TlsFragment {
    const first = this.#sent === 0;
    const payload = this.#flight.subarray(this.#sent, this.#sent + FRAGMENT_SIZE);
    this.#sent += payload.length;
    const length = first && this.pending ? this.#flight.length : null;
    return { length, more: this.pending, start: false, payload };
  }
}
