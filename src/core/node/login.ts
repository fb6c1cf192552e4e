/** The device's side of a login over TLS (protocol section 4.1), without I/O: octets of the messages in and out. */

import type { Primitives } from '../../crypto/primitives.ts';
import { raise } from '../../lib/errors.ts';
import type { Now } from '../../lib/time.ts';
import type { Refusal } from '../../proto/options.ts';
import type { PrivateKeys, Session } from './types.ts';

export type LoginRequest = {
  readonly deviceId: string;
  /** Enrolment secret or password at the first login; null = by certificate. */
  readonly password: Uint8Array | null;
  readonly certificate: Uint8Array | null;
  readonly privateKeys: PrivateKeys;
  readonly publicKeys: { readonly signKey: Uint8Array; readonly handshakeKey: Uint8Array };
  /** exportKeyingMaterial(32, 'EXPORTER-cyphonic-login') of this TLS connection. */
  readonly exporter: Uint8Array;
};

export type LoginOutcome =
  | { readonly status: 'accepted'; readonly session: Session }
  | { readonly status: 'refused'; readonly reason: Refusal | null }
  /** The answer is not acceptable: wrong CA, foreign keys, malformed. */
  | { readonly status: 'invalid'; readonly why: string };

export function buildLoginRequest(_primitives: Primitives, _request: LoginRequest): Uint8Array {
  return raise('BUG_UNREACHABLE', { what: 'login' });
}

/** `octets`: one whole message. `asAddress`: where the AS was reached, for an NMS address the response leaves out. */
export function readLoginResponse(
  _primitives: Primitives,
  _request: LoginRequest,
  _caPublicKey: Uint8Array,
  _octets: Uint8Array,
  _now: Now,
): LoginOutcome {
  return raise('BUG_UNREACHABLE', { what: 'login' });
}

/** Sent after the new state is on disk. */
export function buildLoginAck(_session: Session): Uint8Array {
  return raise('BUG_UNREACHABLE', { what: 'login' });
}
