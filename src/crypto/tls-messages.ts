/** As much of TLS handshake messages (RFC 5246 section 7.4, RFC 8446 section 4) as a proof made of them needs. */

import { Reader, sameOctets } from '../lib/bytes.ts';

export const HandshakeType = {
  clientHello: 1,
  serverHello: 2,
  encryptedExtensions: 8,
  certificate: 11,
  serverKeyExchange: 12,
  certificateRequest: 13,
  serverHelloDone: 14,
  certificateVerify: 15,
  clientKeyExchange: 16,
  finished: 20,
  certificateStatus: 22,
} as const;

const HEADER = 4;
const RANDOM = 32;

/** The cipher suites of TLS 1.3 (RFC 8446 appendix B.4). */
export const suites13: ReadonlyMap<
  number,
  { cipher: 'aes-128-gcm' | 'aes-256-gcm' | 'chacha20-poly1305'; keyLength: number; hash: 'sha256' | 'sha384' }
> = new Map([
  [0x1301, { cipher: 'aes-128-gcm', keyLength: 16, hash: 'sha256' }],
  [0x1302, { cipher: 'aes-256-gcm', keyLength: 32, hash: 'sha384' }],
  [0x1303, { cipher: 'chacha20-poly1305', keyLength: 32, hash: 'sha256' }],
] as const);
export type Suite13 = typeof suites13 extends ReadonlyMap<number, infer S> ? S : never;

/** RFC 8446 section 4.1.3: the random of a ServerHello that is a HelloRetryRequest. */
const retryRandom = Uint8Array.fromHex('cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c');

/** The first whole message; null if it isn't whole. */
export function firstMessage(octets: Uint8Array): Uint8Array | null {
  const from = new Reader(octets);
  from.u8();
  from.take(readU24(from));
  return from.failed ? null : octets.subarray(0, from.at);
}

export function messageBody(message: Uint8Array): Uint8Array {
  return message.subarray(HEADER);
}

export type ServerHello = { readonly retry: boolean; readonly suite: number };

/** Of a ServerHello message. */
export function readServerHello(message: Uint8Array): ServerHello | null {
  const from = new Reader(message, HEADER);
  from.u16();
  const retry = sameOctets(from.take(RANDOM), retryRandom);
  from.take(from.u8());
  const suite = from.u16();
  return from.failed ? null : { retry, suite };
}

/** The chain in a Certificate message, the end entity first; null for anything else. */
export function readChain(message: Uint8Array, tls13: boolean): Uint8Array[] | null {
  const from = new Reader(message, HEADER);
  // RFC 8446 section 4.4.2: a context in front, and extensions after each certificate.
  if (tls13) from.take(from.u8());
  const list = new Reader(from.take(readU24(from)));
  const chain: Uint8Array[] = [];
  while (list.left > 0) {
    chain.push(list.take(readU24(list)));
    if (tls13) list.take(list.u16());
  }
  return from.failed || list.failed || from.left > 0 ? null : chain;
}

/** Of a CertificateVerify message. */
export function readSignature(message: Uint8Array): { scheme: number; signature: Uint8Array } | null {
  const from = new Reader(message, HEADER);
  const scheme = from.u16();
  const signature = from.take(from.u16());
  return from.failed || from.left > 0 ? null : { scheme, signature };
}

function readU24(from: Reader): number {
  return (from.u8() << 16) | from.u16();
}
