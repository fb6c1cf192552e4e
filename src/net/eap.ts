/** EAP packets (RFC 3748 section 4). */

import { Reader, Writer } from '../lib/bytes.ts';
import type { LinkDropReason } from './link-drop.ts';

const codes = { request: 1, response: 2, success: 3, failure: 4 } as const;
const HEADER = 4;

/** Method types (RFC 3748 section 5, RFC 5216, RFC 5281). */
export const eapType = { identity: 1, nak: 3, tls: 13, ttls: 21 } as const;

export type Eap =
  | { readonly code: 'request' | 'response'; readonly id: number; readonly type: number; readonly data: Uint8Array }
  | { readonly code: 'success' | 'failure'; readonly id: number };

/** What follows the packet's own length is padding (section 4.1). */
export function decodeEap(octets: Uint8Array): Eap | LinkDropReason {
  const from = new Reader(octets);
  const code = from.u8();
  const id = from.u8();
  const length = from.u16();
  const rest = new Reader(from.take(length - HEADER));
  if (from.failed) return 'eap-malformed';
  if (code === codes.success || code === codes.failure) {
    return rest.left > 0 ? 'eap-malformed' : { code: code === codes.success ? 'success' : 'failure', id };
  }
  if (code !== codes.request && code !== codes.response) return 'eap-malformed';
  const type = rest.u8();
  if (rest.failed) return 'eap-malformed';
  return { code: code === codes.request ? 'request' : 'response', id, type, data: rest.take(rest.left) };
}

export function encodeEap(eap: Eap): Uint8Array {
  const into = new Writer();
  into.u8(codes[eap.code]);
  into.u8(eap.id);
  if (!('type' in eap)) {
    into.u16(HEADER);
    return into.written;
  }
  into.u16(HEADER + 1 + eap.data.length);
  into.u8(eap.type);
  into.octets(eap.data);
  return into.written;
}
