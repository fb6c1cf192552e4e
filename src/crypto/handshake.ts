/**
 * How two nodes agree on End Keys (protocol section 2.1). The messages are the End Key fields of Tunnel Request and
 * Tunnel Response. By default Noise with the Temp Key as pre-shared key, certificates as payloads, and a prologue that
 * ties the handshake to one path, epoch and pair of devices; with suite `cbc-md5` the thesis's own exchange.
 *
 * A refusal is a drop reason, nothing throws, and a refused answer leaves a started handshake usable.
 */

import { Writer } from '../lib/bytes.ts';
import { Suite, VERSION } from '../proto/constants.ts';
import { idOctets } from '../proto/header.ts';
import { type Certificate, certificateHash, verifyCertificate } from './certificate.ts';
import { initiateNoise, type NoiseResult, type NoiseSuite, receiveNoise } from './noise.ts';
import type { KeyPair, Primitives } from './primitives.ts';

/** What both ends know before; if they differ in anything of it, the handshake fails. */
export type HandshakeContext = {
  readonly suite: Suite;
  readonly pathId: string;
  readonly epoch: number;
  /** NodeIDs. */
  readonly initiator: string;
  readonly responder: string;
  readonly temporaryKey: Uint8Array;
  /** The network's CA. */
  readonly caKey: Uint8Array;
};

export type OwnCertificates = {
  readonly handshake: KeyPair;
  readonly certificate: Uint8Array;
  /** Hashes of those before the last renewals: an initiator may not have seen the new one yet. */
  readonly previous: readonly Uint8Array[];
};

export type HandshakeRefusal = 'handshake-failed' | 'certificate-invalid' | 'certificate-expired' | 'certificate-name';

export type EndKeys = { readonly send: Uint8Array; readonly receive: Uint8Array };

export type Established = {
  readonly keys: EndKeys;
  /** The peer's latest certificate, proven to be its own; null with `cbc-md5`, where nobody proves anything. */
  readonly peer: Certificate | null;
};

export type StartedHandshake = {
  readonly message: Uint8Array;
  finish(answer: Uint8Array, wall: number): Established | HandshakeRefusal;
};

export type AnsweredHandshake = Established & { readonly message: Uint8Array };

const END_KEY_LENGTH = 32;
const prologueLabel = Buffer.from('cyphonic handshake v1\0');

/** The initiator's side. `responder` is the verified certificate that came with the Route Direction. */
export function startHandshake(
  primitives: Primitives,
  context: HandshakeContext,
  own: OwnCertificates,
  responder: Certificate,
): StartedHandshake | HandshakeRefusal {
  const { suite } = context;
  if (context.temporaryKey.length !== END_KEY_LENGTH) return 'handshake-failed';
  if (responder.nodeId !== context.responder) return 'certificate-name';
  if (suite === Suite.cbcMd5) return startThesisExchange(primitives, context);
  const noise = initiateNoise(
    primitives,
    noiseParameters(context, suite, own, certificateHash(primitives, responder.octets)),
    responder.handshakeKey,
    own.certificate,
  );
  if (noise === null) return 'handshake-failed';
  return {
    message: noise.message,
    finish(answer, wall) {
      const result = noise.finish(answer);
      if (result === null) return 'handshake-failed';
      const peer = verifyPeer(primitives, context, context.responder, result.payload, responder.handshakeKey, wall);
      return typeof peer === 'string' ? peer : { keys: endKeys(result), peer };
    },
  };
}

/** The responder's side. */
export function answerHandshake(
  primitives: Primitives,
  context: HandshakeContext,
  own: OwnCertificates,
  message: Uint8Array,
  wall: number,
): AnsweredHandshake | HandshakeRefusal {
  const { suite } = context;
  if (context.temporaryKey.length !== END_KEY_LENGTH) return 'handshake-failed';
  if (suite === Suite.cbcMd5) return answerThesisExchange(primitives, context, message);
  for (const hash of [certificateHash(primitives, own.certificate), ...own.previous]) {
    const parameters = noiseParameters(context, suite, own, hash);
    const request = receiveNoise(primitives, parameters, message);
    if (request === null) continue;
    const peer = verifyPeer(primitives, context, context.initiator, request.payload, request.remote, wall);
    if (typeof peer === 'string') return peer;
    const result = request.answer(own.certificate);
    return result === null ? 'handshake-failed' : { message: result.message, keys: endKeys(result), peer };
  }
  return 'handshake-failed';
}

function noiseParameters(
  context: HandshakeContext,
  suite: NoiseSuite,
  own: OwnCertificates,
  responderCertificateHash: Uint8Array,
) {
  const prologue = handshakePrologue(context, responderCertificateHash);
  return { suite, prologue, psk: context.temporaryKey, own: own.handshake };
}

/** Label, version 8, suite 16, PathID, epoch 8, both NodeIDs, SHA-256 of the responder's certificate. */
export function handshakePrologue(context: HandshakeContext, responderCertificateHash: Uint8Array): Uint8Array {
  const to = new Writer();
  to.octets(prologueLabel);
  to.u8(VERSION);
  to.u16(context.suite);
  to.octets(idOctets(context.pathId));
  to.u8(context.epoch);
  to.octets(idOctets(context.initiator));
  to.octets(idOctets(context.responder));
  to.octets(responderCertificateHash);
  return to.written;
}

/** The payload must be the certificate of the expected device, and name the very key that the handshake proved. */
function verifyPeer(
  primitives: Primitives,
  context: HandshakeContext,
  nodeId: string,
  payload: Uint8Array,
  provenKey: Uint8Array,
  wall: number,
): Certificate | HandshakeRefusal {
  const certificate = verifyCertificate(primitives, payload, context.caKey, wall);
  if (typeof certificate === 'string') return certificate;
  if (certificate.nodeId !== nodeId) return 'certificate-name';
  return Buffer.compare(certificate.handshakeKey, provenKey) === 0 ? certificate : 'certificate-invalid';
}

function endKeys({ send, receive }: NoiseResult): EndKeys {
  return { send, receive };
}

/**
 * The thesis's exchange: either side makes its End Key and sends it under the Temp Key. Whoever knows the Temp Key reads
 * it, the NMS above all; kept to reproduce the thesis (section 2.2).
 */
function startThesisExchange(primitives: Primitives, context: HandshakeContext): StartedHandshake {
  const send = primitives.random(END_KEY_LENGTH);
  return {
    message: sealEndKey(primitives, context, send),
    finish(answer) {
      const receive = openEndKey(primitives, context, answer);
      return receive === null ? 'handshake-failed' : { keys: { send, receive }, peer: null };
    },
  };
}

function answerThesisExchange(
  primitives: Primitives,
  context: HandshakeContext,
  message: Uint8Array,
): AnsweredHandshake | HandshakeRefusal {
  const receive = openEndKey(primitives, context, message);
  if (receive === null) return 'handshake-failed';
  const send = primitives.random(END_KEY_LENGTH);
  return { message: sealEndKey(primitives, context, send), keys: { send, receive }, peer: null };
}

function sealEndKey(primitives: Primitives, context: HandshakeContext, endKey: Uint8Array): Uint8Array {
  const aead = primitives.aead(Suite.cbcMd5, context.temporaryKey);
  const sealed = new Uint8Array(aead.sealedSize(endKey.length));
  sealed.set(endKey, aead.lead);
  aead.seal(sealed, 0, 0, endKey.length, 0);
  aead.close();
  return sealed;
}

function openEndKey(primitives: Primitives, context: HandshakeContext, message: Uint8Array): Uint8Array | null {
  const aead = primitives.aead(Suite.cbcMd5, context.temporaryKey);
  const opened = new Uint8Array(message);
  const length = aead.open(opened, 0, 0, opened.length, 0);
  const endKey = opened.slice(aead.lead, aead.lead + length);
  aead.close();
  return length === END_KEY_LENGTH ? endKey : null;
}
