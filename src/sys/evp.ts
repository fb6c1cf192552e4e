/**
 * The cipher suites (protocol section 2.2) on OpenSSL: a packet costs five calls and no allocation, a twentieth of what a
 * node:crypto cipher object costs. A key has a context while it is in use, the IV is set per packet. Octets are addressed
 * in memory (`sealAt`, `openAt`) or in a buffer (`seal`, `open`).
 */

import { raise } from '../lib/errors.ts';
import { CBC_MD5, type Context, Contexts, KEY_LENGTH, MOST_CONTEXTS, noContext } from './contexts.ts';
import { addressOf } from './ffi.ts';
import { hkdf } from './hkdf.ts';
import { KeyMemory } from './key-memory.ts';
import { must, NONCE_LENGTH, type OpenSsl, openSsl, type SuiteNumber, scratchAt, type Update } from './openssl.ts';

const TAG_LENGTH = 16;
const BLOCK_LENGTH = 16;

const EVP_CTRL_AEAD_GET_TAG = 0x10;
const EVP_CTRL_AEAD_SET_TAG = 0x11;

/** Contexts of one suite. */
type Lenders = { readonly encrypt: Contexts; readonly decrypt: Contexts };

function newLenders(suite: SuiteNumber, most: number): Lenders {
  return { encrypt: new Contexts(suite, 'encryptInit', most), decrypt: new Contexts(suite, 'decryptInit', most) };
}

const memory = new KeyMemory();
/** Those of all keys of this thread, by suite. */
const common: (Lenders | undefined)[] = [];

/** Overwrites a key of this thread, and what was set up for it. */
function release(key: number): void {
  for (const lenders of common) {
    lenders?.encrypt.discard(key);
    lenders?.decrypt.discard(key);
  }
  memory.forget(key);
}

const forgotten = new FinalizationRegistry(release);

/** One key, sealing and opening in place; the buffer-based half is the interface `Aead` of the crypto layer. */
export abstract class EvpAead {
  readonly suite: SuiteNumber;
  abstract readonly lead: number;
  protected readonly evp: OpenSsl = openSsl();
  readonly #lenders: Lenders;
  /** Where the key is, by which other threads may know it; 0 = there is none. */
  #key = 0;
  /** What it was last set up in, and still is if the context says so. */
  #sealing = noContext;
  #opening = noContext;

  constructor(suite: SuiteNumber, lenders: Lenders) {
    this.suite = suite;
    this.#lenders = lenders;
  }

  get key(): number {
    return this.#key;
  }

  /** Takes a copy of the key, overwritten by `close`, or by the collector should that be forgotten. */
  own(key: Uint8Array): this {
    this.#key = memory.keep(key);
    forgotten.register(this, this.#key, this);
    return this;
  }

  close(): void {
    if (forgotten.unregister(this)) release(this.#key);
    this.#key = 0;
  }

  /** Seals and opens with a key that another thread owns, until `giveBack`. */
  borrow(key: number): void {
    this.#key = key;
  }

  /** Overwrites what was set up for borrowed keys: their owner may close them now. */
  giveBack(): void {
    this.#key = 0;
    this.#lenders.encrypt.blank();
    this.#lenders.decrypt.blank();
  }

  protected sealing(): Context {
    const last = this.#sealing;
    if (last.key !== this.#key) return (this.#sealing = this.#lenders.encrypt.lend(open(this.#key)));
    last.used = true;
    return last;
  }

  protected opening(): Context {
    const last = this.#opening;
    if (last.key !== this.#key) return (this.#opening = this.#lenders.decrypt.lend(open(this.#key)));
    last.used = true;
    return last;
  }

  abstract sealedSize(plain: number): number;

  /**
   * Seals `plainLength` octets that stand `lead` octets behind the `aadLength` octets of additional data at `address`,
   * or somewhere else, at `input`, without touching them there. Returns the length of everything from `address` to the
   * end of the tag. The caller guarantees the room.
   */
  abstract sealAt(address: number, aadLength: number, plainLength: number, sequence: number, input?: number): number;

  /** Opens the `bodyLength` octets (tag included) behind the additional data; the plain length, or -1 if anything is wrong. */
  abstract openAt(address: number, aadLength: number, bodyLength: number, sequence: number): number;

  seal(buffer: Uint8Array, aadStart: number, bodyStart: number, plainLength: number, sequence: number): number {
    const end = bodyStart + this.sealedSize(plainLength);
    checkRange(buffer, aadStart, bodyStart, end);
    this.sealAt(addressOf(buffer) + aadStart, bodyStart - aadStart, plainLength, sequence);
    return end;
  }

  open(buffer: Uint8Array, aadStart: number, bodyStart: number, end: number, sequence: number): number {
    checkRange(buffer, aadStart, bodyStart, end);
    return this.openAt(addressOf(buffer) + aadStart, bodyStart - aadStart, end - bodyStart, sequence);
  }
}

/** AES-256-GCM and ChaCha20-Poly1305: nonce of 8 zero octets and the sequence number (section 2.3). */
class TaggedCipher extends EvpAead {
  readonly lead = 0;

  sealedSize(plain: number): number {
    return plain + TAG_LENGTH;
  }

  sealAt(
    address: number,
    aadLength: number,
    plainLength: number,
    sequence: number,
    input = address + aadLength,
  ): number {
    const { evp } = this;
    const context = this.sealing().cipher!;
    const body = address + aadLength;
    setNonce(evp.scratch, sequence);
    must(evp.encryptInit(context, 0, 0, 0, evp.nonce), 'EVP_EncryptInit_ex');
    if (aadLength > 0) must(evp.encryptUpdate(context, 0, evp.outLength, address, aadLength), 'EVP_EncryptUpdate');
    if (plainLength > 0) must(evp.encryptUpdate(context, body, evp.outLength, input, plainLength), 'EVP_EncryptUpdate');
    must(evp.encryptFinal(context, body + plainLength, evp.outLength), 'EVP_EncryptFinal_ex');
    must(evp.control(context, EVP_CTRL_AEAD_GET_TAG, TAG_LENGTH, body + plainLength), 'EVP_CIPHER_CTX_ctrl');
    return aadLength + plainLength + TAG_LENGTH;
  }

  openAt(address: number, aadLength: number, bodyLength: number, sequence: number): number {
    const { evp } = this;
    const context = this.opening().cipher!;
    const body = address + aadLength;
    const plainLength = bodyLength - TAG_LENGTH;
    if (plainLength < 0) return -1;
    setNonce(evp.scratch, sequence);
    must(evp.decryptInit(context, 0, 0, 0, evp.nonce), 'EVP_DecryptInit_ex');
    if (aadLength > 0) must(evp.decryptUpdate(context, 0, evp.outLength, address, aadLength), 'EVP_DecryptUpdate');
    if (plainLength > 0) must(evp.decryptUpdate(context, body, evp.outLength, body, plainLength), 'EVP_DecryptUpdate');
    must(evp.control(context, EVP_CTRL_AEAD_SET_TAG, TAG_LENGTH, body + plainLength), 'EVP_CIPHER_CTX_ctrl');
    return evp.decryptFinal(context, body, evp.outLength) === 1 ? plainLength : -1;
  }
}

/** The thesis's suite: IV, AES-256-CBC with PKCS#7, then HMAC-MD5 over everything before it. */
class CbcMd5 extends EvpAead {
  readonly lead = BLOCK_LENGTH;

  sealedSize(plain: number): number {
    return BLOCK_LENGTH + plain + BLOCK_LENGTH - (plain % BLOCK_LENGTH) + TAG_LENGTH;
  }

  sealAt(
    address: number,
    aadLength: number,
    plainLength: number,
    _sequence: number,
    input = address + aadLength + BLOCK_LENGTH,
  ): number {
    const { evp } = this;
    const { cipher, mac } = this.sealing();
    const iv = address + aadLength;
    const text = iv + BLOCK_LENGTH;
    const end = iv + this.sealedSize(plainLength) - TAG_LENGTH;
    must(evp.randomBytes(iv, BLOCK_LENGTH), 'RAND_bytes');
    must(evp.encryptInit(cipher!, 0, 0, 0, iv), 'EVP_EncryptInit_ex');
    const written = this.#transform(evp.encryptUpdate, cipher!, text, input, plainLength);
    must(evp.encryptFinal(cipher!, text + written, evp.outLength), 'EVP_EncryptFinal_ex');
    this.#mac(mac!, address, end - address, end);
    return end + TAG_LENGTH - address;
  }

  openAt(address: number, aadLength: number, bodyLength: number, _sequence: number): number {
    const { evp } = this;
    const { cipher, mac } = this.opening();
    const iv = address + aadLength;
    const text = iv + BLOCK_LENGTH;
    const textLength = bodyLength - BLOCK_LENGTH - TAG_LENGTH;
    if (textLength < BLOCK_LENGTH || textLength % BLOCK_LENGTH !== 0) return -1;
    this.#mac(mac!, address, aadLength + bodyLength - TAG_LENGTH, evp.tag);
    // Checked before anything is decrypted: the padding must not become an oracle (section 2.2).
    if (evp.compare(evp.tag, text + textLength, TAG_LENGTH) !== 0) return -1;
    must(evp.decryptInit(cipher!, 0, 0, 0, iv), 'EVP_DecryptInit_ex');
    const written = this.#transform(evp.decryptUpdate, cipher!, text, text, textLength);
    if (evp.decryptFinal(cipher!, text + written, evp.outLength) !== 1) return -1;
    return written + evp.scratch.readInt32LE(scratchAt.outLength);
  }

  /** All blocks that need no padding; returns how many octets were written. */
  #transform(update: Update, context: number, out: number, input: number, length: number): number {
    if (length === 0) return 0;
    must(update(context, out, this.evp.outLength, input, length), 'EVP_CipherUpdate');
    return this.evp.scratch.readInt32LE(scratchAt.outLength);
  }

  #mac(context: number, address: number, length: number, out: number): void {
    const { evp } = this;
    // Without a key the context starts over with the one it has.
    must(evp.macInit(context, 0, 0, 0), 'EVP_MAC_init');
    must(evp.macUpdate(context, address, length), 'EVP_MAC_update');
    must(evp.macFinal(context, out, evp.outLength, TAG_LENGTH), 'EVP_MAC_final');
  }
}

function make(suite: SuiteNumber, lenders: Lenders): EvpAead {
  return suite === CBC_MD5 ? new CbcMd5(suite, lenders) : new TaggedCipher(suite, lenders);
}

/** A key of a suite, by its Cipher Type number. */
export function evpAead(suite: SuiteNumber, key: Uint8Array): EvpAead {
  if (key.length !== KEY_LENGTH) raise('BUG_ARGUMENT', { what: `a key of ${key.length} octets` });
  const aead = make(suite, (common[suite] ??= newLenders(suite, MOST_CONTEXTS)));
  if (suite !== CBC_MD5) return aead.own(key);
  const halves = new Uint8Array(2 * KEY_LENGTH);
  halves.set(derive(key, 'cyphonic cbc-md5 cipher'));
  halves.set(derive(key, 'cyphonic cbc-md5 mac'), KEY_LENGTH);
  aead.own(halves);
  halves.fill(0);
  return aead;
}

/** What seals and opens with keys that another thread owns, one at a time. */
export function borrowingAead(suite: SuiteNumber): EvpAead {
  return make(suite, newLenders(suite, 1));
}

function derive(key: Uint8Array, info: string): Uint8Array {
  return hkdf(key, new Uint8Array(0), new TextEncoder().encode(info), KEY_LENGTH);
}

function setNonce(scratch: Buffer, sequence: number): void {
  scratch.writeUInt32BE(sequence, scratchAt.nonce + NONCE_LENGTH - 4);
}

/** The key, unless it was closed: OpenSSL would follow the null pointer. */
function open(key: number): number {
  return key === 0 ? raise('BUG_ARGUMENT', { what: 'the use of a closed key' }) : key;
}

function checkRange(buffer: Uint8Array, aadStart: number, bodyStart: number, end: number): void {
  if (!(aadStart >= 0 && aadStart <= bodyStart && bodyStart <= end && end <= buffer.length))
    raise('BUG_ARGUMENT', { what: `octets ${aadStart}, ${bodyStart}, ${end} in a buffer of ${buffer.length}` });
}
