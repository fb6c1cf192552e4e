/** Judges a transcript by which the client of a TLS handshake shows that it holds the key of its certificate. */

import { constants, createHash, verify, X509Certificate } from 'node:crypto';
import { concat } from '../lib/bytes.ts';
import { firstMessage, HandshakeType, readChain, readServerHello, readSignature, suites13 } from './tls-messages.ts';

/** Chains (DER) as they were shown, the end entity first. */
export type ClientProof = { readonly server: readonly Uint8Array[]; readonly client: readonly Uint8Array[] };

const t = HandshakeType;
/** Handshakes up to the client's signature: RFC 5246 figure 1 with RFC 6066 section 8; RFC 8446 figures 1 and 2. */
const flow12 = flow(
  [t.clientHello, t.serverHello, t.certificate],
  [t.certificateStatus],
  [
    t.serverKeyExchange,
    t.certificateRequest,
    t.serverHelloDone,
    t.certificate,
    t.clientKeyExchange,
    t.certificateVerify,
  ],
);
const flow13 = flow(
  [],
  [t.clientHello, t.serverHello],
  [
    t.clientHello,
    t.serverHello,
    t.encryptedExtensions,
    t.certificateRequest,
    t.certificate,
    t.certificateVerify,
    t.finished,
    t.certificate,
    t.certificateVerify,
  ],
);

function flow(before: readonly number[], optional: readonly number[], after: readonly number[]): RegExp {
  return new RegExp(`^${before.map((type) => `${type} `).join('')}(?:${optional.join(' ')} )?${after.join(' ')}$`);
}

/** Signature schemes (RFC 8446 section 4.2.3) that are still worth something; PKCS #1 with TLS 1.2 only. */
const schemes = new Map<number, { key: string; hash: string | null; pss?: true; only12?: true }>([
  [0x0401, { key: 'rsa', hash: 'sha256', only12: true }],
  [0x0501, { key: 'rsa', hash: 'sha384', only12: true }],
  [0x0601, { key: 'rsa', hash: 'sha512', only12: true }],
  [0x0403, { key: 'ec', hash: 'sha256' }],
  [0x0503, { key: 'ec', hash: 'sha384' }],
  [0x0603, { key: 'ec', hash: 'sha512' }],
  [0x0804, { key: 'rsa', hash: 'sha256', pss: true }],
  [0x0805, { key: 'rsa', hash: 'sha384', pss: true }],
  [0x0806, { key: 'rsa', hash: 'sha512', pss: true }],
  [0x0809, { key: 'rsa-pss', hash: 'sha256', pss: true }],
  [0x080a, { key: 'rsa-pss', hash: 'sha384', pss: true }],
  [0x080b, { key: 'rsa-pss', hash: 'sha512', pss: true }],
  [0x0807, { key: 'ed25519', hash: null }],
  [0x0808, { key: 'ed448', hash: null }],
]);

/** RFC 8446 section 4.4.3. */
const SIGNED_BEFORE = Buffer.from(`${' '.repeat(64)}TLS 1.3, client CertificateVerify\0`);
/** RFC 8446 section 4.4.1: stands for the first ClientHello once the server has asked for another. */
const MESSAGE_HASH = 254;

/** Whose chains they are; null if the transcript is none, or not signed with the key of the client's certificate. */
export function readClientProof(transcript: Uint8Array): ClientProof | null {
  const messages: Uint8Array[] = [];
  for (let rest = transcript; rest.length > 0; ) {
    const message = firstMessage(rest);
    if (message === null) return null;
    messages.push(message);
    rest = rest.subarray(message.length);
  }
  const hellos = messages.filter(([type]) => type === t.serverHello).map(readServerHello);
  const suite = suites13.get(hellos.at(-1)?.suite ?? 0);
  const types = messages.map(([type]) => type).join(' ');
  if (!(suite === undefined ? flow12 : flow13).test(types)) return null;
  if (hellos.some((hello, i) => hello?.retry !== i < hellos.length - 1)) return null;

  const [server, client] = messages
    .filter(([type]) => type === t.certificate)
    .map((message) => readChain(message, suite !== undefined));
  const said = messages.slice(0, -1);
  const signed =
    suite === undefined
      ? concat(...said)
      : concat(SIGNED_BEFORE, digest(suite.hash, hellos.length > 1 ? withoutFirst(said, suite.hash) : said));
  if (!server || !client?.[0] || !isSigned(client[0], messages.at(-1)!, signed, suite === undefined)) return null;
  return { server, client };
}

function withoutFirst([first, ...others]: readonly Uint8Array[], hash: string): Uint8Array[] {
  const digested = digest(hash, [first!]);
  return [Uint8Array.of(MESSAGE_HASH, 0, 0, digested.length), digested, ...others];
}

function digest(hash: string, parts: readonly Uint8Array[]): Uint8Array {
  return createHash(hash)
    .update(concat(...parts))
    .digest();
}

function isSigned(certificate: Uint8Array, verifying: Uint8Array, signed: Uint8Array, tls12: boolean): boolean {
  const found = readSignature(verifying);
  const scheme = schemes.get(found?.scheme ?? 0);
  if (found === null || scheme === undefined || (scheme.only12 && !tls12)) return false;
  try {
    const key = new X509Certificate(certificate).publicKey;
    if (key.asymmetricKeyType !== scheme.key) return false;
    const padding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
    return verify(scheme.hash, signed, scheme.pss ? { key, ...padding } : key, found.signature);
  } catch {
    // No certificate, or a key OpenSSL does not take.
    return false;
  }
}
