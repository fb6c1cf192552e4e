/** A network with a CA and devices, for tests of everything that checks certificates. */

import { type Certificate, type CertificateContent, issueCertificate } from '../../src/crypto/certificate.ts';
import { generateIdentity, type Identity, publicIdentity } from '../../src/crypto/identity.ts';
import { nodePrimitives } from '../../src/crypto/node.ts';
import type { KeyPair } from '../../src/crypto/primitives.ts';
import { evpAead } from '../../src/sys/evp.ts';

export const primitives = nodePrimitives(evpAead);

/** Unix seconds around which certificates of these tests are valid. */
export const NOW = 1_800_000_000;
export const WALL = NOW * 1000;
export const DAY = 86_400;

export type Member = { readonly nodeId: string; readonly identity: Identity; readonly certificate: Certificate };

export function memberOf(ca: KeyPair, name: string, changes: Partial<CertificateContent> = {}): Member {
  const identity = generateIdentity(primitives);
  const content: CertificateContent = {
    nodeId: primitives.random(16).toHex(),
    fqdn: `${name}.lab.example`,
    vip4: '100.80.0.2',
    vip6: 'fd00::2',
    ...publicIdentity(identity),
    groups: [],
    notBefore: NOW - DAY,
    notAfter: NOW + 6 * DAY,
    ...changes,
  };
  return { nodeId: content.nodeId, identity, certificate: issueCertificate(primitives, ca.privateKey, content) };
}
