/** EAP over LAN (IEEE 802.1X-2010 clause 11): the PDU behind EtherType 0x888e. */

import { Reader, Writer } from '../lib/bytes.ts';
import type { LinkDropReason } from './link-drop.ts';

const types = { packet: 0, start: 1, logoff: 2, key: 3 } as const;
export type EapolType = keyof typeof types;

/**
 * What we send. Version 3 (802.1X-2010) adds only MACsec, which we don't speak, and old supplicants refuse a version
 * they don't know; received ones are read whatever their version (clause 11.4).
 */
const VERSION = 2;

export type Eapol = { readonly type: EapolType; readonly body: Uint8Array };

/** What follows the body is padding. */
export function decodeEapol(payload: Uint8Array): Eapol | LinkDropReason {
  const from = new Reader(payload);
  const version = from.u8();
  const code = from.u8();
  const body = from.take(from.u16());
  if (from.failed || version === 0) return 'eapol-malformed';
  const type = (Object.keys(types) as EapolType[]).find((name) => types[name] === code);
  return type === undefined ? 'eapol-type' : { type, body };
}

export function encodeEapol(type: EapolType, body: Uint8Array = new Uint8Array(0)): Uint8Array {
  const into = new Writer();
  into.u8(VERSION);
  into.u8(types[type]);
  into.u16(body.length);
  into.octets(body);
  return into.written;
}
