/**
 * The cipher suites (protocol section 2.2) on the OpenSSL inside Node's own binary, called directly: a packet costs five
 * calls and no allocation, a twentieth of what a node:crypto cipher object costs. One context per key and direction, the
 * IV set per packet. Octets are addressed in memory (`sealAt`, `openAt`) or in a buffer (`seal`, `open`).
 */

import { hkdfSync } from 'node:crypto';
import { raise } from '../lib/errors.ts';
import { addressOf, bind, library } from './ffi.ts';
import { allocate } from './memory.ts';

const KEY_LENGTH = 32;
const TAG_LENGTH = 16;
const NONCE_LENGTH = 12;
const BLOCK_LENGTH = 16;

const EVP_CTRL_AEAD_GET_TAG = 0x10;
const EVP_CTRL_AEAD_SET_TAG = 0x11;
const OSSL_PARAM_UTF8_STRING = 4;

/** EVP_CIPHER_fetch names by Cipher Type number. */
const cipherNames = { 1: 'AES-256-CBC', 2: 'AES-256-GCM', 3: 'ChaCha20-Poly1305' } as const;
type SuiteNumber = keyof typeof cipherNames;
const CBC_MD5 = 1;

type Init = (context: number, cipher: number, engine: number, key: number, iv: number) => number;
type Update = (context: number, out: number, outLength: number, input: number, length: number) => number;
type Final = (context: number, out: number, outLength: number) => number;

function loadOpenSsl() {
  const program = library(null);
  const init = 'int64_t context, int64_t cipher, int64_t engine, int64_t key, int64_t iv';
  const update = 'int64_t context, int64_t out, int64_t outLength, int64_t input, int length';
  const final = 'int64_t context, int64_t out, int64_t outLength';
  return {
    fetchCipher: bind<(library: number, name: string, properties: number) => number>(
      program,
      'int64_t EVP_CIPHER_fetch(int64_t library, const char *name, int64_t properties)',
    ),
    newContext: bind<() => number>(program, 'int64_t EVP_CIPHER_CTX_new()'),
    copyContext: bind<(to: number, from: number) => number>(
      program,
      'int EVP_CIPHER_CTX_copy(int64_t to, int64_t from)',
    ),
    freeContext: bind<(context: number) => void>(program, 'void EVP_CIPHER_CTX_free(int64_t context)'),
    control: bind<(context: number, type: number, argument: number, pointer: number) => number>(
      program,
      'int EVP_CIPHER_CTX_ctrl(int64_t context, int type, int argument, int64_t pointer)',
    ),
    encryptInit: bind<Init>(program, `int EVP_EncryptInit_ex(${init})`),
    encryptUpdate: bind<Update>(program, `int EVP_EncryptUpdate(${update})`),
    encryptFinal: bind<Final>(program, `int EVP_EncryptFinal_ex(${final})`),
    decryptInit: bind<Init>(program, `int EVP_DecryptInit_ex(${init})`),
    decryptUpdate: bind<Update>(program, `int EVP_DecryptUpdate(${update})`),
    decryptFinal: bind<Final>(program, `int EVP_DecryptFinal_ex(${final})`),
    fetchMac: bind<(library: number, name: string, properties: number) => number>(
      program,
      'int64_t EVP_MAC_fetch(int64_t library, const char *name, int64_t properties)',
    ),
    newMac: bind<(mac: number) => number>(program, 'int64_t EVP_MAC_CTX_new(int64_t mac)'),
    copyMac: bind<(context: number) => number>(program, 'int64_t EVP_MAC_CTX_dup(int64_t context)'),
    freeMac: bind<(context: number) => void>(program, 'void EVP_MAC_CTX_free(int64_t context)'),
    macInit: bind<(context: number, key: number, keyLength: number, parameters: number) => number>(
      program,
      'int EVP_MAC_init(int64_t context, int64_t key, int64_t keyLength, int64_t parameters)',
    ),
    macUpdate: bind<(context: number, data: number, length: number) => number>(
      program,
      'int EVP_MAC_update(int64_t context, int64_t data, int64_t length)',
    ),
    macFinal: bind<(context: number, out: number, outLength: number, room: number) => number>(
      program,
      'int EVP_MAC_final(int64_t context, int64_t out, int64_t outLength, int64_t room)',
    ),
    randomBytes: bind<(out: number, length: number) => number>(program, 'int RAND_bytes(int64_t out, int length)'),
    /** Constant time; 0 = equal. */
    compare: bind<(a: number, b: number, length: number) => number>(
      program,
      'int CRYPTO_memcmp(int64_t a, int64_t b, int64_t length)',
    ),
  };
}

/** Offsets in a scratch area that never moves. The key stands there only while a context is set up. */
const scratchAt = { key: 0, outLength: 32, nonce: 48, tag: 64, macParameters: 80 } as const;
const SCRATCH_LENGTH = 192;

/** What all keys of a thread share. */
function loadShared() {
  const openSsl = loadOpenSsl();
  const { bytes, address } = allocate(SCRATCH_LENGTH);
  const scratch = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const macParametersAddress = address + scratchAt.macParameters;
  scratch.set(digestParameter(macParametersAddress), scratchAt.macParameters);
  const cipher = (suite: SuiteNumber): number =>
    fetched(openSsl.fetchCipher(0, cipherNames[suite], 0), cipherNames[suite]);
  return {
    ...openSsl,
    ciphers: { 1: cipher(1), 2: cipher(2), 3: cipher(3) },
    hmac: fetched(openSsl.fetchMac(0, 'HMAC', 0), 'HMAC'),
    scratch,
    key: address + scratchAt.key,
    outLength: address + scratchAt.outLength,
    nonce: address + scratchAt.nonce,
    tag: address + scratchAt.tag,
    macParameters: macParametersAddress,
  };
}

type Shared = ReturnType<typeof loadShared>;
let shared: Shared | undefined;

/**
 * Native contexts of one key; zeroed and freed by `close`, or by the collector should that be forgotten. They lie above
 * 2^31, where a number is an object: beginning as null, the fields refer to it instead of making a new one at every use.
 */
export type Contexts = { encrypt: number | null; decrypt: number | null; mac: number | null };

function noContexts(): Contexts {
  return { encrypt: null, decrypt: null, mac: null };
}

/** Frees contexts that `fork` made. */
export function releaseContexts(contexts: Contexts): void {
  shared?.freeContext(contexts.encrypt ?? 0);
  shared?.freeContext(contexts.decrypt ?? 0);
  shared?.freeMac(contexts.mac ?? 0);
  contexts.encrypt = contexts.decrypt = contexts.mac = null;
}

const forgotten = new FinalizationRegistry(releaseContexts);

/** What a key is for: a context for the other direction would only take memory, of which ten thousand paths need enough. */
export type KeyUse = 'seal' | 'open' | 'both';

/** One key, sealing and opening in place; the buffer-based half is the interface `Aead` of the crypto layer. */
export abstract class EvpAead {
  readonly suite: SuiteNumber;
  abstract readonly lead: number;
  protected readonly evp: Shared;
  protected readonly contexts: Contexts = noContexts();

  constructor(suite: SuiteNumber, cipherKey: Uint8Array, use: KeyUse) {
    this.suite = suite;
    shared ??= loadShared();
    this.evp = shared;
    const { evp, contexts } = this;
    if (use !== 'open') contexts.encrypt = evp.newContext();
    if (use !== 'seal') contexts.decrypt = evp.newContext();
    forgotten.register(this, contexts, contexts);
    evp.scratch.set(cipherKey);
    const cipher = evp.ciphers[suite];
    const { encrypt, decrypt } = contexts;
    if (encrypt !== null) must(evp.encryptInit(encrypt, cipher, 0, evp.key, 0), 'EVP_EncryptInit_ex');
    if (decrypt !== null) must(evp.decryptInit(decrypt, cipher, 0, evp.key, 0), 'EVP_DecryptInit_ex');
    evp.scratch.fill(0, 0, KEY_LENGTH);
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

  close(): void {
    forgotten.unregister(this.contexts);
    releaseContexts(this.contexts);
  }

  /** Copies of the contexts, for one more thread: each may be used by one thread at a time. */
  fork(): Contexts {
    const { evp, contexts } = this;
    const copy = noContexts();
    for (const direction of ['encrypt', 'decrypt'] as const) {
      const original = contexts[direction];
      if (original === null) continue;
      const context = (copy[direction] = evp.newContext());
      must(evp.copyContext(context, original), 'EVP_CIPHER_CTX_copy');
    }
    if (contexts.mac !== null) copy.mac = evp.copyMac(contexts.mac);
    return copy;
  }

  /** Seals and opens with contexts that another thread forked and will release. */
  borrow(encrypt: number, decrypt: number, mac: number): void {
    const { contexts } = this;
    if (forgotten.unregister(contexts)) releaseContexts(contexts);
    contexts.encrypt = encrypt;
    contexts.decrypt = decrypt;
    contexts.mac = mac;
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
    const context = open(this.contexts.encrypt);
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
    const context = open(this.contexts.decrypt);
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

  constructor(key: Uint8Array, use: KeyUse) {
    super(CBC_MD5, derive(key, 'cyphonic cbc-md5 cipher'), use);
    const { evp, contexts } = this;
    const mac = (contexts.mac = evp.newMac(evp.hmac));
    evp.scratch.set(derive(key, 'cyphonic cbc-md5 mac'));
    must(evp.macInit(mac, evp.key, KEY_LENGTH, evp.macParameters), 'EVP_MAC_init');
    evp.scratch.fill(0, 0, KEY_LENGTH);
  }

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
    const context = open(this.contexts.encrypt);
    const iv = address + aadLength;
    const text = iv + BLOCK_LENGTH;
    const end = iv + this.sealedSize(plainLength) - TAG_LENGTH;
    must(evp.randomBytes(iv, BLOCK_LENGTH), 'RAND_bytes');
    must(evp.encryptInit(context, 0, 0, 0, iv), 'EVP_EncryptInit_ex');
    const written = this.#transform(evp.encryptUpdate, context, text, input, plainLength);
    must(evp.encryptFinal(context, text + written, evp.outLength), 'EVP_EncryptFinal_ex');
    this.#mac(address, end - address, end);
    return end + TAG_LENGTH - address;
  }

  openAt(address: number, aadLength: number, bodyLength: number, _sequence: number): number {
    const { evp } = this;
    const context = open(this.contexts.decrypt);
    const iv = address + aadLength;
    const text = iv + BLOCK_LENGTH;
    const textLength = bodyLength - BLOCK_LENGTH - TAG_LENGTH;
    if (textLength < BLOCK_LENGTH || textLength % BLOCK_LENGTH !== 0) return -1;
    this.#mac(address, aadLength + bodyLength - TAG_LENGTH, evp.tag);
    // Checked before anything is decrypted: the padding must not become an oracle (section 2.2).
    if (evp.compare(evp.tag, text + textLength, TAG_LENGTH) !== 0) return -1;
    must(evp.decryptInit(context, 0, 0, 0, iv), 'EVP_DecryptInit_ex');
    const written = this.#transform(evp.decryptUpdate, context, text, text, textLength);
    if (evp.decryptFinal(context, text + written, evp.outLength) !== 1) return -1;
    return written + evp.scratch.readInt32LE(scratchAt.outLength);
  }

  /** All blocks that need no padding; returns how many octets were written. */
  #transform(update: Update, context: number, out: number, input: number, length: number): number {
    if (length === 0) return 0;
    must(update(context, out, this.evp.outLength, input, length), 'EVP_CipherUpdate');
    return this.evp.scratch.readInt32LE(scratchAt.outLength);
  }

  #mac(address: number, length: number, out: number): void {
    const { evp } = this;
    const context = open(this.contexts.mac);
    // Without a key the context starts over with the one it has.
    must(evp.macInit(context, 0, 0, 0), 'EVP_MAC_init');
    must(evp.macUpdate(context, address, length), 'EVP_MAC_update');
    must(evp.macFinal(context, out, evp.outLength, TAG_LENGTH), 'EVP_MAC_final');
  }
}

/** A key of a suite, by its Cipher Type number. */
export function evpAead(suite: SuiteNumber, key: Uint8Array, use: KeyUse = 'both'): EvpAead {
  if (key.length !== KEY_LENGTH) raise('BUG_ARGUMENT', { what: `a key of ${key.length} octets` });
  return suite === CBC_MD5 ? new CbcMd5(key, use) : new TaggedCipher(suite, key, use);
}

function derive(key: Uint8Array, info: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', key, '', info, KEY_LENGTH));
}

/**
 * OSSL_PARAM[2] that names MD5: { char *key; unsigned type; void *data; size_t dataSize; size_t returnSize } of 40 octets,
 * then one whose key is NULL; the two strings stand behind. `address` is where the result will be copied to.
 */
function digestParameter(address: number): Buffer {
  const name = 80;
  const value = 88;
  const octets = Buffer.alloc(96);
  octets.write('digest', name);
  octets.write('MD5', value);
  octets.writeBigUInt64LE(BigInt(address + name), 0);
  octets.writeUInt32LE(OSSL_PARAM_UTF8_STRING, 8);
  octets.writeBigUInt64LE(BigInt(address + value), 16);
  octets.writeBigUInt64LE(BigInt('MD5'.length), 24);
  return octets;
}

function setNonce(scratch: Buffer, sequence: number): void {
  scratch.writeUInt32BE(sequence, scratchAt.nonce + NONCE_LENGTH - 4);
}

/** The context, unless the key was closed: OpenSSL would follow the null pointer. */
function open(context: number | null): number {
  return context === null ? raise('BUG_ARGUMENT', { what: 'the use of a closed key' }) : context;
}

function checkRange(buffer: Uint8Array, aadStart: number, bodyStart: number, end: number): void {
  if (!(aadStart >= 0 && aadStart <= bodyStart && bodyStart <= end && end <= buffer.length))
    raise('BUG_ARGUMENT', { what: `octets ${aadStart}, ${bodyStart}, ${end} in a buffer of ${buffer.length}` });
}

function fetched(algorithm: number, name: string): number {
  return algorithm === 0 ? raise('SYS_OPENSSL', { call: name }) : algorithm;
}

function must(result: number, call: string): void {
  if (result !== 1) raise('SYS_OPENSSL', { call });
}
