import { expect, test } from 'vitest';
import {
  decodeIdentity,
  encodeIdentity,
  generateIdentity,
  publicIdentity,
  signLogin,
  verifyLogin,
} from '../../src/crypto/identity.ts';
import { primitives } from './fixtures.ts';

const identity = generateIdentity(primitives);
const exporter = primitives.random(32);

test('an identity survives being stored', () => {
  expect(decodeIdentity(primitives, encodeIdentity(identity))).toEqual(identity);
});

test('a damaged identity is noticed, wherever the damage is', () => {
  const stored = encodeIdentity(identity);
  for (let length = 0; length < stored.length; length++) {
    expect(decodeIdentity(primitives, stored.subarray(0, length))).toBeNull();
  }
  expect(decodeIdentity(primitives, Uint8Array.of(...stored, 0))).toBeNull();
  for (const at of [0, 1, 20, 40, 60, 66, 75, 100, 120]) {
    const damaged = stored.slice();
    damaged[at]! ^= 0x10;
    expect(decodeIdentity(primitives, damaged)).toBeNull();
  }
});

test('a login proof is good for its connection and both keys, no other', () => {
  const keys = publicIdentity(identity);
  const other = publicIdentity(generateIdentity(primitives));
  const proof = signLogin(primitives, identity, exporter);
  expect(verifyLogin(primitives, keys, exporter, proof)).toBe(true);
  expect(verifyLogin(primitives, keys, primitives.random(32), proof)).toBe(false);
  expect(verifyLogin(primitives, other, exporter, proof)).toBe(false);
  expect(verifyLogin(primitives, { ...keys, handshakeKey: other.handshakeKey }, exporter, proof)).toBe(false);
  expect(verifyLogin(primitives, { ...keys, signKey: other.signKey }, exporter, proof)).toBe(false);
});
