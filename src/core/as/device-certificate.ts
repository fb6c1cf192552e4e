/**
 * Whether a general node came in by its own X.509 certificate: its adapter hands on the TLS handshake that the device
 * signed (EAP-TLS, protocol section 5.3), so that the AS needs nobody's word for it.
 */

import { readCertificate } from '../../crypto/certificate.ts';
import { checkPath, isIssuedBy, isNamed, type PathFault, readCertificates } from '../../crypto/certificate-path.ts';
import { issuedAt } from '../../crypto/tls-certificate.ts';
import { readClientProof } from '../../crypto/tls-proof.ts';
import type { Device } from '../../lib/device.ts';
import { Refusal } from '../../proto/options.ts';

const faults: Record<PathFault, Refusal> = {
  untrusted: Refusal.certificateUntrusted,
  expired: Refusal.certificateExpired,
  unfit: Refusal.certificateUnfit,
};

/**
 * What the adapter shows a device was certified by us no longer ago than this, or a moment ahead by the clock of another
 * replica (ms): nobody can have a signature over it that is older.
 */
const FRESH_MS = 5 * 60_000;
const AHEAD_MS = 60_000;

export type Trust = {
  /** PEM of the CA that was given with the device. */
  readonly trustedCa: string | null;
  /** PEM of the network's TLS root, under which adapters speak TLS to their general nodes. */
  readonly tlsRoot: string;
};

/**
 * What speaks against it; null if nothing does, undefined if no such certificate is shown. `transcript` is the Login's
 * Certificate field, `adapter` proved itself on this connection, `wall` is Unix milliseconds.
 */
export function judgeCertificate(
  transcript: Uint8Array | null,
  device: Device | null,
  adapter: Device | null,
  { trustedCa, tlsRoot }: Trust,
  wall: number,
): Refusal | null | undefined {
  if (transcript === null || adapter === null) return undefined;
  if (device?.auth !== 'certificate' || device.adapter !== adapter.deviceId) return undefined;
  const proof = readClientProof(transcript);
  const [server] = proof?.server ?? [];
  // A handshake with anybody else isn't meant for us.
  const isOurs = server !== undefined && isIssuedBy(server, tlsRoot) && isNamed(server, [adapter.fqdn]);
  if (proof === null || !isOurs) return Refusal.badCredentials;
  if (!isFresh(issuedAt(server), device, wall)) return Refusal.handshakeStale;
  const fault = checkPath(proof.client, readCertificates(trustedCa ?? '') ?? [], wall);
  if (fault !== null) return faults[fault];
  // One CA may have many devices: the certificate must say which it is.
  return isNamed(proof.client[0]!, [device.deviceId, device.fqdn]) ? null : Refusal.certificateName;
}

/** Issued a moment ago, and since the last login of the device, which another handshake was for. */
function isFresh(issued: number, { certificate }: Device, wall: number): boolean {
  const last = certificate === null ? null : readCertificate(certificate);
  const lastLogin = last === null || typeof last === 'string' ? Number.NEGATIVE_INFINITY : last.notBefore * 1_000;
  return issued > wall - FRESH_MS && issued < wall + AHEAD_MS && issued > lastLogin;
}
