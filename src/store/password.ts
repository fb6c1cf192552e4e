/** Passwords and one-time secrets are kept as scrypt hashes (RFC 7914), with salt and parameters in one text. */

import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';

/** Cost of new hashes: 16 MiB and about 0.2 s each. N = 2^cost. */
const parameters = { cost: 14, blockSize: 8, parallel: 5 } as const;
const HASH_LENGTH = 32;
/** Hashes computed at once (protocol section 2.4): guessing must not take all cores from those who are known. */
const MAX_AT_ONCE = 2;

const pattern = /^scrypt\$(\d+)\$(\d+)\$(\d+)\$([\w-]+)\$([\w-]+)$/;

let running = 0;
const waiting: (() => void)[] = [];

export async function hashSecret(secret: Uint8Array): Promise<string> {
  const { cost, blockSize, parallel } = parameters;
  const salt = randomBytes(16);
  const hash = await derive(secret, salt, cost, blockSize, parallel);
  return ['scrypt', cost, blockSize, parallel, salt.toString('base64url'), hash.toString('base64url')].join('$');
}

/** Whether `secret` belongs to `stored`. Takes the same time if there is nothing it could belong to. */
export async function verifySecret(secret: Uint8Array, stored: string | null): Promise<boolean> {
  const match = pattern.exec(stored ?? '');
  if (match === null) {
    await hashSecret(secret);
    return false;
  }
  const [cost, blockSize, parallel] = match.slice(1, 4).map(Number) as [number, number, number];
  const expected = Buffer.from(match[5]!, 'base64url');
  const hash = await derive(secret, Buffer.from(match[4]!, 'base64url'), cost, blockSize, parallel);
  return expected.length === hash.length && timingSafeEqual(expected, hash);
}

async function derive(secret: Uint8Array, salt: Uint8Array, cost: number, r: number, p: number): Promise<Buffer> {
  if (running === MAX_AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
  else running++;
  try {
    return await new Promise((resolve, reject) => {
      const options = { N: 2 ** cost, r, p, maxmem: 2 * 128 * r * 2 ** cost };
      scrypt(secret, salt, HASH_LENGTH, options, (error, hash) => (error === null ? resolve(hash) : reject(error)));
    });
  } finally {
    // A waiting computation takes this one's place without `running` ever falling in between.
    const next = waiting.shift();
    if (next === undefined) running--;
    else next();
  }
}
