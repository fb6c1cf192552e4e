/**
 * What a device keeps on its disk beside its identity: sealed under a key of that identity, so that a copy of the file
 * alone says nothing, and bound to something that changes from time to time, so that an old copy does not pass for long.
 *
 *   version 8, salt 128, SHA-256 of what it is bound to 256, AES-256-GCM of the content under
 *   HKDF-SHA-256(key = X25519 private key, salt, info = "cyphonic vault", 32 octets), Sequence Number 1
 */

import { concat } from '../lib/bytes.ts';
import { Suite } from '../proto/constants.ts';
import type { Aead } from './aead.ts';
import type { Identity } from './identity.ts';
import type { Primitives } from './primitives.ts';

const VERSION = 1;
const SALT_LENGTH = 16;
const HEAD_LENGTH = 1 + SALT_LENGTH + 32;
/** The only one under its key, as each sealing has a salt of its own. */
const SEQUENCE = 1;
const info = Buffer.from('cyphonic vault');

export function sealVault(
  primitives: Primitives,
  identity: Identity,
  boundTo: Uint8Array,
  content: Uint8Array,
): Uint8Array {
  const salt = primitives.random(SALT_LENGTH);
  const head = concat(Uint8Array.of(VERSION), salt, primitives.sha256(boundTo));
  const aead = keyOf(primitives, identity, salt);
  const sealed = new Uint8Array(head.length + aead.sealedSize(content.length));
  sealed.set(head);
  sealed.set(content, head.length + aead.lead);
  aead.seal(sealed, 0, head.length, content.length, SEQUENCE);
  aead.close();
  return sealed;
}

/** Null if it was damaged, is another device's, or was bound to something else. */
export function openVault(
  primitives: Primitives,
  identity: Identity,
  boundTo: Uint8Array,
  sealed: Uint8Array,
): Uint8Array | null {
  if (sealed.length < HEAD_LENGTH || sealed[0] !== VERSION) return null;
  const salt = sealed.subarray(1, 1 + SALT_LENGTH);
  const bound = sealed.subarray(1 + SALT_LENGTH, HEAD_LENGTH);
  if (Buffer.compare(bound, primitives.sha256(boundTo)) !== 0) return null;
  const aead = keyOf(primitives, identity, salt);
  const opened = new Uint8Array(sealed);
  const length = aead.open(opened, 0, HEAD_LENGTH, opened.length, SEQUENCE);
  const start = HEAD_LENGTH + aead.lead;
  aead.close();
  return length < 0 ? null : opened.slice(start, start + length);
}

function keyOf(primitives: Primitives, { handshake }: Identity, salt: Uint8Array): Aead {
  return primitives.aead(Suite.aes256Gcm, primitives.hkdf(handshake.privateKey, salt, info, 32));
}
