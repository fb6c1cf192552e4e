import { hkdfSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { relayKey, serviceKey, signallingKey } from '../../src/crypto/kdf.ts';
import { SenderKind } from '../../src/proto/options.ts';
import { primitives } from './fixtures.ts';

const base = primitives.random(32);
const instance = primitives.random(16);

test('the signalling key is the HKDF of the protocol', () => {
  const info = Buffer.concat([Buffer.from('cyphonic signalling'), Buffer.of(SenderKind.nms)]);
  const expected = Buffer.from(hkdfSync('sha256', base, instance, info, 32)).toString('hex');
  expect(signallingKey(primitives, base, SenderKind.nms, instance.toHex()).toHex()).toBe(expected);
});

test('base key, kind of sender and instance each change it', () => {
  const keys = [
    ...Object.values(SenderKind).map((kind) => signallingKey(primitives, base, kind, instance.toHex())),
    signallingKey(primitives, base, SenderKind.node, primitives.random(16).toHex()),
    signallingKey(primitives, primitives.random(32), SenderKind.node, instance.toHex()),
  ];
  expect(new Set(keys.map((key) => key.toHex())).size).toBe(keys.length);
});

test('the relay key is the HKDF of the protocol, and not the Tunnel Key', () => {
  const expected = Buffer.from(hkdfSync('sha256', base, Buffer.alloc(0), 'cyphonic relay', 32)).toString('hex');
  expect(relayKey(primitives, base).toHex()).toBe(expected);
  expect(relayKey(primitives, base)).not.toEqual(base);
});

test('two services derive one key, others another', () => {
  const [nms, trs, foreign] = [0, 1, 2].map(() => primitives.x25519Generate()) as [KeyPair, KeyPair, KeyPair];
  const key = serviceKey(primitives, nms, trs.publicKey);
  expect(key).toHaveLength(32);
  expect(serviceKey(primitives, trs, nms.publicKey)).toEqual(key);
  expect(serviceKey(primitives, foreign, nms.publicKey)).not.toEqual(key);
  expect(serviceKey(primitives, nms, new Uint8Array(32))).toBeNull();
});

type KeyPair = ReturnType<typeof primitives.x25519Generate>;
