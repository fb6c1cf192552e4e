/**
 * Enrolment tokens: everything a new device needs to find its network and to know that it is the right one, in one
 * line. `cyp1_` and base64url of {AS IPv4 32, AS IPv6 128, AS port 16, CA key 256, SHA-256 of the TLS root certificate
 * 256, three lengths 16, domain, DeviceID, one-time secret}.
 */

import { Reader, Writer } from '../lib/bytes.ts';
import type { Address } from '../lib/ip.ts';
import { type Fields, readFields, writeFields } from '../proto/fields.ts';

export type EnrolmentToken = {
  /** Where the AS listens; null = not on this family. */
  readonly as4: Address | null;
  readonly as6: Address | null;
  readonly port: number;
  /** The network's CA: Ed25519 public key. */
  readonly caKey: Uint8Array;
  readonly rootHash: Uint8Array;
  readonly domain: string;
  readonly deviceId: string;
  /** 16 octets; null = the device logs in with a password. */
  readonly secret: Uint8Array | null;
};

const PREFIX = 'cyp1_';
const SECRET_LENGTH = 16;

const fields = [
  ['as4', 'ip4'],
  ['as6', 'ip6'],
  ['port', 'u16'],
  ['caKey', 'octets32'],
  ['rootHash', 'octets32'],
  ['domain', 'len16'],
  ['deviceId', 'len16'],
  ['secret', 'len16'],
  ['domain', 'text'],
  ['deviceId', 'text'],
  ['secret', 'octets'],
] as const satisfies Fields;

export function encodeToken(token: EnrolmentToken): string {
  const to = new Writer();
  writeFields(fields, to, { ...token, secret: token.secret ?? new Uint8Array(0) });
  return PREFIX + Buffer.from(to.written).toString('base64url');
}

/** Null if the text is no token; surrounding white space is ignored. */
export function decodeToken(text: string): EnrolmentToken | null {
  const line = text.trim();
  const from = new Reader(Buffer.from(line.slice(PREFIX.length), 'base64url'));
  const token = readFields(fields, from) as Omit<EnrolmentToken, 'secret'> & { readonly secret: Uint8Array };
  const { as4, as6, port, domain, deviceId, secret } = token;
  const complete = (as4 ?? as6) !== null && port > 0 && domain !== '' && deviceId !== '';
  if (from.failed || from.left > 0 || !complete || ![0, SECRET_LENGTH].includes(secret.length)) return null;
  const decoded = { ...token, secret: secret.length === 0 ? null : secret };
  // Buffer skips what is not base64url: only the one spelling of a token counts.
  return encodeToken(decoded) === line ? decoded : null;
}
