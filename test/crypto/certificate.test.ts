import { describe, expect, test } from 'vitest';
import {
  type CertificateContent,
  certificateHash,
  issueCertificate,
  isTimely,
  readCertificate,
  verifyCertificate,
} from '../../src/crypto/certificate.ts';
import { formatAddress } from '../../src/lib/ip.ts';
import { CERTIFICATE_SKEW_MS, MAX_CERTIFICATE } from '../../src/proto/constants.ts';
import fc from '../support/property.ts';
import { DAY, memberOf, NOW, primitives, WALL } from './fixtures.ts';

const ca = primitives.ed25519Generate();
const verify = (octets: Uint8Array, wall = WALL, key = ca.publicKey) =>
  verifyCertificate(primitives, octets, key, wall);
const issue = (content: CertificateContent) => issueCertificate(primitives, ca.privateKey, content);
const { certificate } = memberOf(ca, 'a', { groups: ['cameras', 'office'] });
const { octets: _, ...plainContent } = certificate;

/** Re-signs a body that `issueCertificate` would never make. */
function signed(body: Uint8Array): Uint8Array {
  const label = Buffer.from('cyphonic node certificate v1\0');
  return new Uint8Array(Buffer.concat([body, primitives.ed25519Sign(ca.privateKey, Buffer.concat([label, body]))]));
}

const octets = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const name = fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,14}[a-z0-9]$/);
const content: fc.Arbitrary<CertificateContent> = fc.record({
  nodeId: octets(16).map((id) => `${id.toHex().slice(0, 31)}1`),
  fqdn: fc.array(name, { minLength: 1, maxLength: 5 }).map((labels) => labels.join('.')),
  vip4: fc.option(octets(4).map((a) => formatAddress(Uint8Array.of(100, ...a.slice(1))))),
  vip6: fc.option(octets(16).map((a) => formatAddress(Uint8Array.of(0xfd, ...a.slice(1))))),
  signKey: octets(32),
  handshakeKey: octets(32),
  groups: fc.uniqueArray(name, { maxLength: 8 }),
  notBefore: fc.integer({ min: 0, max: 2 ** 31 }),
  notAfter: fc.integer({ min: 2 ** 31 + 1, max: 2 ** 32 - 1 }),
});

describe('issuing', () => {
  test('what is issued reads and verifies back as it was', () => {
    fc.assert(
      fc.property(content, (wanted) => {
        const made = issue(wanted);
        expect(made.octets.length).toBeLessThanOrEqual(MAX_CERTIFICATE);
        const expected = { ...wanted, groups: [...wanted.groups].sort(), octets: made.octets };
        expect(made).toEqual(expected);
        expect(verify(made.octets, (wanted.notBefore + 1) * 1000)).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });

  test('groups in any order, even repeated, give the same certificate', () => {
    const again = issue({ ...plainContent, groups: ['office', 'cameras', 'office'] });
    expect(again.octets).toEqual(certificate.octets);
  });

  const longName = `${'x'.repeat(63)}.${'x'.repeat(63)}.${'x'.repeat(63)}.${'x'.repeat(61)}`;

  test('the longest name fits, with small groups beside it', () => {
    const groups = [...'abcdefgh'].map((group) => group.repeat(9));
    expect(issue({ ...plainContent, fqdn: longName, groups }).octets.length).toBe(177 + 253 + 79);
  });

  test.each([
    ['nine groups', { groups: [...'abcdefghi'] }],
    ['more than fits', { fqdn: longName, groups: [...'abcdefgh'].map((group) => group.repeat(12)) }],
    ['a group in capitals', { groups: ['Office'] }],
    ['an empty group', { groups: [''] }],
    ['a group with a comma', { groups: ['a,b'] }],
    ['a name in capitals', { fqdn: 'A.lab.example' }],
    ['a name with a final dot', { fqdn: 'a.lab.example.' }],
    ['an empty name', { fqdn: '' }],
    ['a name with an empty label', { fqdn: 'a..example' }],
    ['a label that ends in a hyphen', { fqdn: 'a-.example' }],
    ['a label of 64 octets', { fqdn: `${'x'.repeat(64)}.example` }],
    ['a name of 254 octets', { fqdn: `${longName}x` }],
    ['no NodeID', { nodeId: '0'.repeat(32) }],
    ['an empty validity', { notBefore: NOW, notAfter: NOW }],
  ])('refuses %s', (_, changes) => {
    expect(() => issue({ ...plainContent, ...changes })).toThrow('no certificate can be made');
  });
});

describe('verifying', () => {
  test('any flipped bit makes it invalid', () => {
    for (let bit = 0; bit < 8 * certificate.octets.length; bit++) {
      const altered = certificate.octets.slice();
      altered[bit >> 3]! ^= 1 << (bit & 7);
      expect(verify(altered)).toBe('certificate-invalid');
    }
  });

  test('so does any missing or additional octet', () => {
    for (let length = 0; length < certificate.octets.length; length++) {
      expect(readCertificate(certificate.octets.subarray(0, length))).toBe('certificate-invalid');
    }
    expect(readCertificate(Uint8Array.of(...certificate.octets, 0))).toBe('certificate-invalid');
    expect(readCertificate(new Uint8Array(MAX_CERTIFICATE + 1))).toBe('certificate-invalid');
  });

  test('no octets whatever make it throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (noise) => {
        expect(verify(noise)).toBe('certificate-invalid');
      }),
    );
  });

  test('another CA, or one whose key is none', () => {
    expect(verify(certificate.octets, WALL, primitives.ed25519Generate().publicKey)).toBe('certificate-invalid');
    expect(verify(certificate.octets, WALL, new Uint8Array(0))).toBe('certificate-invalid');
  });

  test('a signature over the same octets for another purpose', () => {
    const body = certificate.octets.subarray(0, -64);
    const bare = Buffer.concat([body, primitives.ed25519Sign(ca.privateKey, body)]);
    expect(verify(new Uint8Array(bare))).toBe('certificate-invalid');
  });

  const GROUPS_AT = certificate.octets.length - 64 - 'cameras,office'.length;
  const withText = (at: number, text: string): Uint8Array => {
    const body = certificate.octets.slice(0, -64);
    body.set(Buffer.from(text), at);
    return body;
  };

  test('the CA signing something that is not canonical does not make it so', () => {
    const mapped = withText(0, '');
    mapped.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 100, 80, 0, 2], 21);
    const version2 = withText(0, '\x02');
    const bodies = {
      unsorted: withText(GROUPS_AT, 'office,cameras'),
      repeated: withText(GROUPS_AT, 'abcdef,abcdef,'),
      upperCase: withText(GROUPS_AT, 'Cameras'),
      notUtf8: withText(GROUPS_AT, '').fill(0xff, GROUPS_AT),
      mapped,
      version2,
    };
    for (const [what, body] of Object.entries(bodies))
      expect([what, verify(signed(body))]).toEqual([what, 'certificate-invalid']);
    expect(verify(signed(withText(GROUPS_AT, 'bameras')))).toMatchObject({ groups: ['bameras', 'office'] });
  });

  test('outside its validity it is expired, clocks being allowed to differ a little', () => {
    const [from, to] = [(NOW - DAY) * 1000, (NOW + 6 * DAY) * 1000];
    const at = (wall: number) => typeof verify(certificate.octets, wall);
    expect(verify(certificate.octets, from - CERTIFICATE_SKEW_MS - 1)).toBe('certificate-expired');
    expect(at(from - CERTIFICATE_SKEW_MS)).toBe('object');
    expect(at(to + CERTIFICATE_SKEW_MS - 1)).toBe('object');
    expect(verify(certificate.octets, to + CERTIFICATE_SKEW_MS)).toBe('certificate-expired');
    expect(isTimely(certificate, from, 0)).toBe(true);
    expect(isTimely(certificate, from - 1, 0)).toBe(false);
    expect(isTimely(certificate, to, 0)).toBe(false);
  });

  test('a read certificate does not change with the datagram it came in', () => {
    const datagram = Buffer.from(certificate.octets);
    const read = verify(datagram);
    datagram.fill(0);
    expect(read).toEqual(certificate);
  });
});

test('the hash names one certificate', () => {
  const other = memberOf(ca, 'b').certificate;
  expect(certificateHash(primitives, certificate.octets)).toHaveLength(32);
  expect(certificateHash(primitives, certificate.octets)).not.toEqual(certificateHash(primitives, other.octets));
});
