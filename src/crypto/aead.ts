import type { Suite } from '../proto/constants.ts';

/**
 * One key of one cipher suite, sealing and opening in place. Nonce: 8 zero octets and the sequence number
 * (protocol section 2.3); `cbc-md5` draws its IV itself. Implemented by `sys/evp` (fast) and `crypto/readable` (tests).
 *
 * Layout in `buffer`: additional data [aadStart, bodyStart), then `lead` octets, then the plain text; sealed, the body
 * is [bodyStart, end) with the tag last.
 */
export interface Aead {
  readonly suite: Suite;
  /** Octets between bodyStart and the plain text: 16 (IV) for cbc-md5, else 0. */
  readonly lead: number;
  /** Octets from bodyStart to the end of the tag for `plain` octets of plain text. */
  sealedSize(plain: number): number;
  /** Returns the end offset of the tag. The caller guarantees room and a sequence number never used before. */
  seal(buffer: Uint8Array, aadStart: number, bodyStart: number, plainLength: number, sequence: number): number;
  /** Checks the tag of [bodyStart, end) and opens in place; the plain length, or -1 if anything is wrong. */
  open(buffer: Uint8Array, aadStart: number, bodyStart: number, end: number, sequence: number): number;
  /** Frees contexts and zeroes the key; no call after this. */
  close(): void;
}

export type AeadFactory = (suite: Suite, key: Uint8Array) => Aead;
