/** When each service was heard of last, and what is to be said about those that are silent. */

import type { ServiceSnapshot } from '../../core/node/types.ts';
import { formatEndpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { DaemonState } from './state.ts';

/** Logins are renewed daily, with time for a second try. */
const LOGIN_MS = 48 * 3_600_000;
/** Two Keep Alives and their repetitions. */
const SILENT_MS = 70_000;

/** The AS: by its address in the token, with the age of the last login. */
export function loginService({ network, loggedInAt }: DaemonState, { wall }: Now): ServiceSnapshot {
  const age = loggedInAt === null ? null : Math.max(0, Math.round(wall - loggedInAt));
  return {
    role: 'as',
    address: formatEndpoint({ address: network.as4 ?? network.as6!, port: network.port }),
    transport: 'tcp',
    state: age === null ? null : age < LOGIN_MS ? 'up' : 'down',
    lastContactMs: age,
    rttMs: null,
  };
}

export function silenceWarnings(services: readonly ServiceSnapshot[]): string[] {
  const isHeard = services.some(
    ({ role, state, lastContactMs: age }) => role === 'nms' && state === 'up' && !isOld(age),
  );
  const isRelayed = services.some(({ role, state }) => role === 'trs' && state === 'up');
  return services.flatMap(({ role, address, state, lastContactMs: age }) => {
    const since = age === null ? '' : ` for ${Math.round(age / 1000)} s`;
    if (role === 'as') return state === 'down' ? [`no login at the AS ${address}${since}; is it reachable?`] : [];
    // Where one way to the NMS works, the others are no news.
    if (role === 'nms')
      return !isHeard && (state === 'down' || isOld(age)) ? [`the NMS ${address} is silent${since}`] : [];
    return !isRelayed && state === 'down' && age !== null ? [`the TRS ${address} is silent${since}`] : [];
  });
}

function isOld(age: number | null): boolean {
  return age !== null && age > SILENT_MS;
}
