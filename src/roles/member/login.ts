/** Logging in: over TLS to whichever address of the AS answers, with the new session on disk before it is acknowledged. */

import { buildLoginAck, buildLoginRequest, type LoginOutcome, readLoginResponse } from '../../core/node/login.ts';
import type { Session } from '../../core/node/types.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import { CyphonicError, raise } from '../../lib/errors.ts';
import { type Endpoint, formatEndpoint } from '../../lib/ip.ts';
import type { ProxyEnvironment } from '../../net/http-proxy.ts';
import { Refusal } from '../../proto/options.ts';
import { readClock } from '../../sys/clock.ts';
import { type AsConnection, connectAs, fetchTlsRoot } from './as-connection.ts';
import { reasonOf } from './dial.ts';
import { endpointsOf, reach } from './reach.ts';
import { type DaemonState, saveState } from './state.ts';

export type LoggedIn = { readonly state: DaemonState; readonly session: Session };

const refusals: Partial<Record<Refusal, string>> = {
  [Refusal.badCredentials]: 'unknown device or wrong secret; check the DeviceID, or ask for a new token',
  [Refusal.secretSpent]: 'its token was used already; ask for a new one (`cyphonic device token`)',
  [Refusal.secretExpired]: 'its token has expired; ask for a new one (`cyphonic device token`)',
  [Refusal.keyMismatch]: 'it is enrolled with other keys; use its old state directory, or ask for a new token',
  [Refusal.disabled]: 'it is disabled; ask the administrator to enable it',
  [Refusal.wrongAdapter]: 'it belongs to another adapter, or to none; see `cyphonic device show`',
  [Refusal.certificateUntrusted]: 'its certificate leads to no CA that `cyphonic device add --ca` gave',
  [Refusal.certificateExpired]: 'its certificate, or a CA above it, has expired or is not valid yet',
  [Refusal.certificateUnfit]:
    'its certificate is not for client authentication, too weak, or has extensions unknown here',
  [Refusal.certificateName]: 'its certificate names neither its DeviceID nor its name in the overlay',
  [Refusal.unknownName]: 'no such device; ask the administrator to add it',
};

/** What says nothing of the device itself, and is worth another try. */
const passings: Partial<Record<Refusal, string>> = {
  [Refusal.overloaded]: 'overloaded',
  [Refusal.handshakeStale]: 'the handshake of the device is not of this moment',
};

/** Errors of a peer certificate that only a wrong clock, here or there, explains. */
const clockErrors = ['CERT_NOT_YET_VALID', 'CERT_HAS_EXPIRED'];

export type LoginSettings = {
  /** State directory. */
  readonly state: string;
  readonly environment: ProxyEnvironment;
  /** Stands in for the token's secret before the keys are pinned. */
  readonly password: Uint8Array | null;
};

/**
 * One login. Raises REFUSED_ errors if the network says no, SYS_UNREACHABLE or SYS_PROXY if no AS answers: then it is
 * worth trying again.
 */
export async function logIn(
  { state: directory, environment, password }: LoginSettings,
  state: DaemonState,
  primitives: Primitives,
): Promise<LoggedIn> {
  const { network } = state;
  const tlsRoot =
    state.tlsRoot ??
    (await atAnyAs(network, (endpoint, signal) => fetchTlsRoot(endpoint, { network, environment }, signal)));
  return withAs({ ...state, tlsRoot }, environment, async (connection) => {
    const request = {
      deviceId: network.deviceId,
      // A new token for an enrolled device pins its keys anew.
      password: state.session === null || state.secret !== null ? (password ?? state.secret) : null,
      certificate: state.session?.certificate ?? null,
      identity: state.identity,
      exporter: connection.exporter,
    };
    connection.send(buildLoginRequest(primitives, request));
    const clock = readClock();
    const outcome = readLoginResponse(primitives, request, network.caKey, await connection.receive(), clock);
    const session = sessionOf(outcome, request.deviceId, connection.endpoint);
    const spentSecret = state.secret ?? state.spentSecret;
    const next = { ...state, tlsRoot, session, secret: null, spentSecret, loggedInAt: clock.wall };
    saveState(directory, next);
    connection.send(buildLoginAck(session));
    connection.close();
    return { state: next, session };
  });
}

/** Does something on a new connection to the AS. It stays open, unless it fails. */
export async function withAs<T>(
  { network, tlsRoot }: Pick<DaemonState, 'network'> & { readonly tlsRoot: Uint8Array },
  environment: ProxyEnvironment,
  work: (connection: AsConnection) => Promise<T>,
): Promise<T> {
  const connection = await atAnyAs(network, (endpoint, signal) =>
    connectAs(endpoint, { network, environment }, tlsRoot, signal),
  );
  try {
    return await work(connection);
  } catch (error) {
    connection.close();
    // What the network or this host's own files say.
    if (error instanceof CyphonicError && /^(REFUSED|CONFIG|SYS_UNREACHABLE)/.test(error.code)) throw error;
    const why = `${formatEndpoint(connection.endpoint)}: ${reasonOf(error)}`;
    return raise('SYS_UNREACHABLE', { why }, error);
  }
}

/** Whichever address of the AS answers. */
function atAnyAs<T>(
  network: DaemonState['network'],
  attempt: (endpoint: Endpoint, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const judged = (endpoint: Endpoint, signal: AbortSignal): Promise<T> =>
    attempt(endpoint, signal).catch((error: NodeJS.ErrnoException) => {
      throw clockErrors.includes(error.code ?? '') ? clockIsOff(error) : error;
    });
  const failed = (why: string): CyphonicError => new CyphonicError('SYS_UNREACHABLE', { why });
  return reach(endpointsOf(network, network.port), judged, failed);
}

/** What an accepted login brought; raises what a refusal says. */
export function sessionOf(outcome: LoginOutcome, deviceId: string, endpoint: Endpoint): Session {
  if (outcome.status === 'accepted') return outcome.session;
  if (outcome.status === 'refused') return refused(deviceId, outcome.reason, endpoint);
  if (outcome.why === 'certificate-expired') return clockIsOff();
  return raise('PEER_INVALID', { what: `a login response (${outcome.why})` });
}

/** Nobody sends a certificate that has just been issued for another time: one of the two clocks is wrong. */
function clockIsOff(cause?: unknown): never {
  return raise('CONFIG_CLOCK', { time: new Date(readClock().wall).toISOString() }, cause);
}

function refused(device: string, reason: Refusal | null, endpoint: Endpoint): never {
  const passing = reason === null ? undefined : passings[reason];
  if (passing !== undefined) raise('SYS_UNREACHABLE', { why: `${formatEndpoint(endpoint)}: ${passing}` });
  const why = (reason !== null && refusals[reason]) || `reason ${reason ?? 'unknown'}`;
  return raise('REFUSED_LOGIN', { device, why });
}
