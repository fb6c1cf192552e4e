import { expect, test } from 'vitest';
import { issueCertificate, namesFit } from '../../src/crypto/certificate.ts';
import { memberOf, primitives } from './fixtures.ts';

const ca = primitives.ed25519Generate();
const { octets: _, ...content } = memberOf(ca, 'a').certificate;

test('names fit exactly if a certificate can be issued for them', () => {
  const label = 'a'.repeat(60);
  const groups = Array.from({ length: 8 }, (_, i) => `${i}`.padEnd(30, 'g'));
  const outcomes = new Set<boolean>();
  for (let length = 80; length <= 100; length++) {
    const fqdn = `${label}.${'b'.repeat(length - 61)}`;
    const issue = () => issueCertificate(primitives, ca.privateKey, { ...content, fqdn, groups });
    const fits = namesFit(fqdn, groups);
    outcomes.add(fits);
    if (fits) expect(issue().octets.length).toBeLessThanOrEqual(512);
    else expect(issue).toThrow();
  }
  expect(outcomes.size).toBe(2);
  expect(
    namesFit(
      'a.example',
      [...groups.slice(0, 8), 'h'].map((_, i) => `${i}`),
    ),
  ).toBe(false);
});
