/** DHCP unique identifiers (RFC 8415 section 11, RFC 6355): what a client or server calls itself. */

import { Reader, Writer } from '../lib/bytes.ts';
import { formatMac, MAC_LENGTH, type Mac, parseMac } from '../lib/mac.ts';

export type Duid =
  /** By link-layer address, with or without the time it was made (seconds since 2000). */
  | { readonly kind: 'llt'; readonly mac: Mac; readonly time: number }
  | { readonly kind: 'll'; readonly mac: Mac }
  /** By vendor. */
  | { readonly kind: 'en'; readonly enterprise: number; readonly identifier: Uint8Array }
  | { readonly kind: 'uuid'; readonly uuid: Uint8Array }
  | { readonly kind: 'other' };

const types = { llt: 1, en: 2, ll: 3, uuid: 4 } as const;
const ETHERNET = 1;
const UUID = 16;
/** With its type. */
const MIN_LENGTH = 3;
const MAX_LENGTH = 130;

/** Null for octets that can be none; a kind we don't know is still an identifier. */
export function decodeDuid(octets: Uint8Array): Duid | null {
  if (octets.length < MIN_LENGTH || octets.length > MAX_LENGTH) return null;
  const from = new Reader(octets);
  const type = from.u16();
  if (type === types.en) return { kind: 'en', enterprise: from.u32(), identifier: from.take(from.left) };
  if (type === types.uuid && from.left === UUID) return { kind: 'uuid', uuid: from.take(UUID) };
  if (type !== types.llt && type !== types.ll) return { kind: 'other' };
  const ethernet = from.u16() === ETHERNET;
  const time = type === types.llt ? from.u32() : 0;
  const mac = from.take(MAC_LENGTH);
  if (!ethernet || from.failed || from.left > 0) return { kind: 'other' };
  return type === types.llt ? { kind: 'llt', mac: formatMac(mac), time } : { kind: 'll', mac: formatMac(mac) };
}

/** The identifier of a device that has nothing but its MAC address. */
export function duidOf(mac: Mac): Uint8Array {
  const into = new Writer();
  into.u16(types.ll);
  into.u16(ETHERNET);
  into.octets(parseMac(mac));
  return into.written;
}
