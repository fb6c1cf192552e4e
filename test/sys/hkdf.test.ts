import { hkdfSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { hkdf } from '../../src/sys/hkdf.ts';
import fc from '../support/property.ts';
import { hex, readVectors } from '../vectors/read.ts';

type Vector = { readonly name: string } & { readonly [key in 'key' | 'salt' | 'info' | 'okm']: string };

test.each(readVectors<Vector>('hkdf-sha256'))('HKDF, RFC 5869 $name', (vector) => {
  const okm = hex(vector.okm);
  expect(hkdf(hex(vector.key), hex(vector.salt), hex(vector.info), okm.length)).toEqual(okm);
});

test('derives what node:crypto does, whatever it is given one after the other', () => {
  const input = fc.uint8Array({ maxLength: 200 });
  fc.assert(
    fc.property(input, input, input, fc.integer({ min: 1, max: 200 }), (key, salt, info, length) => {
      expect(hkdf(key, salt, info, length).toHex()).toBe(
        Buffer.from(hkdfSync('sha256', key, salt, info, length)).toString('hex'),
      );
    }),
  );
});

test('takes nothing that it has no room for', () => {
  const key = new Uint8Array(32);
  for (const inputs of [
    [new Uint8Array(513), key, key],
    [key, new Uint8Array(513), key],
    [key, key, new Uint8Array(513)],
  ] as const) {
    expect(() => hkdf(...inputs, 32)).toThrow('internal error');
  }
  expect(() => hkdf(key, key, key, 255 * 32 + 1)).toThrow('internal error');
});
