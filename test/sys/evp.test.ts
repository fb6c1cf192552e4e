import { describe, expect, test } from 'vitest';
import type { AeadFactory } from '../../src/crypto/aead.ts';
import { readableAead } from '../../src/crypto/readable.ts';
import { Suite, suiteNames } from '../../src/proto/constants.ts';
import { evpAead } from '../../src/sys/evp.ts';
import { addressOf } from '../../src/sys/ffi.ts';

const key = Buffer.from('0123456789abcdef0123456789abcdef');

test('is a factory of the crypto layer', () => {
  const factory: AeadFactory = evpAead;
  expect(factory(Suite.aes256Gcm, key).suite).toBe(Suite.aes256Gcm);
});

describe.each(Object.values(Suite).map((suite) => [suiteNames[suite], suite] as const))('%s', (_, suite) => {
  test('seals and opens at an address, in shared memory', () => {
    const memory = new Uint8Array(new SharedArrayBuffer(4096));
    const address = addressOf(memory);
    const aead = evpAead(suite, key);
    const readable = readableAead(suite, key);
    for (const start of [0, 1, 7, 64]) {
      for (const [aadLength, plainLength] of [
        [32, 1400],
        [0, 1],
        [5, 0],
        [0, 0],
      ] as const) {
        const plain = new Uint8Array(plainLength).map((_, i) => i * 31);
        memory.fill(0xa5);
        memory.fill(1, start, start + aadLength);
        memory.set(plain, start + aadLength + aead.lead);
        const length = aead.sealAt(address + start, aadLength, plainLength, 77);
        expect(length).toBe(aadLength + aead.sealedSize(plainLength));
        expect(memory[start + length]).toBe(0xa5);

        const copy = new Uint8Array(memory.slice(start, start + length));
        expect(readable.open(copy, 0, aadLength, length, 77)).toBe(plainLength);
        expect(aead.openAt(address + start, aadLength, length - aadLength, 77)).toBe(plainLength);
        const text = start + aadLength + aead.lead;
        expect(Buffer.compare(memory.subarray(text, text + plainLength), plain)).toBe(0);
      }
    }
  });

  test('goes on after refusing', () => {
    const memory = Buffer.allocUnsafeSlow(256);
    const address = addressOf(memory);
    const aead = evpAead(suite, key);
    for (let i = 0; i < 100; i++) {
      memory.fill(i);
      const length = aead.sealAt(address, 32, 100, i + 1);
      memory[length - 1]! ^= 1;
      expect(aead.openAt(address, 32, length - 32, i + 1)).toBe(-1);
      memory.fill(i);
      aead.sealAt(address, 32, 100, i + 1);
      expect(aead.openAt(address, 32, length - 32, i + 1)).toBe(100);
    }
  });

  test('refuses bodies shorter than the smallest there is', () => {
    const memory = Buffer.allocUnsafeSlow(256).fill(0);
    const aead = evpAead(suite, key);
    for (let length = 0; length < aead.sealedSize(0); length++) {
      expect(aead.openAt(addressOf(memory), 32, length, 1)).toBe(-1);
    }
  });

  test('keeps to the buffer it was given', () => {
    const aead = evpAead(suite, key);
    const buffer = new Uint8Array(100);
    expect(() => aead.seal(buffer, 0, 32, 69, 1)).toThrow('not allowed');
    expect(() => aead.seal(buffer, 33, 32, 1, 1)).toThrow('not allowed');
    expect(() => aead.seal(buffer, -1, 32, 1, 1)).toThrow('not allowed');
    expect(() => aead.seal(buffer, 0, 32, Number.NaN, 1)).toThrow('not allowed');
    expect(() => aead.open(buffer, 0, 32, 101, 1)).toThrow('not allowed');
    expect(() => aead.open(buffer, 0, 32, 31, 1)).toThrow('not allowed');
  });

  test('refuses sequence numbers that do not fit the nonce', () => {
    if (suite === Suite.cbcMd5) return;
    const aead = evpAead(suite, key);
    const buffer = new Uint8Array(100);
    expect(() => aead.seal(buffer, 0, 32, 16, 2 ** 32)).toThrow(RangeError);
    expect(() => aead.seal(buffer, 0, 32, 16, -1)).toThrow(RangeError);
  });

  test('can be closed once and again, but not used after', () => {
    const aead = evpAead(suite, key);
    aead.close();
    aead.close();
    const buffer = new Uint8Array(200);
    expect(() => aead.seal(buffer, 0, 32, 16, 1)).toThrow('closed key');
    expect(() => aead.open(buffer, 0, 32, 100, 1)).toThrow('closed key');
  });

  test('works on arrays that live inside the heap, while the collector moves things', () => {
    const aead = evpAead(suite, key);
    let litter: number[][] = [];
    for (let i = 1; i <= 2000; i++) {
      const buffer = new Uint8Array(64);
      buffer[4 + aead.lead] = i & 255;
      const end = aead.seal(buffer, 0, 4, 3, i);
      litter = [...litter.slice(-50), new Array(100).fill(i)];
      expect(aead.open(buffer, 0, 4, end, i)).toBe(3);
      expect(buffer[4 + aead.lead]).toBe(i & 255);
    }
  });
});
