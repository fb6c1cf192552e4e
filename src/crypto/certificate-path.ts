/** Whether a chain of X.509 certificates leads from a device to a CA that is trusted for it (RFC 5280 section 6). */

import { X509Certificate } from 'node:crypto';
import { readConstraints } from './tls-certificate.ts';

/** `unfit`: not for authentication as a client, or made in a way that is no longer safe. */
export type PathFault = 'untrusted' | 'expired' | 'unfit';

const MAX_PATH = 6;
const MIN_RSA_BITS = 2_048;
const clientAuth = ['1.3.6.1.5.5.7.3.2', '2.5.29.37.0'];
/** Extensions that are looked at here: basic constraints, key usage, its extension, and names. */
const understood = ['2.5.29.19', '2.5.29.15', '2.5.29.37', '2.5.29.17'];

/** The certificates of a PEM text; null if one of them can't be read, or there is none. */
export function readCertificates(pem: string): X509Certificate[] | null {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  const certificates = parseAll(blocks);
  return certificates?.length ? certificates : null;
}

/** `chain` begins with the device's own certificate (DER); what follows may help in any order. `wall`: Unix milliseconds. */
export function checkPath(
  chain: readonly Uint8Array[],
  trusted: readonly X509Certificate[],
  wall: number,
): PathFault | null {
  const shown = chain.length > MAX_PATH ? null : parseAll(chain);
  if (!shown?.[0]) return 'unfit';
  const path = [shown[0]];
  for (;;) {
    const last = path.at(-1)!;
    const root = trusted.find((it) => isIssuer(it, last));
    if (root !== undefined) {
      path.push(root);
      break;
    }
    const next = shown.find((it) => !path.includes(it) && isIssuer(it, last));
    if (next === undefined) return 'untrusted';
    path.push(next);
  }
  if (path.some(({ validFromDate, validToDate }) => +validFromDate > wall || +validToDate < wall)) return 'expired';
  return path.every(isFit) ? null : 'unfit';
}

/** Whether a certificate (DER) carries one of these names: as a DNS name, or as its common name. */
export function isNamed(certificate: Uint8Array, names: readonly string[]): boolean {
  const options = { subject: 'always', wildcards: false } as const;
  const parsed = parseAll([certificate])?.[0];
  return parsed !== undefined && names.some((name) => parsed.checkHost(name, options) !== undefined);
}

/** Whether a certificate (DER) was issued by this one (PEM) itself. */
export function isIssuedBy(certificate: Uint8Array, issuer: string): boolean {
  const [subject, root] = parseAll([certificate, issuer]) ?? [];
  return subject !== undefined && root !== undefined && isIssuer(root, subject);
}

function parseAll(encoded: readonly (Uint8Array | string)[]): X509Certificate[] | null {
  try {
    return encoded.map((it) => new X509Certificate(it));
  } catch {
    return null;
  }
}

/** That an issuer is a CA at all (`ca`) includes that its key usage says so; `checkIssued` compares names and identifiers. */
function isIssuer(issuer: X509Certificate, subject: X509Certificate): boolean {
  return issuer.ca && subject.checkIssued(issuer) && subject.verify(issuer.publicKey);
}

/** `at` counts from the device's certificate, which is at 0. */
function isFit(certificate: X509Certificate, at: number, path: readonly X509Certificate[]): boolean {
  const { keyUsage: purposes, publicKey, signatureAlgorithm } = certificate;
  const constraints = readConstraints(certificate.raw);
  if (constraints === null || constraints.critical.some((type) => !understood.includes(type))) return false;
  const weak = (publicKey.asymmetricKeyDetails?.modulusLength ?? MIN_RSA_BITS) < MIN_RSA_BITS;
  // A root's signature of itself proves nothing and may be as it likes.
  const root = at === path.length - 1;
  if (weak || (!root && /sha1|md\d/i.test(signatureAlgorithm ?? ''))) return false;
  if (!root && purposes && !purposes.some((purpose) => clientAuth.includes(purpose))) return false;
  // Section 4.2.1.9: CAs between this one and the device.
  return at === 0 ? constraints.maySign : at - 1 <= (constraints.pathLength ?? MAX_PATH);
}
