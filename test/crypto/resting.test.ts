/** What `aead.test.ts` does not say of resting keys: how much is kept of many. */

import { expect, test } from 'vitest';
import type { AeadFactory } from '../../src/crypto/aead.ts';
import { readableAead } from '../../src/crypto/readable.ts';
import { restingAead } from '../../src/crypto/resting.ts';
import { Suite } from '../../src/proto/constants.ts';

const AWAKE = 3;
const key = (i: number): Uint8Array => new Uint8Array(32).fill(i);

/** Contexts at work, by the first octet of their key. */
function watched() {
  const awake = new Set<number>();
  const octets: Uint8Array[] = [];
  const factory: AeadFactory = (suite, raw) => {
    const aead = readableAead(suite, raw);
    const name = raw[0]!;
    awake.add(name);
    octets.push(raw);
    const close = (): void => {
      awake.delete(name);
      aead.close();
    };
    return { ...aead, close };
  };
  return { awake, octets, resting: restingAead(factory, AWAKE) };
}

test('of many keys only those used last have a context, and all still seal and open', () => {
  const { awake, resting } = watched();
  const keys = Array.from({ length: 600 }, (_, i) => resting(Suite.aes256Gcm, key(i)));
  expect(awake.size).toBe(0);
  const sealed = keys.map((aead, i) => {
    const buffer = new Uint8Array(1 + aead.sealedSize(4)).fill(i);
    aead.seal(buffer, 0, 1, 4, 1);
    expect(awake.size).toBeLessThanOrEqual(AWAKE);
    return buffer;
  });
  for (const [i, buffer] of sealed.entries()) {
    expect(keys[i]!.open(buffer, 0, 1, buffer.length, 1)).toBe(4);
    expect(buffer.subarray(1, 5)).toEqual(new Uint8Array(4).fill(i));
  }
});

test('a closed key is gone from memory, refuses to be used, and its place goes to the next one', () => {
  const { awake, octets, resting } = watched();
  const first = resting(Suite.aes256Gcm, key(7));
  first.sealedSize(1);
  first.close();
  first.close();
  expect(awake.size).toBe(0);
  expect(octets[0]).toEqual(new Uint8Array(32));
  expect(() => first.sealedSize(1)).toThrow('closed key');
  const [second, third] = [resting(Suite.aes256Gcm, key(8)), resting(Suite.aes256Gcm, key(9))];
  for (const aead of [second, third]) aead.sealedSize(1);
  expect(octets[1]!.byteOffset).toBe(octets[0]!.byteOffset);
  expect(octets[1]).toEqual(key(8));
  expect(octets[2]).toEqual(key(9));
});
