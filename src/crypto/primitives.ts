import type { AeadFactory } from './aead.ts';

export type KeyPair = { readonly privateKey: Uint8Array; readonly publicKey: Uint8Array };

/**
 * All cryptography and randomness that state machines use, injected so that they have none of their own: the real one
 * in daemons, a seeded and cheap one in simulations. Keys are raw octets (32 each unless said otherwise).
 */
export interface Primitives {
  random(length: number): Uint8Array;
  readonly aead: AeadFactory;
  sha256(data: Uint8Array): Uint8Array;
  /** HMAC-SHA-256 (RFC 2104). */
  hmac(key: Uint8Array, data: Uint8Array): Uint8Array;
  /** HKDF-SHA-256 (RFC 5869). */
  hkdf(key: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array;
  /** X25519 (RFC 7748); `x25519` returns null for a peer key that gives the all-zero result (section 6.1). */
  x25519Generate(): KeyPair;
  x25519(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array | null;
  /** Ed25519 (RFC 8032); signatures are 64 octets. */
  ed25519Generate(): KeyPair;
  ed25519Sign(privateKey: Uint8Array, data: Uint8Array): Uint8Array;
  ed25519Verify(publicKey: Uint8Array, data: Uint8Array, signature: Uint8Array): boolean;
}
