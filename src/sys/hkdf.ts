/**
 * HKDF-SHA-256 (RFC 5869) on the OpenSSL inside Node's own binary, called directly: a key of each path and of each life of a
 * sender is derived, and node:crypto makes an object of a job for each, of which the collecting costs more than the work.
 */

import { raise } from '../lib/errors.ts';
import { bind, library } from './ffi.ts';
import { allocate } from './memory.ts';

const HASH_LENGTH = 32;
/** Room for each input; what we derive from is some keys and names long. */
const ROOM = 512;
/** Section 2.3: a block is made of the one before, `info` and the block's number. */
const at = { key: 0, salt: ROOM, block: 2 * ROOM, info: 2 * ROOM + HASH_LENGTH, extracted: 4 * ROOM } as const;

type Hmac = (
  digest: number,
  key: number,
  keyLength: number,
  data: number,
  length: number,
  out: number,
  outLength: number,
) => number;

function load() {
  const program = library(null);
  const hmac = bind<Hmac>(
    program,
    'int64_t HMAC(int64_t digest, int64_t key, int keyLength, int64_t data, int64_t length, int64_t out, int64_t outLength)',
  );
  return { hmac, sha256: bind<() => number>(program, 'int64_t EVP_sha256()')(), memory: allocate(5 * ROOM) };
}

let loaded: ReturnType<typeof load> | undefined;

export function hkdf(key: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array {
  if (Math.max(key.length, salt.length, info.length) > ROOM || length > 255 * HASH_LENGTH) {
    raise('BUG_ARGUMENT', { what: `${length} octets from ${key.length}, ${salt.length} and ${info.length}` });
  }
  loaded ??= load();
  const { hmac, sha256, memory } = loaded;
  const { bytes, address } = memory;
  const mac = (by: number, byLength: number, data: number, dataLength: number, to: number): void => {
    const done = hmac(sha256, address + by, byLength, address + data, dataLength, address + to, 0);
    if (done === 0) raise('SYS_OPENSSL', { call: 'HMAC' });
  };
  bytes.set(key, at.key);
  bytes.set(salt, at.salt);
  bytes.set(info, at.info);
  // Section 2.2; a salt that is absent is one of zeros, which HMAC makes of it.
  mac(at.salt, salt.length, at.key, key.length, at.extracted);
  const derived = new Uint8Array(length);
  for (let done = 0, number = 1; done < length; done += HASH_LENGTH, number++) {
    bytes[at.info + info.length] = number;
    const from = number === 1 ? at.info : at.block;
    mac(at.extracted, HASH_LENGTH, from, at.info + info.length + 1 - from, at.block);
    derived.set(bytes.subarray(at.block, at.block + Math.min(HASH_LENGTH, length - done)), done);
  }
  bytes.fill(0);
  return derived;
}
