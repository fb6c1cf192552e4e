import { describe, expect, test } from 'vitest';
import { nodePrimitives } from '../../src/crypto/node.ts';
import { readableAead } from '../../src/crypto/readable.ts';
import fc from '../support/property.ts';
import { hex, readVectors } from '../vectors/read.ts';

const primitives = nodePrimitives(readableAead);
type Named<K extends string> = { readonly name: string } & { readonly [key in K]: string };

describe('published vectors', () => {
  test.each(readVectors<Named<'scalar' | 'point' | 'result'>>('x25519'))('X25519, RFC 7748 $name', (vector) => {
    expect(primitives.x25519(hex(vector.scalar), hex(vector.point))).toEqual(hex(vector.result));
  });

  test('X25519, RFC 7748 section 5.2, a thousand iterations', () => {
    let k = Uint8Array.of(9, ...new Uint8Array(31));
    let u = k;
    for (let i = 0; i < 1000; i++) [k, u] = [new Uint8Array(primitives.x25519(k, u)!), k];
    expect(k.toHex()).toBe('684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51');
  });

  test.each(readVectors<Named<'privateKey' | 'publicKey' | 'message' | 'signature'>>('ed25519'))(
    'Ed25519, RFC 8032 $name',
    (vector) => {
      const [publicKey, message, signature] = [vector.publicKey, vector.message, vector.signature].map(hex) as [
        Uint8Array,
        Uint8Array,
        Uint8Array,
      ];
      expect(primitives.ed25519Sign(hex(vector.privateKey), message)).toEqual(signature);
      expect(primitives.ed25519Verify(publicKey, message, signature)).toBe(true);
      expect(primitives.ed25519Verify(publicKey, Buffer.concat([message, Buffer.of(0)]), signature)).toBe(false);
    },
  );

  test.each(readVectors<Named<'key' | 'salt' | 'info' | 'okm'>>('hkdf-sha256'))('HKDF, RFC 5869 $name', (vector) => {
    const okm = hex(vector.okm);
    expect(primitives.hkdf(hex(vector.key), hex(vector.salt), hex(vector.info), okm.length)).toEqual(okm);
  });

  test.each(readVectors<Named<'key' | 'data' | 'mac'>>('hmac-sha256'))('HMAC-SHA-256, RFC 4231 $name', (vector) => {
    expect(primitives.hmac(hex(vector.key), hex(vector.data))).toEqual(hex(vector.mac));
  });

  test('SHA-256, FIPS 180-4 "abc"', () => {
    const digest = primitives.sha256(Buffer.from('abc')).toHex();
    expect(digest).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });
});

describe('X25519', () => {
  // RFC 7748 section 6.1 and the points of small order on the curve.
  const smallOrder = [
    '0000000000000000000000000000000000000000000000000000000000000000',
    '0100000000000000000000000000000000000000000000000000000000000000',
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
    'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  ];

  test.each(smallOrder)('refuses the point of small order %s', (point) => {
    expect(primitives.x25519(primitives.x25519Generate().privateKey, hex(point))).toBeNull();
  });

  test('refuses a public key of another length', () => {
    const { privateKey, publicKey } = primitives.x25519Generate();
    expect(primitives.x25519(privateKey, publicKey.subarray(1))).toBeNull();
    expect(primitives.x25519(privateKey, new Uint8Array(0))).toBeNull();
  });

  test('both sides agree', () => {
    const [a, b] = [primitives.x25519Generate(), primitives.x25519Generate()];
    expect(primitives.x25519(a.privateKey, b.publicKey)).toEqual(primitives.x25519(b.privateKey, a.publicKey));
  });

  test('a generated key is the same key after a copy', () => {
    const [a, b] = [primitives.x25519Generate(), primitives.x25519Generate()];
    expect(primitives.x25519(a.privateKey.slice(), b.publicKey)).toEqual(primitives.x25519(a.privateKey, b.publicKey));
  });
});

describe('Ed25519', () => {
  test('refuses keys and signatures of another length, and any flipped bit', () => {
    const { privateKey, publicKey } = primitives.ed25519Generate();
    const data = Buffer.from('data');
    const signature = primitives.ed25519Sign(privateKey, data);
    expect(primitives.ed25519Verify(publicKey.subarray(1), data, signature)).toBe(false);
    expect(primitives.ed25519Verify(publicKey, data, signature.subarray(1))).toBe(false);
    expect(primitives.ed25519Verify(publicKey, data, new Uint8Array(0))).toBe(false);
    for (let bit = 0; bit < 8 * signature.length; bit++) {
      const altered = signature.slice();
      altered[bit >> 3]! ^= 1 << (bit & 7);
      expect(primitives.ed25519Verify(publicKey, data, altered)).toBe(false);
    }
    expect(primitives.ed25519Verify(publicKey, data, signature)).toBe(true);
  });
});

test('random octets come in the length asked for and never twice', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(9000), { maxLength: 20 }), (lengths) => {
      const drawn = lengths.map((length) => primitives.random(length));
      expect(drawn.map((octets) => octets.length)).toEqual(lengths);
      const long = drawn.filter((octets) => octets.length >= 16).map((octets) => octets.toHex());
      expect(new Set(long).size).toBe(long.length);
    }),
  );
  const many = Array.from({ length: 2000 }, () => primitives.random(16).toHex());
  expect(new Set(many).size).toBe(many.length);
});
