import { expect, test } from 'vitest';
import { decodeToken, type EnrolmentToken, encodeToken } from '../../src/crypto/token.ts';
import fc from '../support/property.ts';
import { primitives } from './fixtures.ts';

const token: EnrolmentToken = {
  as4: '198.51.100.10',
  as6: '2001:db8:ff::10',
  port: 7440,
  caKey: primitives.random(32),
  rootHash: primitives.random(32),
  domain: 'lab.example',
  deviceId: 'camera-1',
  secret: primitives.random(16),
};

test.each([
  ['both families', {}],
  ['IPv4 only', { as6: null }],
  ['IPv6 only', { as4: null }],
  ['a password instead of a secret', { secret: null }],
  ['a DeviceID beyond ASCII', { deviceId: 'Tür 3' }],
])('comes back as it was: %s', (_, changes) => {
  const text = encodeToken({ ...token, ...changes });
  expect(text).toMatch(/^cyp1_[A-Za-z0-9_-]+$/);
  expect(decodeToken(text)).toEqual({ ...token, ...changes });
  expect(decodeToken(` ${text}\n`)).toEqual({ ...token, ...changes });
});

test.each([
  ['no address', { as4: null, as6: null }],
  ['no port', { port: 0 }],
  ['no domain', { domain: '' }],
  ['no DeviceID', { deviceId: '' }],
  ['a secret of another length', { secret: new Uint8Array(15) }],
])('refuses a token with %s', (_, changes) => {
  expect(decodeToken(encodeToken({ ...token, ...changes }))).toBeNull();
});

test('refuses what is cut off, added to or spelled another way', () => {
  const text = encodeToken(token);
  for (let length = 0; length < text.length; length++) expect(decodeToken(text.slice(0, length))).toBeNull();
  expect(decodeToken(`${text}A`)).toBeNull();
  expect(decodeToken(`${text}=`)).toBeNull();
  expect(decodeToken(`${text.slice(0, 20)} ${text.slice(20)}`)).toBeNull();
  expect(decodeToken(text.replace('cyp1_', 'cyp2_'))).toBeNull();
});

test('no text whatever makes it throw', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(decodeToken(text)).toBeNull();
      expect(decodeToken(`cyp1_${text}`)).toBeNull();
    }),
  );
});
