/** Logging in: over TLS to whichever address of the AS answers, with the new session on disk before it is acknowledged. */

import { buildLoginAck, buildLoginRequest, type LoginOutcome, readLoginResponse } from '../../core/node/login.ts';
import type { Session } from '../../core/node/types.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import { CyphonicError, raise } from '../../lib/errors.ts';
import { type Endpoint, formatEndpoint } from '../../lib/ip.ts';
import { Refusal } from '../../proto/options.ts';
import { readClock } from '../../sys/clock.ts';
import { connectAs, fetchTlsRoot } from './as-connection.ts';
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

/** Errors of a peer certificate that only a wrong clock, here or there, explains. */
const clockErrors = ['CERT_NOT_YET_VALID', 'CERT_HAS_EXPIRED'];

export type Network = DaemonState['network'];

function endpointsOf(network: DaemonState['network']): Endpoint[] {
  return [network.as4, network.as6].flatMap((address) => (address === null ? [] : [{ address, port: network.port }]));
}

/**
 * One login. Raises REFUSED_ errors if the network says no, SYS_UNREACHABLE if no AS answers: then it is worth
 * trying again. `password` stands in for the token's secret before the keys are pinned.
 */
export async function logIn(
  directory: string,
  state: DaemonState,
  password: Uint8Array | null,
  primitives: Primitives,
): Promise<LoggedIn> {
  return atAnyAs(state.network, (endpoint) => logInAt(endpoint, directory, state, password, primitives));
}

/** Tries the addresses of the AS in turn. */
export async function atAnyAs<T>(network: Network, attempt: (endpoint: Endpoint) => Promise<T>): Promise<T> {
  const failures: string[] = [];
  for (const endpoint of endpointsOf(network)) {
    try {
      return await attempt(endpoint);
    } catch (error) {
      // Another address of the AS can't change what the network or this host's own files say.
      if (error instanceof CyphonicError && /^(REFUSED|CONFIG)_/.test(error.code)) throw error;
      const { code, message } = error as NodeJS.ErrnoException;
      if (clockErrors.includes(code ?? '')) clockIsOff(error);
      failures.push(`${formatEndpoint(endpoint)}: ${error instanceof CyphonicError ? message : (code ?? message)}`);
    }
  }
  return raise('SYS_UNREACHABLE', { why: failures.join(', ') });
}

async function logInAt(
  endpoint: Endpoint,
  directory: string,
  state: DaemonState,
  password: Uint8Array | null,
  primitives: Primitives,
): Promise<LoggedIn> {
  const tlsRoot = state.tlsRoot ?? (await fetchTlsRoot(endpoint, state.network));
  const connection = await connectAs(endpoint, state.network, tlsRoot);
  try {
    const request = {
      deviceId: state.network.deviceId,
      // A new token for an enrolled device pins its keys anew.
      password: state.session === null || state.secret !== null ? (password ?? state.secret) : null,
      certificate: state.session?.certificate ?? null,
      identity: state.identity,
      exporter: connection.exporter,
    };
    connection.send(buildLoginRequest(primitives, request));
    const clock = readClock();
    const outcome = readLoginResponse(primitives, request, state.network.caKey, await connection.receive(), clock);
    const session = sessionOf(outcome, request.deviceId, endpoint);
    const spentSecret = state.secret ?? state.spentSecret;
    const next = { ...state, tlsRoot, session, secret: null, spentSecret, loggedInAt: clock.wall };
    saveState(directory, next);
    connection.send(buildLoginAck(session));
    return { state: next, session };
  } finally {
    connection.close();
  }
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
  if (reason === Refusal.overloaded) {
    raise('SYS_UNREACHABLE', { why: `${formatEndpoint(endpoint)}: overloaded` });
  }
  const why = (reason !== null && refusals[reason]) || `reason ${reason ?? 'unknown'}`;
  return raise('REFUSED_LOGIN', { device, why });
}
