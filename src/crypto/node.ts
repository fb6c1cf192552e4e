import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hash,
  hkdfSync,
  type KeyObject,
  randomFillSync,
  sign,
  verify,
} from 'node:crypto';
import type { AeadFactory } from './aead.ts';
import type { KeyPair, Primitives } from './primitives.ts';

type Curve = 'x25519' | 'ed25519';

/** Random octets are drawn ahead: a draw costs the same for 16 octets as for thousands. */
const POOL_LENGTH = 4096;

/**
 * Importing a raw private key costs as much as using it, so the imported form stays with the array for as long as
 * the array lives. Private keys are therefore never changed in place, but for being wiped when they are done with.
 */
const imported = new WeakMap<Uint8Array, KeyObject>();

function privateKeyOf(curve: Curve, raw: Uint8Array): KeyObject {
  let key = imported.get(raw);
  if (key?.asymmetricKeyType !== curve) {
    key = createPrivateKey({ key: Buffer.from(raw), format: 'raw-private', asymmetricKeyType: curve });
    imported.set(raw, key);
  }
  return key;
}

/** Null if the octets are no public key of this curve. */
function publicKeyOf(curve: Curve, raw: Uint8Array): KeyObject | null {
  try {
    return createPublicKey({ key: Buffer.from(raw), format: 'raw-public', asymmetricKeyType: curve });
  } catch {
    return null;
  }
}

function generate(curve: Curve): KeyPair {
  const { privateKey, publicKey } = curve === 'x25519' ? generateKeyPairSync('x25519') : generateKeyPairSync('ed25519');
  const raw = new Uint8Array(privateKey.export({ format: 'raw-private' }));
  imported.set(raw, privateKey);
  return { privateKey: raw, publicKey: new Uint8Array(publicKey.export({ format: 'raw-public' })) };
}

const nodeHkdf: Primitives['hkdf'] = (key, salt, info, length) =>
  new Uint8Array(hkdfSync('sha256', key, salt, info, length));

/** The primitives on node:crypto, but for what there is something faster for. */
export function nodePrimitives(aead: AeadFactory, hkdf = nodeHkdf): Primitives {
  const pool = new Uint8Array(POOL_LENGTH);
  let used = POOL_LENGTH;
  return {
    aead,
    random(length) {
      if (length > POOL_LENGTH) return randomFillSync(new Uint8Array(length));
      if (used + length > POOL_LENGTH) {
        randomFillSync(pool);
        used = 0;
      }
      const octets = pool.slice(used, used + length);
      pool.fill(0, used, used + length);
      used += length;
      return octets;
    },
    sha256: (data) => new Uint8Array(hash('sha256', data, 'buffer')),
    hmac: (key, data) => new Uint8Array(createHmac('sha256', key).update(data).digest()),
    hkdf,
    x25519Generate: () => generate('x25519'),
    x25519(privateKey, publicKey) {
      const own = privateKeyOf('x25519', privateKey);
      const peer = publicKeyOf('x25519', publicKey);
      if (peer === null) return null;
      try {
        return new Uint8Array(diffieHellman({ privateKey: own, publicKey: peer }));
      } catch {
        // OpenSSL refuses the all-zero result itself (RFC 7748 section 6.1).
        return null;
      }
    },
    ed25519Generate: () => generate('ed25519'),
    ed25519Sign: (privateKey, data) => new Uint8Array(sign(null, data, privateKeyOf('ed25519', privateKey))),
    ed25519Verify(publicKey, data, signature) {
      const key = publicKeyOf('ed25519', publicKey);
      return key !== null && verify(null, data, key, signature);
    },
  };
}
