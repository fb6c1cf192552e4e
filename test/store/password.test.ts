import { expect, test } from 'vitest';
import { hashSecret, verifySecret } from '../../src/store/password.ts';

const secret = (text: string) => new TextEncoder().encode(text);

test('a secret verifies against its own hash only', async () => {
  const [a, b] = await Promise.all([hashSecret(secret('correct')), hashSecret(secret('correct'))]);
  expect(a).not.toBe(b);
  expect(a).toMatch(/^scrypt\$14\$8\$5\$[\w-]{22}\$[\w-]{43}$/);
  expect(await Promise.all([a, b].map((hash) => verifySecret(secret('correct'), hash)))).toEqual([true, true]);
  expect(await Promise.all(['', 'Correct', 'correct '].map((text) => verifySecret(secret(text), a)))).toEqual([
    false,
    false,
    false,
  ]);
});

test('hashes with other parameters go on counting', async () => {
  // RFC 7914 section 12: "pleaseletmein" / "SodiumChloride", N = 16384, r = 8, p = 1, the first 32 octets.
  const hash = Buffer.from('7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2', 'hex').toString(
    'base64url',
  );
  const stored = `scrypt$14$8$1$${Buffer.from('SodiumChloride').toString('base64url')}$${hash}`;
  expect(await verifySecret(secret('pleaseletmein'), stored)).toBe(true);
  expect(await verifySecret(secret('pleaseletmeout'), stored)).toBe(false);
});

test('nothing verifies against no hash or a damaged one, after the same work', async () => {
  for (const stored of [null, '', 'scrypt$14$8$5$c2FsdA', 'plain$x']) {
    expect(await verifySecret(secret(''), stored)).toBe(false);
  }
});
