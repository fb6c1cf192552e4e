import { X509Certificate } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { checkPath, isIssuedBy, isNamed, readCertificates } from '../../src/crypto/certificate-path.ts';
import {
  derOf,
  ExtendedKeyUsage,
  Extension,
  type Issued,
  KeyUsageFlags,
  makeCertificate,
} from '../support/certificates.ts';

const wall = Date.now();
const DAY = 86_400_000;
let maker: Issued;
let factory: Issued;
let camera: Issued;

beforeAll(async () => {
  maker = await makeCertificate({ name: 'Maker', ca: 1, days: [-1, 300] });
  factory = await makeCertificate({ name: 'Factory', ca: 0, issuer: maker, days: [-1, 200] });
  camera = await makeCertificate({ name: 'cam1', issuer: factory });
});

const check = (chain: readonly Issued[], trusted: readonly Issued[] = [maker], at = wall) =>
  checkPath(
    derOf(...chain),
    trusted.map(({ certificate }) => new X509Certificate(certificate)),
    at,
  );

describe('a chain', () => {
  it('leads to the trusted CA, in any order', async () => {
    const other = await makeCertificate({ name: 'Other', ca: 0, issuer: maker });
    expect(check([camera, factory])).toBeNull();
    expect(check([camera, maker, other, factory])).toBeNull();
    expect(check([camera], [other, factory])).toBeNull();
  });

  it('that is a CA alone is no device', async () => {
    const pinned = await makeCertificate({ name: 'cam2', ca: 0 });
    // Signs certificates, and by its key usage nothing else.
    expect(check([pinned], [pinned])).toBe('unfit');
  });

  it('leads elsewhere', async () => {
    const namesake = await makeCertificate({ name: 'Maker', ca: 1 });
    const forged = await makeCertificate({ name: 'cam1', issuer: namesake });
    expect(check([forged])).toBe('untrusted');
    expect(check([forged, namesake])).toBe('untrusted');
    expect(check([camera])).toBe('untrusted');
    expect(check([camera, factory], [])).toBe('untrusted');
  });

  it('goes over one that is no CA', async () => {
    const forged = await makeCertificate({ name: 'cam9', issuer: camera });
    expect(check([forged, camera, factory])).toBe('untrusted');
  });

  it('goes over more CAs than a CA allows', async () => {
    const workshop = await makeCertificate({ name: 'Workshop', ca: 0, issuer: factory });
    expect(check([await makeCertificate({ name: 'cam3', issuer: workshop }), workshop, factory])).toBe('unfit');
  });

  it.each([
    ['at its end', 31],
    ['of a CA', 250],
    ['before it begins', -2],
  ])('is out of its time: %s', (_, days) => {
    expect(check([camera, factory], [maker], wall + days * DAY)).toBe('expired');
  });

  it.each([
    ['has no digital signatures among its uses', { usage: KeyUsageFlags.keyAgreement }],
    ['is for servers', { purpose: ExtendedKeyUsage.serverAuth }],
    ['has a short RSA key', { kind: 'rsa-1024' }],
    ['is signed by way of SHA-1', { hash: 'SHA-1' }],
    ['has an extension that must be understood', { extensions: [new Extension('1.2.3.4', true, new Uint8Array(2))] }],
  ] as const)('%s', async (_, wish) => {
    expect(check([await makeCertificate({ name: 'cam4', issuer: maker, ...wish })])).toBe('unfit');
  });

  it.each(['rsa', 'ec', 'ec-384', 'ed25519'] as const)('of a key of kind %s', async (kind) => {
    expect(check([await makeCertificate({ name: 'cam5', issuer: maker, kind })])).toBeNull();
  });

  it('is none', () => {
    const trusted = [new X509Certificate(maker.certificate)];
    expect(checkPath([], trusted, wall)).toBe('unfit');
    expect(checkPath([Uint8Array.of(0x30, 0x80)], trusted, wall)).toBe('unfit');
    expect(check([camera, factory, factory, factory, factory, factory, factory])).toBe('unfit');
  });
});

it('a name is a DNS name or the common name, whole and whatever its case', async () => {
  const [both] = derOf(
    await makeCertificate({ name: 'CAM1', dnsNames: ['serial-4711.maker.example', '*.lab.example'] }),
  );
  expect(isNamed(both!, ['cam1'])).toBe(true);
  expect(isNamed(both!, ['x', 'Serial-4711.maker.example'])).toBe(true);
  expect(isNamed(both!, ['cam1.lab.example', 'cam', 'maker.example'])).toBe(false);
  expect(isNamed(Uint8Array.of(1), ['cam1'])).toBe(false);
});

it('who issued a certificate', () => {
  const [der] = derOf(factory);
  expect(isIssuedBy(der!, maker.certificate)).toBe(true);
  expect(isIssuedBy(der!, camera.certificate)).toBe(false);
  expect(isIssuedBy(Uint8Array.of(1), maker.certificate)).toBe(false);
});

it('certificates are read from a PEM text', () => {
  expect(readCertificates(`text\n${maker.certificate}\n${factory.certificate}`)).toHaveLength(2);
  expect(readCertificates('text')).toBeNull();
  expect(readCertificates('-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----')).toBeNull();
});
