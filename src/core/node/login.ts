/** The device's side of a login over TLS (protocol section 4.1), without I/O: octets of the messages in and out. */

import { verifyCertificate } from '../../crypto/certificate.ts';
import { type Identity, publicIdentity, signLogin } from '../../crypto/identity.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import { sameOctets } from '../../lib/bytes.ts';
import type { AddressMode } from '../../lib/device.ts';
import { type Address, type Endpoint, type Prefix, parsePrefix } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import { decodePlain, encodePlain, type MessageOf } from '../../proto/codec.ts';
import { Port, type Suite, suiteNames } from '../../proto/constants.ts';
import { AuthType, ExecMode, Flag } from '../../proto/messages.ts';
import type { Options, Refusal } from '../../proto/options.ts';
import type { Session } from './types.ts';

export type LoginRequest = {
  readonly deviceId: string;
  /** Enrolment secret or password at the first login; null = by certificate and login key. */
  readonly password: Uint8Array | null;
  readonly certificate: Uint8Array | null;
  /** Of a general node that is let in by it, as its adapter saw it. */
  readonly mac?: Uint8Array;
  readonly mode?: AddressMode;
  readonly identity: Identity;
  /** exportKeyingMaterial(32, 'EXPORTER-cyphonic-login') of this TLS connection. */
  readonly exporter: Uint8Array;
};

export type LoginOutcome =
  | { readonly status: 'accepted'; readonly session: Session }
  | { readonly status: 'refused'; readonly reason: Refusal | null }
  /** The answer is not acceptable: foreign CA, other keys than ours, malformed. */
  | { readonly status: 'invalid'; readonly why: string };

const ABSENT_ID = '0'.repeat(32);
const KEY_LENGTH = 32;
/** Of the first exchange on a connection. */
const TRANSACTION_ID = 1;
const nothing = new Uint8Array(0);

export function buildLoginRequest(
  primitives: Primitives,
  request: LoginRequest,
  transactionId = TRANSACTION_ID,
): Uint8Array {
  const { deviceId, password, certificate, mac, mode = 'dual', identity, exporter } = request;
  const byCertificate = mac === undefined && password === null && certificate !== null;
  return encodePlain({
    type: 'loginRequest',
    id: ABSENT_ID,
    transactionId,
    body: {
      applicationId: ABSENT_ID,
      authType: mac !== undefined ? AuthType.mac : byCertificate ? AuthType.certificate : AuthType.password,
      execMode: ExecMode[mode],
      deviceId,
      password: mac ?? password ?? nothing,
      certificate: byCertificate ? certificate : nothing,
    },
    options: {
      identity: { ...publicIdentity(identity), signature: signLogin(primitives, identity, exporter) },
    },
  });
}

/** Interprets one whole message from the AS. */
export function readLoginResponse(
  primitives: Primitives,
  request: LoginRequest,
  caPublicKey: Uint8Array,
  octets: Uint8Array,
  now: Now,
  transactionId = TRANSACTION_ID,
): LoginOutcome {
  const message = decodePlain(octets);
  if (typeof message === 'string') return invalid(`a malformed message: ${message}`);
  const answersUs = message.transactionId === transactionId && (message.flags & Flag.response) !== 0;
  if (!answersUs) return invalid('a message that answers no request');
  if ((message.flags & Flag.failure) !== 0) {
    return { status: 'refused', reason: (message.options.refusal?.reason as Refusal | undefined) ?? null };
  }
  if (message.type !== 'loginResponse') return invalid(`${message.type} instead of a login response`);
  return readSession(primitives, request, caPublicKey, message, now);
}

/** Sent after the new session is on disk. */
export function buildLoginAck(session: Session, transactionId = TRANSACTION_ID): Uint8Array {
  return encodePlain({
    type: 'ack',
    id: session.nodeId,
    transactionId,
    flags: Flag.response,
    body: {},
  });
}

function readSession(
  primitives: Primitives,
  request: LoginRequest,
  caPublicKey: Uint8Array,
  message: MessageOf<'loginResponse'>,
  now: Now,
): LoginOutcome {
  const { body, options } = message;
  if (options.certificate === undefined || options.network === undefined) return invalid('no certificate or network');
  const certificate = verifyCertificate(primitives, options.certificate.certificate, caPublicKey, now.wall);
  if (typeof certificate === 'string') return invalid(certificate);
  const own = publicIdentity(request.identity);
  const isOurs =
    certificate.nodeId === message.id &&
    certificate.fqdn === body.fqdn &&
    certificate.vip4 === body.virtual4 &&
    certificate.vip6 === body.virtual6 &&
    sameOctets(certificate.signKey, own.signKey) &&
    sameOctets(certificate.handshakeKey, own.handshakeKey);
  if (!isOurs) return invalid('a certificate for another device');
  if (body.commonKey.length !== KEY_LENGTH) return invalid(`a Common Key of ${body.commonKey.length} octets`);
  if (!isSuite(body.cipherType)) return invalid(`unknown cipher suite ${body.cipherType}`);
  const port = options.nmsPort?.port ?? Port.nms;
  const session: Session = {
    nodeId: message.id,
    fqdn: certificate.fqdn,
    vip4: certificate.vip4,
    vip6: certificate.vip6,
    commonKey: body.commonKey,
    suite: body.cipherType,
    certificate: certificate.octets,
    certificateExpires: certificate.notAfter * 1000,
    caPublicKey,
    nms4: endpointOf(body.nms4, port),
    nms6: endpointOf(body.nms6, port),
    streams: (options.streams?.list ?? []).map((endpoint) => ({ ...endpoint, over: 'tls' })),
    overlay: overlayOf(options.network),
    domain: options.network.domain,
  };
  if (session.nms4 === null && session.nms6 === null) return invalid('no NMS address');
  return { status: 'accepted', session };
}

function invalid(why: string): LoginOutcome {
  return { status: 'invalid', why };
}

function isSuite(value: number): value is Suite {
  return value in suiteNames;
}

function endpointOf(address: Address | null, port: number): Endpoint | null {
  return address === null ? null : { address, port };
}

function overlayOf(network: NonNullable<Options['network']>): Prefix[] {
  const ranges = [
    [network.prefix4, network.length4],
    [network.prefix6, network.length6],
  ] as const;
  return ranges.flatMap(([address, length]) => {
    const prefix = address === null ? null : parsePrefix(`${address}/${length}`);
    return prefix === null ? [] : [prefix];
  });
}
