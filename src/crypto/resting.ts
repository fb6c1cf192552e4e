/**
 * Keys by the ten thousand, of which few are in use at a time: signalling says something twice a minute. A key at rest is
 * its 32 octets, cut from one piece of memory for many, and not the kilobytes of a cipher's contexts; those of the keys
 * used last are kept. Whoever has a key closes it: nothing else frees its place.
 */

import { raise } from '../lib/errors.ts';
import type { Suite } from '../proto/constants.ts';
import type { Aead, AeadFactory } from './aead.ts';

const KEY_LENGTH = 32;
/** Keys cut from one piece. */
const AT_ONCE = 256;
const CLOSED = -1;

/** `awake`: so many contexts at most. */
export function restingAead(factory: AeadFactory, awake: number): AeadFactory {
  const keys = new Keys(factory, awake);
  return (suite, key) => new RestingKey(keys, suite, key);
}

class RestingKey implements Aead {
  readonly suite: Suite;
  readonly #keys: Keys;
  #place: number;

  constructor(keys: Keys, suite: Suite, key: Uint8Array) {
    this.suite = suite;
    this.#keys = keys;
    this.#place = keys.keep(key);
  }

  get lead(): number {
    return this.#awake.lead;
  }

  sealedSize(plain: number): number {
    return this.#awake.sealedSize(plain);
  }

  seal(buffer: Uint8Array, aadStart: number, bodyStart: number, plainLength: number, sequence: number): number {
    return this.#awake.seal(buffer, aadStart, bodyStart, plainLength, sequence);
  }

  open(buffer: Uint8Array, aadStart: number, bodyStart: number, end: number, sequence: number): number {
    return this.#awake.open(buffer, aadStart, bodyStart, end, sequence);
  }

  close(): void {
    if (this.#place !== CLOSED) this.#keys.wipe(this.#place);
    this.#place = CLOSED;
  }

  get #awake(): Aead {
    if (this.#place === CLOSED) raise('BUG_ARGUMENT', { what: 'the use of a closed key' });
    return this.#keys.wake(this.suite, this.#place);
  }
}

class Keys {
  readonly #factory: AeadFactory;
  readonly #limit: number;
  readonly #pieces: Uint8Array[] = [];
  readonly #free: number[] = [];
  /** Contexts by place, the one used last at the end. */
  readonly #awake = new Map<number, Aead>();

  constructor(factory: AeadFactory, limit: number) {
    this.#factory = factory;
    this.#limit = limit;
  }

  keep(key: Uint8Array): number {
    if (key.length !== KEY_LENGTH) raise('BUG_ARGUMENT', { what: `a key of ${key.length} octets` });
    if (this.#free.length === 0) {
      const first = AT_ONCE * this.#pieces.length;
      this.#pieces.push(new Uint8Array(KEY_LENGTH * AT_ONCE));
      for (let place = first + AT_ONCE - 1; place >= first; place--) this.#free.push(place);
    }
    const place = this.#free.pop()!;
    this.#at(place).set(key);
    return place;
  }

  wipe(place: number): void {
    this.#awake.get(place)?.close();
    this.#awake.delete(place);
    this.#at(place).fill(0);
    this.#free.push(place);
  }

  wake(suite: Suite, place: number): Aead {
    const aead = this.#awake.get(place) ?? this.#factory(suite, this.#at(place));
    this.#awake.delete(place);
    this.#awake.set(place, aead);
    if (this.#awake.size > this.#limit) {
      const [longest] = this.#awake.keys();
      this.#awake.get(longest!)!.close();
      this.#awake.delete(longest!);
    }
    return aead;
  }

  #at(place: number): Uint8Array {
    const start = KEY_LENGTH * (place % AT_ONCE);
    return this.#pieces[Math.floor(place / AT_ONCE)]!.subarray(start, start + KEY_LENGTH);
  }
}
