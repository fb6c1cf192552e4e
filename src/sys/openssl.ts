/** The OpenSSL inside Node's own binary, called directly, and what all keys of a thread share of it. */

import { raise } from '../lib/errors.ts';
import { bind, library } from './ffi.ts';
import { allocate } from './memory.ts';

export const NONCE_LENGTH = 12;
const OSSL_PARAM_UTF8_STRING = 4;

/** EVP_CIPHER_fetch names by Cipher Type number. */
const cipherNames = { 1: 'AES-256-CBC', 2: 'AES-256-GCM', 3: 'ChaCha20-Poly1305' } as const;
export type SuiteNumber = keyof typeof cipherNames;

export type Init = (context: number, cipher: number, engine: number, key: number, iv: number) => number;
export type Update = (context: number, out: number, outLength: number, input: number, length: number) => number;
type Final = (context: number, out: number, outLength: number) => number;

function bindAll() {
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
    /** Zeroes what it held. */
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
    setMacParameters: bind<(context: number, parameters: number) => number>(
      program,
      'int EVP_MAC_CTX_set_params(int64_t context, int64_t parameters)',
    ),
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

/** Offsets in a scratch area that never moves. */
export const scratchAt = { outLength: 0, nonce: 16, tag: 32, macParameters: 48, noKey: 144 } as const;
const SCRATCH_LENGTH = 208;

function load() {
  const functions = bindAll();
  const { bytes, address } = allocate(SCRATCH_LENGTH);
  const scratch = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const macParameters = address + scratchAt.macParameters;
  scratch.set(digestParameter(macParameters), scratchAt.macParameters);
  const cipher = (suite: SuiteNumber): number =>
    fetched(functions.fetchCipher(0, cipherNames[suite], 0), cipherNames[suite]);
  return {
    ...functions,
    ciphers: { 1: cipher(1), 2: cipher(2), 3: cipher(3) },
    hmac: fetched(functions.fetchMac(0, 'HMAC', 0), 'HMAC'),
    scratch,
    outLength: address + scratchAt.outLength,
    nonce: address + scratchAt.nonce,
    tag: address + scratchAt.tag,
    macParameters,
    /** Zeros. */
    noKey: address + scratchAt.noKey,
  };
}

export type OpenSsl = ReturnType<typeof load>;
let loaded: OpenSsl | undefined;

/** This thread's. */
export function openSsl(): OpenSsl {
  loaded ??= load();
  return loaded;
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

function fetched(algorithm: number, name: string): number {
  return algorithm === 0 ? raise('SYS_OPENSSL', { call: name }) : algorithm;
}

export function must(result: number, call: string): void {
  if (result !== 1) raise('SYS_OPENSSL', { call });
}
