/** Cursors over octets, big-endian. */

import { raise } from './errors.ts';

const nothing = new Uint8Array(0);

/**
 * Reads received octets. Never throws: reading past the end, or `fail`, latches `failed`, and from then on every
 * read gives zero or nothing, so that a decoder checks once at its end instead of at every field.
 */
export class Reader {
  readonly #bytes: Uint8Array;
  #at: number;
  readonly #end: number;
  #failed = false;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    // A Buffer's `slice` is a view: what is taken here must be copied by it.
    this.#bytes = Buffer.isBuffer(bytes) ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length) : bytes;
    this.#at = at;
    this.#end = end;
  }

  get at(): number {
    return this.#at;
  }

  get left(): number {
    return this.#end - this.#at;
  }

  get failed(): boolean {
    return this.#failed;
  }

  fail(): void {
    this.#failed = true;
    this.#at = this.#end;
  }

  #advance(length: number): number {
    const at = this.#at;
    if (length < 0 || length > this.left) {
      this.fail();
      return -1;
    }
    this.#at = at + length;
    return at;
  }

  u8(): number {
    const at = this.#advance(1);
    return at < 0 ? 0 : this.#bytes[at]!;
  }

  u16(): number {
    const at = this.#advance(2);
    return at < 0 ? 0 : (this.#bytes[at]! << 8) | this.#bytes[at + 1]!;
  }

  u32(): number {
    const at = this.#advance(4);
    return at < 0 ? 0 : readU32(this.#bytes, at);
  }

  /** A view of the next octets; empty if there are fewer. */
  take(length: number): Uint8Array {
    const at = this.#advance(length);
    return at < 0 ? nothing : this.#bytes.subarray(at, at + length);
  }

  /** A reader of the next octets alone, of none if there are fewer. */
  within(length: number): Reader {
    const at = this.#advance(length);
    return at < 0 ? new Reader(nothing) : new Reader(this.#bytes, at, at + length);
  }

  /** Fails unless the next octets are all zero. */
  zeros(length: number): void {
    if (!isZero(this.take(length))) this.fail();
  }
}

/**
 * Writes octets we made ourselves: into a caller's buffer, or into one of its own that grows. A value that doesn't fit
 * its field, or a full caller's buffer, is our own bug and throws.
 */
export class Writer {
  #bytes: Uint8Array;
  readonly #grows: boolean;
  #at: number;

  constructor(target?: Uint8Array, at = 0) {
    this.#bytes = target ?? new Uint8Array(256);
    this.#grows = target === undefined;
    this.#at = at;
  }

  get at(): number {
    return this.#at;
  }

  /** Everything before the cursor, as a view. */
  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }

  #advance(length: number): number {
    const at = this.#at;
    const end = at + length;
    if (end > this.#bytes.length) {
      if (!this.#grows) raise('BUG_ENCODING', { what: `${end} octets in a buffer of ${this.#bytes.length}` });
      const larger = new Uint8Array(Math.max(end, 2 * this.#bytes.length));
      larger.set(this.written);
      this.#bytes = larger;
    }
    this.#at = end;
    return at;
  }

  #number(value: number, octets: number): void {
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * octets)) {
      raise('BUG_ENCODING', { what: `${value} in ${8 * octets} bits` });
    }
    const at = this.#advance(octets);
    for (let i = octets - 1, rest = value; i >= 0; i--, rest >>>= 8) this.#bytes[at + i] = rest & 255;
  }

  u8(value: number): void {
    this.#number(value, 1);
  }

  u16(value: number): void {
    this.#number(value, 2);
  }

  u32(value: number): void {
    this.#number(value, 4);
  }

  /** Replaces an octet that was written before. */
  u8At(at: number, value: number): void {
    if (value > 255) raise('BUG_ENCODING', { what: `${value} in 8 bits` });
    this.#bytes[at] = value;
  }

  octets(value: Uint8Array): void {
    const at = this.#advance(value.length);
    this.#bytes.set(value, at);
  }

  /** Octets as hexadecimal digits, in lower case. */
  hex(digits: string): void {
    const octets = digits.length / 2;
    const at = this.#advance(octets);
    let all = 0;
    for (let i = 0; i < octets; i++) {
      const octet = (hexDigit(digits.charCodeAt(2 * i)) << 4) | hexDigit(digits.charCodeAt(2 * i + 1));
      all |= octet;
      this.#bytes[at + i] = octet;
    }
    if (all < 0) raise('BUG_ENCODING', { what: `"${digits}" as hexadecimal digits` });
  }

  zeros(length: number): void {
    const at = this.#advance(length);
    this.#bytes.fill(0, at, this.#at);
  }
}

/** The same octets for reads and writes of numbers. */
export function viewOf(octets: Uint8Array): DataView {
  return new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
}

/** The value of a digit, -1 if it is none; only lower case ones are. */
export function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  return code >= 0x61 && code <= 0x66 ? code - 0x57 : -1;
}

export function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

/**
 * Octets as signed words of 32 bits, for comparing them with what a view reads. An ordinary array of small integers takes
 * a quarter of the memory of a view of a few octets.
 */
export function wordsOf(octets: Uint8Array): number[] {
  return Array.from({ length: octets.length >> 2 }, (_, i) => readU32(octets, 4 * i) | 0);
}

export function sameOctets(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

export function isZero(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}

/** One array of our own with all octets of the parts. Never a Buffer, whose `slice` is a view where others copy. */
export function concat(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
