/** Certificates of devices and of their CAs, as their makers would issue them. */

import 'reflect-metadata';
import { X509Certificate as NodeCertificate, webcrypto } from 'node:crypto';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { TlsIdentity } from '../../src/crypto/tls-certificate.ts';

const sha = (hash: string) => ({ hash });
const rsa = (name: string, bits: number) => ({
  name,
  modulusLength: bits,
  publicExponent: Uint8Array.of(1, 0, 1),
});
const kinds = {
  ec: { name: 'ECDSA', namedCurve: 'P-256' },
  'ec-384': { name: 'ECDSA', namedCurve: 'P-384' },
  rsa: rsa('RSASSA-PKCS1-v1_5', 2_048),
  'rsa-1024': rsa('RSASSA-PKCS1-v1_5', 1_024),
  ed25519: { name: 'Ed25519' },
} as const;

/** A certificate, and what signs others with its key. */
export type Issued = TlsIdentity & { readonly keys: webcrypto.CryptoKeyPair; readonly algorithm: webcrypto.Algorithm };

export type CertificateWish = {
  readonly kind?: keyof typeof kinds;
  /** Common name. */
  readonly name: string;
  readonly dnsNames?: readonly string[];
  /** None: it signs itself. */
  readonly issuer?: Issued;
  /** A CA, with at most so many CAs below. */
  readonly ca?: number;
  readonly purpose?: ExtendedKeyUsage;
  readonly usage?: number;
  /** From and until, in days from now. */
  readonly days?: readonly [from: number, until: number];
  readonly hash?: 'SHA-1' | 'SHA-256';
  readonly extensions?: readonly Extension[];
};

export async function makeCertificate(wish: CertificateWish): Promise<Issued> {
  const { kind = 'ec', name, dnsNames = [], issuer, ca, days = [-1, 30], hash = 'SHA-256' } = wish;
  const { purpose = ExtendedKeyUsage.clientAuth, usage = KeyUsageFlags.digitalSignature } = wish;
  const algorithm = { ...kinds[kind], ...sha(hash) } as unknown as webcrypto.Algorithm;
  const keys = (await webcrypto.subtle.generateKey(algorithm as webcrypto.EcKeyGenParams, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair;
  const [notBefore, notAfter] = days.map((day) => new Date(Date.now() + day * 86_400_000));
  const certificate = await X509CertificateGenerator.create(
    {
      subject: [{ CN: [name] }],
      issuer: issuer === undefined ? [{ CN: [name] }] : new NodeCertificate(issuer.certificate).subject,
      notBefore: notBefore!,
      notAfter: notAfter!,
      signingKey: (issuer ?? { keys }).keys.privateKey as CryptoKey,
      publicKey: keys.publicKey as CryptoKey,
      signingAlgorithm: { ...(issuer?.algorithm ?? algorithm), ...sha(hash) } as unknown as Parameters<
        typeof X509CertificateGenerator.create
      >[0]['signingAlgorithm'] &
        object,
      extensions: [
        new BasicConstraintsExtension(ca !== undefined, ca, true),
        new KeyUsagesExtension(ca === undefined ? usage : KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        ...(ca === undefined ? [new ExtendedKeyUsageExtension([purpose])] : []),
        ...(dnsNames.length > 0
          ? [new SubjectAlternativeNameExtension(dnsNames.map((value) => ({ type: 'dns' as const, value })))]
          : []),
        ...(issuer ? [await AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey as CryptoKey)] : []),
        ...(wish.extensions ?? []),
      ],
    },
    webcrypto as Crypto,
  );
  return { certificate: `${certificate.toString('pem')}\n`, privateKey: await pemOf(keys.privateKey), keys, algorithm };
}

async function pemOf(key: webcrypto.CryptoKey): Promise<string> {
  const base64 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key)).toString('base64');
  return `-----BEGIN PRIVATE KEY-----\n${base64.replaceAll(/.{64}/g, '$&\n').trimEnd()}\n-----END PRIVATE KEY-----\n`;
}

/** DER of the certificates of a PEM text. */
export function derOf(...pems: readonly { readonly certificate: string }[]): Uint8Array[] {
  return pems.map(({ certificate }) => Uint8Array.from(new NodeCertificate(certificate).raw));
}

export { ExtendedKeyUsage, Extension, KeyUsageFlags };
