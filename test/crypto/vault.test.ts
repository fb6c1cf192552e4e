import { describe, expect, test } from 'vitest';
import { generateIdentity } from '../../src/crypto/identity.ts';
import { openVault, sealVault } from '../../src/crypto/vault.ts';
import { primitives } from './fixtures.ts';

const identity = generateIdentity(primitives);
const bound = Buffer.from('a certificate');
const content = Buffer.from('where the others are');
const sealed = sealVault(primitives, identity, bound, content);

describe('what is sealed under an identity', () => {
  test('opens under that identity, and says nothing without', () => {
    expect(openVault(primitives, identity, bound, sealed)).toEqual(new Uint8Array(content));
    expect(Buffer.from(sealed).includes('others')).toBe(false);
  });

  test('has another key each time', () => {
    const again = sealVault(primitives, identity, bound, content);
    expect(again.subarray(-content.length)).not.toEqual(sealed.subarray(-content.length));
    expect(again.subarray(1, 17)).not.toEqual(sealed.subarray(1, 17));
  });

  test('does not open under another identity, nor bound to something else', () => {
    expect(openVault(primitives, generateIdentity(primitives), bound, sealed)).toBeNull();
    expect(openVault(primitives, identity, Buffer.from('a later certificate'), sealed)).toBeNull();
  });

  test('does not open once any octet is changed, missing or added', () => {
    for (let i = 0; i < sealed.length; i++) {
      const changed = Uint8Array.from(sealed);
      changed[i]! ^= 1;
      expect(openVault(primitives, identity, bound, changed), `octet ${i}`).toBeNull();
      expect(openVault(primitives, identity, bound, sealed.subarray(0, i)), `${i} octets`).toBeNull();
    }
    expect(openVault(primitives, identity, bound, Uint8Array.of(...sealed, 0))).toBeNull();
  });
});
