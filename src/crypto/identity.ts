/**
 * What a device is: an Ed25519 pair for login and an X25519 pair for handshakes, made at enrolment on the device and
 * never leaving it (protocol section 2.1).
 */

import { concat, Reader, Writer } from '../lib/bytes.ts';
import type { KeyPair, Primitives } from './primitives.ts';

export type Identity = { readonly sign: KeyPair; readonly handshake: KeyPair };

export type PublicIdentity = { readonly signKey: Uint8Array; readonly handshakeKey: Uint8Array };

const VERSION = 1;
const KEY_LENGTH = 32;
const proofLabel = Buffer.from('cyphonic login v1\0');
const controllerLabel = Buffer.from('cyphonic controller v1\0');

export function generateIdentity(primitives: Primitives): Identity {
  return { sign: primitives.ed25519Generate(), handshake: primitives.x25519Generate() };
}

export function publicIdentity(identity: Identity): PublicIdentity {
  return { signKey: identity.sign.publicKey, handshakeKey: identity.handshake.publicKey };
}

/** For the state directory: version, then both pairs, private key first. */
export function encodeIdentity(identity: Identity): Uint8Array {
  const to = new Writer();
  to.u8(VERSION);
  for (const pair of [identity.sign, identity.handshake]) {
    to.octets(pair.privateKey);
    to.octets(pair.publicKey);
  }
  return to.written.slice();
}

/** Null if the octets are no identity, or damaged so that a pair's halves no longer belong together. */
export function decodeIdentity(primitives: Primitives, octets: Uint8Array): Identity | null {
  const from = new Reader(octets);
  const version = from.u8();
  const pair = (): KeyPair => ({
    privateKey: from.take(KEY_LENGTH).slice(),
    publicKey: from.take(KEY_LENGTH).slice(),
  });
  const identity = { sign: pair(), handshake: pair() };
  if (from.failed || from.left > 0 || version !== VERSION) return null;
  const { sign, handshake } = identity;
  const signature = primitives.ed25519Sign(sign.privateKey, proofLabel);
  if (!primitives.ed25519Verify(sign.publicKey, proofLabel, signature)) return null;
  const other = primitives.x25519Generate();
  const here = primitives.x25519(handshake.privateKey, other.publicKey);
  const there = primitives.x25519(other.privateKey, handshake.publicKey);
  return here !== null && there !== null && Buffer.compare(here, there) === 0 ? identity : null;
}

/**
 * Signature that proves possession of the login key on one TLS connection (its exporter value, RFC 8446 section 7.5)
 * and vouches for both public keys.
 */
export function signLogin(primitives: Primitives, identity: Identity, exporter: Uint8Array): Uint8Array {
  return primitives.ed25519Sign(identity.sign.privateKey, loginText(publicIdentity(identity), exporter));
}

export function verifyLogin(
  primitives: Primitives,
  keys: PublicIdentity,
  exporter: Uint8Array,
  signature: Uint8Array,
): boolean {
  return primitives.ed25519Verify(keys.signKey, loginText(keys, exporter), signature);
}

/** Signature by which an adapter proves itself to the controller, on one TLS connection only. */
export function signController(primitives: Primitives, { sign }: Identity, exporter: Uint8Array): Uint8Array {
  return primitives.ed25519Sign(sign.privateKey, concat(controllerLabel, sign.publicKey, exporter));
}

export function verifyController(
  primitives: Primitives,
  signKey: Uint8Array,
  exporter: Uint8Array,
  signature: Uint8Array,
): boolean {
  return primitives.ed25519Verify(signKey, concat(controllerLabel, signKey, exporter), signature);
}

function loginText(keys: PublicIdentity, exporter: Uint8Array): Uint8Array {
  return concat(proofLabel, keys.signKey, keys.handshakeKey, exporter);
}
