/**
 * Node certificates (protocol section 2.1): the network's CA vouches for who a device is. One encoding per certificate,
 * at most 512 octets, big-endian:
 *
 *   version 8, NodeID 128, virtual IPv4 32, virtual IPv6 128, Ed25519 key 256, X25519 key 256,
 *   not before 32, not after 32 (Unix seconds), FQDN Length 16, Groups Length 16, FQDN, groups joined by commas,
 *   Ed25519 signature 512 over a label and everything before
 */

import { concat, Reader, Writer } from '../lib/bytes.ts';
import { raise } from '../lib/errors.ts';
import type { Address } from '../lib/ip.ts';
import { CERTIFICATE_SKEW_MS, MAX_CERTIFICATE } from '../proto/constants.ts';
import { type Fields, readFields, writeFields } from '../proto/fields.ts';
import type { Primitives } from './primitives.ts';

/** What the CA vouches for. */
export type CertificateContent = {
  readonly nodeId: string;
  readonly fqdn: string;
  readonly vip4: Address | null;
  readonly vip6: Address | null;
  readonly signKey: Uint8Array;
  readonly handshakeKey: Uint8Array;
  /** Sorted, without repetition, at most 8. */
  readonly groups: readonly string[];
  /** Unix seconds; valid from the first to just before the second. */
  readonly notBefore: number;
  readonly notAfter: number;
};

export type Certificate = CertificateContent & {
  /** The certificate itself, as it goes over the wire. */
  readonly octets: Uint8Array;
};

const VERSION = 1;
const KEY_LENGTH = 32;
/** Behind version, NodeID and both virtual addresses. */
const SIGN_KEY_AT = 1 + 16 + 4 + 16;
const HANDSHAKE_KEY_AT = SIGN_KEY_AT + KEY_LENGTH;
const SIGNATURE_LENGTH = 64;
const MAX_GROUPS = 8;
const label = Buffer.from('cyphonic node certificate v1\0');

const subject = [
  ['version', 'u8'],
  ['nodeId', 'id'],
  ['vip4', 'ip4'],
  ['vip6', 'ip6'],
  ['signKey', 'octets32'],
  ['handshakeKey', 'octets32'],
] as const satisfies Fields;

const names = [
  ['fqdn', 'len16'],
  ['groups', 'len16'],
  ['fqdn', 'text'],
  ['groups', 'text'],
] as const satisfies Fields;

const ABSENT_ID = '0'.repeat(32);

/** A host name in lower case (RFC 1123 section 2.1), without the final dot. */
export function isFqdn(text: string): boolean {
  return text.length <= 253 && /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/.test(text);
}

export function isGroupName(text: string): boolean {
  return /^[a-z0-9][a-z0-9._-]{0,31}$/.test(text);
}

/** Octets of a certificate beside its FQDN and groups. */
const FIXED_LENGTH = 113 + SIGNATURE_LENGTH;

/** Whether a certificate has room for this name and these groups. */
export function namesFit(fqdn: string, groups: readonly string[]): boolean {
  return groups.length <= MAX_GROUPS && FIXED_LENGTH + fqdn.length + groups.join(',').length <= MAX_CERTIFICATE;
}

/** Signs a certificate with the CA's private key. Groups may come in any order. */
export function issueCertificate(
  primitives: Primitives,
  caPrivateKey: Uint8Array,
  content: CertificateContent,
): Certificate {
  const groups = [...new Set(content.groups)].sort();
  const to = new Writer();
  writeFields(subject, to, { ...content, version: VERSION });
  to.u32(content.notBefore);
  to.u32(content.notAfter);
  writeFields(names, to, { fqdn: content.fqdn, groups: groups.join(',') });
  to.octets(primitives.ed25519Sign(caPrivateKey, signedText(to.written)));
  const octets = to.written.slice();
  const certificate = readCertificate(octets);
  if (typeof certificate !== 'string' && groups.every(isGroupName)) return certificate;
  return raise('CONFIG_CERTIFICATE', { fqdn: content.fqdn, length: octets.length, limit: MAX_CERTIFICATE });
}

/** The content of a certificate that nobody has verified yet. */
export function readCertificate(octets: Uint8Array): Certificate | 'certificate-invalid' {
  if (octets.length > MAX_CERTIFICATE) return 'certificate-invalid';
  const own = new Uint8Array(octets);
  const from = new Reader(own);
  const head = readFields(subject, from) as Pick<
    CertificateContent,
    'nodeId' | 'vip4' | 'vip6' | 'signKey' | 'handshakeKey'
  > & { readonly version: number };
  const notBefore = from.u32();
  const notAfter = from.u32();
  const { fqdn, groups: joined } = readFields(names, from) as { readonly fqdn: string; readonly groups: string };
  const groups = joined === '' ? [] : joined.split(',');
  from.take(SIGNATURE_LENGTH);
  const { version, ...identity } = head;
  const valid =
    !from.failed &&
    from.left === 0 &&
    version === VERSION &&
    identity.nodeId !== ABSENT_ID &&
    notBefore < notAfter &&
    isFqdn(fqdn) &&
    groups.length <= MAX_GROUPS &&
    groups.every((group, i) => isGroupName(group) && (i === 0 || groups[i - 1]! < group));
  return valid
    ? {
        ...identity,
        // Views: a node has thousands of certificates.
        signKey: own.subarray(SIGN_KEY_AT, HANDSHAKE_KEY_AT),
        handshakeKey: own.subarray(HANDSHAKE_KEY_AT, HANDSHAKE_KEY_AT + KEY_LENGTH),
        fqdn,
        groups,
        notBefore,
        notAfter,
        octets: own,
      }
    : 'certificate-invalid';
}

/** A certificate of this network that is valid now, or why not. `wall` is Unix milliseconds. */
export function verifyCertificate(
  primitives: Primitives,
  octets: Uint8Array,
  caKey: Uint8Array,
  wall: number,
  skew = CERTIFICATE_SKEW_MS,
): Certificate | 'certificate-invalid' | 'certificate-expired' {
  const certificate = readCertificate(octets);
  if (typeof certificate === 'string') return certificate;
  const body = octets.subarray(0, octets.length - SIGNATURE_LENGTH);
  if (!primitives.ed25519Verify(caKey, signedText(body), octets.subarray(body.length))) return 'certificate-invalid';
  return isTimely(certificate, wall, skew) ? certificate : 'certificate-expired';
}

/** Whether a verified certificate is valid at this moment, both clocks being allowed to differ by `skew` milliseconds. */
export function isTimely(certificate: CertificateContent, wall: number, skew = CERTIFICATE_SKEW_MS): boolean {
  return certificate.notBefore * 1000 - skew <= wall && wall < certificate.notAfter * 1000 + skew;
}

/** Names one certificate, signature included. */
export function certificateHash(primitives: Primitives, octets: Uint8Array): Uint8Array {
  return primitives.sha256(octets);
}

function signedText(body: Uint8Array): Uint8Array {
  return concat(label, body);
}
