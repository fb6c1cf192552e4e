/**
 * The slow twin of `sys/evp`: the cipher suites (protocol section 2.2) written to be read, on node:crypto, sharing no
 * code with the fast one. Tests compare the two; it also serves where nothing can be bound.
 */

import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { raise } from '../lib/errors.ts';
import { Suite } from '../proto/constants.ts';
import type { Aead, AeadFactory } from './aead.ts';

const TAG_LENGTH = 16;
const IV_LENGTH = 16;
const BLOCK_LENGTH = 16;

/** How one suite turns a plain text into a body and back; null = refused. */
type Box = {
  readonly lead: number;
  sealedSize(plain: number): number;
  seal(aad: Uint8Array, plain: Uint8Array, sequence: number): Uint8Array;
  open(aad: Uint8Array, body: Uint8Array, sequence: number): Uint8Array | null;
};

export const readableAead: AeadFactory = (suite, rawKey) => {
  if (rawKey.length !== 32) raise('BUG_ARGUMENT', { what: `a key of ${rawKey.length} octets` });
  const key = new Uint8Array(rawKey);
  const box = suite === Suite.cbcMd5 ? cbcMd5(key) : tagged(suite, key);
  return {
    suite,
    lead: box.lead,
    sealedSize: box.sealedSize,
    seal(buffer, aadStart, bodyStart, plainLength, sequence) {
      const plainStart = bodyStart + box.lead;
      const plain = buffer.subarray(plainStart, plainStart + plainLength);
      buffer.set(box.seal(buffer.subarray(aadStart, bodyStart), plain, sequence), bodyStart);
      return bodyStart + box.sealedSize(plainLength);
    },
    open(buffer, aadStart, bodyStart, end, sequence) {
      const plain = box.open(buffer.subarray(aadStart, bodyStart), buffer.subarray(bodyStart, end), sequence);
      if (plain === null) return -1;
      buffer.set(plain, bodyStart + box.lead);
      return plain.length;
    },
    close: () => void key.fill(0),
  } satisfies Aead;
};

function tagged(suite: typeof Suite.aes256Gcm | typeof Suite.chacha20Poly1305, key: Uint8Array): Box {
  const name = suite === Suite.aes256Gcm ? 'aes-256-gcm' : 'chacha20-poly1305';
  const options = { authTagLength: TAG_LENGTH };
  // One literal type for both names: their signatures are the same.
  const algorithm = name as 'chacha20-poly1305';
  return {
    lead: 0,
    sealedSize: (plain) => plain + TAG_LENGTH,
    seal(aad, plain, sequence) {
      const cipher = createCipheriv(algorithm, key, nonceOf(sequence), options);
      cipher.setAAD(aad, { plaintextLength: plain.length });
      return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    },
    open(aad, body, sequence) {
      const end = body.length - TAG_LENGTH;
      if (end < 0) return null;
      const decipher = createDecipheriv(algorithm, key, nonceOf(sequence), options);
      decipher.setAAD(aad, { plaintextLength: end });
      decipher.setAuthTag(body.subarray(end));
      return finish(() => Buffer.concat([decipher.update(body.subarray(0, end)), decipher.final()]));
    },
  };
}

function cbcMd5(key: Uint8Array): Box {
  const cipherKey = new Uint8Array(hkdfSync('sha256', key, '', 'cyphonic cbc-md5 cipher', 32));
  const macKey = new Uint8Array(hkdfSync('sha256', key, '', 'cyphonic cbc-md5 mac', 32));
  const macOf = (...parts: Uint8Array[]) => createHmac('md5', macKey).update(Buffer.concat(parts)).digest();
  return {
    lead: IV_LENGTH,
    sealedSize: (plain) => IV_LENGTH + BLOCK_LENGTH * (Math.floor(plain / BLOCK_LENGTH) + 1) + TAG_LENGTH,
    seal(aad, plain) {
      const iv = randomBytes(IV_LENGTH);
      const cipher = createCipheriv('aes-256-cbc', cipherKey, iv);
      const text = Buffer.concat([cipher.update(plain), cipher.final()]);
      return Buffer.concat([iv, text, macOf(aad, iv, text)]);
    },
    open(aad, body) {
      const end = body.length - TAG_LENGTH;
      if (end < IV_LENGTH + BLOCK_LENGTH || end % BLOCK_LENGTH !== 0) return null;
      // Checked before decryption, so that padding is never looked at in what an attacker wrote.
      if (!timingSafeEqual(macOf(aad, body.subarray(0, end)), body.subarray(end))) return null;
      const decipher = createDecipheriv('aes-256-cbc', cipherKey, body.subarray(0, IV_LENGTH));
      return finish(() => Buffer.concat([decipher.update(body.subarray(IV_LENGTH, end)), decipher.final()]));
    },
  };
}

/** AEAD nonce (section 2.3): 8 zero octets and the sequence number. */
function nonceOf(sequence: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(sequence, 8);
  return nonce;
}

/** node:crypto reports a wrong tag or padding by throwing. */
function finish(decrypt: () => Buffer): Buffer | null {
  try {
    return decrypt();
  } catch {
    return null;
  }
}
