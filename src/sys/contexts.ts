/**
 * OpenSSL's contexts: a kibibyte for each key, which ten thousand paths cannot all have, let alone in a cache. A thread has
 * a bounded number of them and lends them to the keys in use; a key without one takes that of another, long unused, and
 * sets it up for itself: what it then reads are its own octets, not a context that has been out of every cache.
 */

import { type Init, must, type OpenSsl, openSsl, type SuiteNumber } from './openssl.ts';

export const KEY_LENGTH = 32;
export const CBC_MD5 = 1;

/** Keys of one suite and direction that are set up at once. */
export const MOST_CONTEXTS = 256;
const NOBODY = -1;

export class Context {
  /** Where the key is that it is set up for. */
  key = NOBODY;
  /** Whether it was used since it was last considered. */
  used = false;
  /**
   * OpenSSL's, and for cbc-md5 the MAC's. They lie above 2^31, where a number is an object: beginning as null, the fields
   * refer to it instead of making a new one at every use. Null again only once it is freed, and nobody's.
   */
  cipher: number | null = null;
  mac: number | null = null;
}

/** What a key has that never had a context. */
export const noContext = new Context();

/** The contexts of one suite and direction. */
export class Contexts {
  readonly #openSsl: OpenSsl;
  readonly #suite: SuiteNumber;
  readonly #init: Init;
  readonly #most: number;
  readonly #all: Context[] = [];
  #hand = 0;

  constructor(suite: SuiteNumber, direction: 'encryptInit' | 'decryptInit', most = MOST_CONTEXTS) {
    this.#openSsl = openSsl();
    this.#suite = suite;
    this.#init = this.#openSsl[direction];
    this.#most = most;
  }

  /** A context set up for the key at `key`, until it is needed for another one. */
  lend(key: number): Context {
    const context = this.#all.length < this.#most ? this.#add() : this.#unused();
    this.#setUp(context, key);
    return context;
  }

  #setUp(context: Context, key: number): void {
    // Nobody's, should it fail.
    context.key = NOBODY;
    must(this.#init(context.cipher!, 0, 0, key, 0), 'EVP_CipherInit_ex');
    if (context.mac !== null) {
      must(this.#openSsl.macInit(context.mac, key + KEY_LENGTH, KEY_LENGTH, 0), 'EVP_MAC_init');
    }
    context.key = key;
  }

  /** Zeroes and frees what was set up for a key. */
  discard(key: number): void {
    const at = this.#all.findIndex((context) => context.key === key);
    const [context] = at < 0 ? [] : this.#all.splice(at, 1);
    if (context !== undefined) this.#free(context);
  }

  /** Overwrites what was set up for any key, which costs half of freeing it and making it again. */
  blank(): void {
    const { noKey } = this.#openSsl;
    for (const context of this.#all) if (context.key !== noKey) this.#setUp(context, noKey);
  }

  #free(context: Context): void {
    this.#openSsl.freeContext(context.cipher ?? 0);
    this.#openSsl.freeMac(context.mac ?? 0);
    context.cipher = context.mac = null;
    context.key = NOBODY;
  }

  #add(): Context {
    const { newContext, newMac, setMacParameters, ciphers, hmac, macParameters } = this.#openSsl;
    const context = new Context();
    context.cipher = newContext();
    must(this.#init(context.cipher, ciphers[this.#suite], 0, 0, 0), 'EVP_CipherInit_ex');
    if (this.#suite === CBC_MD5) {
      context.mac = newMac(hmac);
      must(setMacParameters(context.mac, macParameters), 'EVP_MAC_CTX_set_params');
    }
    this.#all.push(context);
    return context;
  }

  /**
   * The next one in the round that was not used since the last (the clock algorithm). Being lent is not being used: keys
   * that come once don't drive out those that come again.
   */
  #unused(): Context {
    for (;;) {
      this.#hand = (this.#hand + 1) % this.#all.length;
      const context = this.#all[this.#hand]!;
      if (!context.used) return context;
      context.used = false;
    }
  }
}
