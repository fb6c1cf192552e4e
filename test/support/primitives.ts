/**
 * Cheap deterministic primitives for machines under test and for simulations: seeded randomness, an AEAD that is no
 * secret but detects any change, key pairs that only their makers can use. One `World` is shared by all parties, whose
 * primitives come from `primitives(name)`; it records every (key, nonce) pair that sealed something.
 */

import { hash } from 'node:crypto';
import type { Aead } from '../../src/crypto/aead.ts';
import type { KeyPair, Primitives } from '../../src/crypto/primitives.ts';
import { Suite } from '../../src/proto/constants.ts';

const TAG = 16;

export class World {
  readonly #seed: string;
  readonly #sealed = new Map<string, Set<number>>();
  /** By public key in hex: what only the maker of a pair knows. */
  readonly #privateKeys = new Map<string, Uint8Array>();
  /** Every time a key sealed two packets with one nonce. */
  readonly reused: { readonly key: string; readonly sequence: number }[] = [];

  constructor(seed: number | string = 1) {
    this.#seed = String(seed);
  }

  /** How many packets were sealed. */
  get sealed(): number {
    return [...this.#sealed.values()].reduce((sum, numbers) => sum + numbers.size, 0);
  }

  primitives(name = ''): Primitives {
    const random = randomSource(`${this.#seed} ${name}`);
    const generate = (): KeyPair => {
      const privateKey = random(32);
      const publicKey = sha256(privateKey);
      this.#privateKeys.set(publicKey.toHex(), privateKey);
      return { privateKey, publicKey };
    };
    return {
      random,
      aead: (suite, key) => this.#aead(suite, key),
      sha256,
      hmac,
      hkdf: (key, salt, info, length) => expand(hmac(salt, key), info, length),
      x25519Generate: generate,
      x25519: (privateKey, publicKey) => {
        const other = this.#privateKeys.get(publicKey.toHex());
        if (other === undefined) return null;
        return sha256(Buffer.concat([privateKey, other].sort(Buffer.compare)));
      },
      ed25519Generate: generate,
      ed25519Sign: (privateKey, data) => expand(privateKey, data, 64),
      ed25519Verify: (publicKey, data, signature) => {
        const privateKey = this.#privateKeys.get(publicKey.toHex());
        return privateKey !== undefined && Buffer.compare(expand(privateKey, data, 64), signature) === 0;
      },
    };
  }

  #aead(suite: Suite, key: Uint8Array): Aead {
    const name = `${suite} ${key.toHex()}`;
    const numbers = this.#sealed.get(name) ?? new Set<number>();
    this.#sealed.set(name, numbers);
    const start = mix(0x811c9dc5, key, 0, key.length) ^ suite;
    let closed = false;
    return {
      suite,
      lead: 0,
      sealedSize: (plain) => plain + TAG,
      seal: (buffer, aadStart, bodyStart, plainLength, sequence) => {
        if (closed) throw new RangeError('seal after close');
        // cbc-md5 draws its IV itself.
        if (numbers.has(sequence) && suite !== Suite.cbcMd5) this.reused.push({ key: name, sequence });
        numbers.add(sequence);
        const end = bodyStart + plainLength;
        scramble(buffer, bodyStart, end, start, sequence);
        writeTag(buffer, aadStart, end, start, sequence, buffer.subarray(end, end + TAG));
        return end + TAG;
      },
      open: (buffer, aadStart, bodyStart, end, sequence) => {
        if (closed) throw new RangeError('open after close');
        const plainLength = end - TAG - bodyStart;
        if (plainLength < 0) return -1;
        const expected = new Uint8Array(TAG);
        writeTag(buffer, aadStart, end - TAG, start, sequence, expected);
        if (Buffer.compare(expected, buffer.subarray(end - TAG, end)) !== 0) return -1;
        scramble(buffer, bodyStart, end - TAG, start, sequence);
        return plainLength;
      },
      close: () => {
        closed = true;
      },
    };
  }
}

function sha256(data: Uint8Array): Uint8Array {
  return new Uint8Array(hash('sha256', data, 'buffer'));
}

/** A keyed hash at a fraction of the price of a real HMAC object. */
function hmac(key: Uint8Array, data: Uint8Array): Uint8Array {
  return sha256(Buffer.concat([Uint8Array.of(key.length), key, data]));
}

function expand(key: Uint8Array, info: Uint8Array, length: number): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (let i = 1; 32 * blocks.length < length; i++) blocks.push(hmac(key, Buffer.concat([info, Uint8Array.of(i)])));
  return new Uint8Array(Buffer.concat(blocks).subarray(0, length));
}

/** xoshiro128** from a seed text. */
function randomSource(seed: string): (length: number) => Uint8Array {
  const state = new Uint32Array(sha256(Buffer.from(seed)).slice(0, 16).buffer);
  const rotate = (x: number, k: number): number => (x << k) | (x >>> (32 - k));
  const next = (): number => {
    let [a, b, c, d] = state as unknown as [number, number, number, number];
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9);
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    state.set([a, b, c ^ t, rotate(d, 11)]);
    return result;
  };
  return (length) => {
    const octets = new Uint8Array(length);
    for (let i = 0; i < length; i += 4) {
      const word = next();
      for (let j = 0; j < 4 && i + j < length; j++) octets[i + j] = word >>> (8 * j);
    }
    return octets;
  };
}

/** FNV-1a over [from, to), continued from `state`. */
function mix(state: number, octets: Uint8Array, from: number, to: number): number {
  let h = state;
  for (let i = from; i < to; i++) h = Math.imul(h ^ octets[i]!, 0x01000193);
  return h;
}

function scramble(buffer: Uint8Array, from: number, to: number, start: number, sequence: number): void {
  let stream = start ^ Math.imul(sequence, 0x9e3779b1);
  for (let i = from; i < to; i++) {
    stream = Math.imul(stream ^ (stream >>> 15), 0x2c1b3c6d) + 1;
    buffer[i]! ^= stream >>> 24;
  }
}

function writeTag(
  buffer: Uint8Array,
  from: number,
  to: number,
  start: number,
  sequence: number,
  out: Uint8Array,
): void {
  for (let word = 0; word < TAG / 4; word++) {
    const h = mix(start ^ Math.imul(sequence + word + 1, 0x85ebca6b), buffer, from, to);
    for (let j = 0; j < 4; j++) out[4 * word + j] = (h ^ (h >>> 13)) >>> (8 * j);
  }
}
