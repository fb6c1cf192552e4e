/**
 * Noise_IKpsk2_25519_{AESGCM,ChaChaPoly}_SHA256 (Noise Protocol Framework, revision 34):
 *
 *   <- s                             the responder's static key is known beforehand
 *   → e, es, s, ss                   first message
 *   ← e, ee, se, psk                 second message
 *
 * Names (h, ck, k) and order follow section 5. In this pattern every cipher key encrypts exactly once in the handshake,
 * so the nonce is always 0, where the nonce encodings of both ciphers (section 12) and of our suites agree.
 *
 * Whatever the other side sends, nothing throws: null means that the message is refused. Refusing leaves a handshake
 * usable, so that a forged answer can't end it.
 */

import { concat } from '../lib/bytes.ts';
import { Suite } from '../proto/constants.ts';
import type { KeyPair, Primitives } from './primitives.ts';

export type NoiseSuite = typeof Suite.aes256Gcm | typeof Suite.chacha20Poly1305;

export type NoiseParameters = {
  readonly suite: NoiseSuite;
  readonly prologue: Uint8Array;
  readonly psk: Uint8Array;
  /** Our static pair. */
  readonly own: KeyPair;
};

/** Transport keys, and the hash that names this very handshake. */
export type NoiseResult = {
  readonly send: Uint8Array;
  readonly receive: Uint8Array;
  readonly handshakeHash: Uint8Array;
};

export type NoiseInitiation = {
  readonly message: Uint8Array;
  /** Reads the second message. May be called again if it returned null. */
  finish(answer: Uint8Array): (NoiseResult & { readonly payload: Uint8Array }) | null;
};

export type NoiseRequest = {
  readonly payload: Uint8Array;
  /** The initiator's static key, of which it has proven possession. */
  readonly remote: Uint8Array;
  /** Writes the second message. `ephemeral` is given by tests only. */
  answer(payload: Uint8Array, ephemeral?: KeyPair): (NoiseResult & { readonly message: Uint8Array }) | null;
};

const KEY_LENGTH = 32;
const TAG_LENGTH = 16;
const NONCE = 0;
const empty = new Uint8Array(0);

const protocolNames = {
  [Suite.aes256Gcm]: 'Noise_IKpsk2_25519_AESGCM_SHA256',
  [Suite.chacha20Poly1305]: 'Noise_IKpsk2_25519_ChaChaPoly_SHA256',
} as const;

/** Writes the first message to the holder of the static key `remote`. Null if that key is degenerate. */
export function initiateNoise(
  primitives: Primitives,
  parameters: NoiseParameters,
  remote: Uint8Array,
  payload: Uint8Array,
  ephemeral = primitives.x25519Generate(),
): NoiseInitiation | null {
  const { own, psk } = parameters;
  const state = SymmetricState.start(primitives, parameters, remote);
  const es = primitives.x25519(ephemeral.privateKey, remote);
  const ss = primitives.x25519(own.privateKey, remote);
  if (es === null || ss === null) return null;
  state.mixEphemeral(ephemeral.publicKey);
  state.mixKey(es);
  const sealedStatic = state.encryptAndHash(own.publicKey);
  state.mixKey(ss);
  const message = concat(ephemeral.publicKey, sealedStatic, state.encryptAndHash(payload));
  return {
    message,
    finish(answer) {
      const remoteEphemeral = answer.subarray(0, KEY_LENGTH);
      if (remoteEphemeral.length < KEY_LENGTH) return null;
      const ee = primitives.x25519(ephemeral.privateKey, remoteEphemeral);
      const se = primitives.x25519(own.privateKey, remoteEphemeral);
      if (ee === null || se === null) return null;
      const next = state.clone();
      next.mixEphemeral(remoteEphemeral);
      next.mixKey(ee);
      next.mixKey(se);
      next.mixKeyAndHash(psk);
      const opened = next.decryptAndHash(answer.subarray(KEY_LENGTH));
      if (opened === null) return null;
      const [send, receive] = next.split();
      return { payload: opened, send, receive, handshakeHash: next.h };
    },
  };
}

/** Reads a first message; null if it is none for us. */
export function receiveNoise(
  primitives: Primitives,
  parameters: NoiseParameters,
  message: Uint8Array,
): NoiseRequest | null {
  const { own, psk } = parameters;
  const staticEnd = 2 * KEY_LENGTH + TAG_LENGTH;
  if (message.length < staticEnd + TAG_LENGTH) return null;
  const state = SymmetricState.start(primitives, parameters, own.publicKey);
  const remoteEphemeral = new Uint8Array(message.subarray(0, KEY_LENGTH));
  const es = primitives.x25519(own.privateKey, remoteEphemeral);
  if (es === null) return null;
  state.mixEphemeral(remoteEphemeral);
  state.mixKey(es);
  const remote = state.decryptAndHash(message.subarray(KEY_LENGTH, staticEnd));
  if (remote === null) return null;
  const ss = primitives.x25519(own.privateKey, remote);
  if (ss === null) return null;
  state.mixKey(ss);
  const payload = state.decryptAndHash(message.subarray(staticEnd));
  if (payload === null) return null;
  return {
    payload,
    remote,
    answer(answerPayload, ephemeral = primitives.x25519Generate()) {
      const ee = primitives.x25519(ephemeral.privateKey, remoteEphemeral);
      const se = primitives.x25519(ephemeral.privateKey, remote);
      if (ee === null || se === null) return null;
      const next = state.clone();
      next.mixEphemeral(ephemeral.publicKey);
      next.mixKey(ee);
      next.mixKey(se);
      next.mixKeyAndHash(psk);
      const answer = concat(ephemeral.publicKey, next.encryptAndHash(answerPayload));
      const [receive, send] = next.split();
      return { message: answer, send, receive, handshakeHash: next.h };
    },
  };
}

/** The SymmetricState object of section 5.2, with the CipherState of section 5.1 reduced to its key. */
class SymmetricState {
  readonly #primitives: Primitives;
  readonly #suite: NoiseSuite;
  h: Uint8Array;
  #ck: Uint8Array;
  #k: Uint8Array = empty;

  private constructor(primitives: Primitives, suite: NoiseSuite, h: Uint8Array, ck: Uint8Array) {
    this.#primitives = primitives;
    this.#suite = suite;
    this.h = h;
    this.#ck = ck;
  }

  /** InitializeSymmetric, then prologue and pre-message: the state before the first message. */
  static start(primitives: Primitives, parameters: NoiseParameters, responderKey: Uint8Array): SymmetricState {
    // Section 5.2: both protocol names fit HASHLEN, or are hashed.
    const name = Buffer.from(protocolNames[parameters.suite]);
    const h =
      name.length > KEY_LENGTH ? primitives.sha256(name) : concat(name, new Uint8Array(KEY_LENGTH - name.length));
    const state = new SymmetricState(primitives, parameters.suite, h, h);
    state.mixHash(parameters.prologue);
    state.mixHash(responderKey);
    return state;
  }

  clone(): SymmetricState {
    const copy = new SymmetricState(this.#primitives, this.#suite, this.h, this.#ck);
    copy.#k = this.#k;
    return copy;
  }

  mixHash(data: Uint8Array): void {
    this.h = this.#primitives.sha256(concat(this.h, data));
  }

  mixKey(secret: Uint8Array): void {
    [this.#ck, this.#k] = this.#derive(secret, 2) as [Uint8Array, Uint8Array];
  }

  mixKeyAndHash(secret: Uint8Array): void {
    const [ck, hash, k] = this.#derive(secret, 3) as [Uint8Array, Uint8Array, Uint8Array];
    this.#ck = ck;
    this.mixHash(hash);
    this.#k = k;
  }

  /** Token "e" in a pattern with a psk (section 9.2): the ephemeral key is mixed into the keys too. */
  mixEphemeral(publicKey: Uint8Array): void {
    this.mixHash(publicKey);
    this.mixKey(publicKey);
  }

  encryptAndHash(plain: Uint8Array): Uint8Array {
    const buffer = concat(this.h, plain, new Uint8Array(TAG_LENGTH));
    this.#withKey((aead) => aead.seal(buffer, 0, this.h.length, plain.length, NONCE));
    const sealed = buffer.subarray(this.h.length);
    this.mixHash(sealed);
    return sealed;
  }

  decryptAndHash(sealed: Uint8Array): Uint8Array | null {
    const buffer = concat(this.h, sealed);
    const length = this.#withKey((aead) => aead.open(buffer, 0, this.h.length, buffer.length, NONCE));
    if (length < 0) return null;
    const plain = buffer.subarray(this.h.length, this.h.length + length);
    this.mixHash(sealed);
    return plain;
  }

  /** The initiator's sending key, then the responder's. */
  split(): [Uint8Array, Uint8Array] {
    return this.#derive(empty, 2) as [Uint8Array, Uint8Array];
  }

  /** HKDF of section 4.3: that of RFC 5869 with ck as salt and no info. */
  #derive(secret: Uint8Array, outputs: 2 | 3): Uint8Array[] {
    const octets = this.#primitives.hkdf(secret, this.#ck, empty, outputs * KEY_LENGTH);
    return Array.from({ length: outputs }, (_, i) => octets.slice(i * KEY_LENGTH, (i + 1) * KEY_LENGTH));
  }

  #withKey(use: (aead: ReturnType<Primitives['aead']>) => number): number {
    const aead = this.#primitives.aead(this.#suite, this.#k);
    try {
      return use(aead);
    } finally {
      aead.close();
    }
  }
}
