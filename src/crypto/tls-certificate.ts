/**
 * X.509 certificates of the AS, the controller and adapters: a root of our own, pinned by its hash in enrolment tokens, and
 * server certificates under it. ECDSA P-256, as many TLS stacks refuse Ed25519 chains. The only user of @peculiar/x509.
 */

import 'reflect-metadata';
import { X509Certificate as NodeCertificate, webcrypto } from 'node:crypto';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { Address } from '../lib/ip.ts';

/** A certificate and its private key, both PEM. */
export type TlsIdentity = { readonly certificate: string; readonly privateKey: string };

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
/** Devices keep the root for life; it is replaced with the network only. */
const ROOT_DAYS = 7_300;
const SERVER_DAYS = 397;
/** For a service that has no access to the root's key; what it protects is sealed inside all the same. */
export const SERVICE_DAYS = ROOT_DAYS - 1;
/** Clocks of devices may be behind ours. */
const BACKDATE_MS = DAY_MS;

/** The network's TLS root. `wall` is Unix milliseconds. */
export async function makeTlsRoot(domain: string, wall: number): Promise<TlsIdentity> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      name: [{ CN: [`CYPHONIC ${domain}`] }],
      ...validity(wall, ROOT_DAYS),
      keys: keys as { privateKey: CryptoKey; publicKey: CryptoKey },
      signingAlgorithm: algorithm,
      extensions: [
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(keys.publicKey as CryptoKey),
      ],
    },
    webcrypto as Crypto,
  );
  return { certificate: certificate.toString('pem'), privateKey: await exportKey(keys.privateKey) };
}

/** A server certificate for these names and addresses, signed by the root. */
export async function issueTlsServer(
  root: TlsIdentity,
  names: readonly string[],
  addresses: readonly Address[],
  wall: number,
  days = SERVER_DAYS,
): Promise<TlsIdentity> {
  const { publicKey, privateKey } = await makeTlsKey();
  return { certificate: await certifyTlsServer(root, publicKey, { names, addresses, wall, days }), privateKey };
}

/** A key to be certified: the public one in DER, the private one in PEM. */
export async function makeTlsKey(): Promise<{ readonly publicKey: Uint8Array; readonly privateKey: string }> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const publicKey = new Uint8Array(await webcrypto.subtle.exportKey('spki', keys.publicKey));
  return { publicKey, privateKey: await exportKey(keys.privateKey) };
}

export type ServerNames = {
  readonly names: readonly string[];
  readonly addresses?: readonly Address[];
  /** Unix milliseconds. */
  readonly wall: number;
  readonly days?: number;
};

/** The certificate alone, of somebody else's key; rejects if that is none. */
export async function certifyTlsServer(
  root: TlsIdentity,
  publicKey: Uint8Array,
  { names, addresses = [], wall, days = SERVER_DAYS }: ServerNames,
): Promise<string> {
  const issuer = new NodeCertificate(root.certificate);
  const issuerKey = await importPublic(issuer.publicKey.export({ type: 'spki', format: 'der' }));
  const certificate = await X509CertificateGenerator.create(
    {
      subject: [{ CN: [names[0] ?? ''] }],
      issuer: issuer.subject,
      ...validity(wall, days),
      signingKey: (await importPrivate(root.privateKey)) as CryptoKey,
      publicKey: (await importPublic(publicKey)) as CryptoKey,
      signingAlgorithm: algorithm,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
        new SubjectAlternativeNameExtension([
          ...names.map((value) => ({ type: 'dns' as const, value })),
          ...addresses.map((value) => ({ type: 'ip' as const, value })),
        ]),
        await AuthorityKeyIdentifierExtension.create(issuerKey as CryptoKey),
      ],
    },
    webcrypto as Crypto,
  );
  return certificate.toString('pem');
}

/** SHA-256 of a PEM certificate's DER form, which enrolment tokens pin. */
export function tlsRootHash(certificate: string): Uint8Array {
  return Uint8Array.fromHex(new NodeCertificate(certificate).fingerprint256.replaceAll(':', ''));
}

/** When one of ours (DER) was issued, in Unix milliseconds, to the second. */
export function issuedAt(certificate: Uint8Array): number {
  return new NodeCertificate(certificate).validFromDate.getTime() + BACKDATE_MS;
}

export type Constraints = {
  /** Object identifiers of the extensions that must be understood. */
  readonly critical: readonly string[];
  /** CAs that may follow; null = any number. */
  readonly pathLength: number | null;
  /** Whether the key may make signatures other than on certificates. */
  readonly maySign: boolean;
};

/** What a certificate (DER) says of its own use and OpenSSL doesn't tell; null if it can't be read. */
export function readConstraints(certificate: Uint8Array): Constraints | null {
  try {
    const parsed = new X509Certificate(Uint8Array.from(certificate));
    const usages = parsed.getExtension(KeyUsagesExtension)?.usages ?? KeyUsageFlags.digitalSignature;
    return {
      critical: parsed.extensions.filter(({ critical }) => critical).map(({ type }) => type),
      pathLength: parsed.getExtension(BasicConstraintsExtension)?.pathLength ?? null,
      maySign: (usages & KeyUsageFlags.digitalSignature) !== 0,
    };
  } catch {
    return null;
  }
}

function validity(wall: number, days: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(wall - BACKDATE_MS), notAfter: new Date(wall + days * DAY_MS) };
}

async function importPrivate(pem: string): Promise<webcrypto.CryptoKey> {
  const der = Buffer.from(pem.replaceAll(/-----[^-]+-----/g, ''), 'base64');
  return webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
}

function importPublic(spki: Uint8Array): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('spki', Uint8Array.from(spki), algorithm, true, ['verify']);
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const base64 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key)).toString('base64');
  return `-----BEGIN PRIVATE KEY-----\n${base64.replaceAll(/.{64}/g, '$&\n').trimEnd()}\n-----END PRIVATE KEY-----\n`;
}
