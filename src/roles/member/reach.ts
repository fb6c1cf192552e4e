/** How a device reaches the cloud's TLS servers: at any address, and where only 443/tcp is let out, by that port. */

import { setTimeout as pause } from 'node:timers/promises';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { CyphonicError } from '../../lib/errors.ts';
import { type Endpoint, familyOf, formatEndpoint } from '../../lib/ip.ts';
import { type ProxyEnvironment, proxyFor } from '../../net/http-proxy.ts';
import { intoNat64 } from '../../net/nat64.ts';
import { Port } from '../../proto/constants.ts';
import { dial, reasonOf, secure } from './dial.ts';
import { discoverNat64 } from './nat64.ts';
import type { DaemonState } from './state.ts';

const CONNECT_TIMEOUT_MS = 5_000;
/** How long an address has for itself until the next one is tried beside it: as UDP has before TLS. */
const HEAD_START_MS = 2_000;

/** In the order in which they are tried. */
export function endpointsOf({ as4, as6 }: DaemonState['network'], port: number): Endpoint[] {
  const addresses = [as4, as6].filter((address) => address !== null);
  return [...new Set([port, Port.trsTls])].flatMap((each) => addresses.map((address) => ({ address, port: each })));
}

/**
 * What is reached first. The next endpoint is tried when the one before has failed, or not come to an end for a while
 * (RFC 8305). Where none is, the error of `failed` is raised, or what is no fault of any endpoint.
 */
export async function reach<T>(
  endpoints: readonly Endpoint[],
  attempt: (endpoint: Endpoint, signal: AbortSignal) => Promise<T>,
  failed: (why: string) => CyphonicError,
): Promise<T> {
  const found = new AbortController();
  const { signal } = found;
  let turn: Promise<unknown> = Promise.resolve();
  const attempts = endpoints.map((endpoint) => {
    const begun = turn;
    const outcome = begun.then(() => {
      signal.throwIfAborted();
      return attempt(endpoint, signal);
    });
    const failed = new Promise((resolve) => outcome.catch(resolve));
    turn = Promise.race([failed, begun.then(() => pause(HEAD_START_MS, null, { signal })).catch(() => {})]);
    return outcome;
  });
  try {
    return await Promise.any(attempts);
  } catch (cause) {
    const { errors } = cause as AggregateError;
    const whys = endpoints.map((endpoint, i) => `${formatEndpoint(endpoint)}: ${reasonOf(errors[i])}`);
    throw errors.findLast(isOurs) ?? failed(whys.join(', '));
  } finally {
    found.abort();
  }
}

function isOurs(error: unknown): boolean {
  return error instanceof CyphonicError && /^(CONFIG_|SYS_PROXY)/.test(error.code);
}

/** One TLS connection, through the proxy that the environment names or the NAT64 of a network that has IPv6 alone. */
export async function openTls(
  endpoint: Endpoint,
  options: ConnectionOptions,
  environment: ProxyEnvironment,
  stop?: AbortSignal,
): Promise<TLSSocket> {
  const timeout = AbortSignal.timeout(CONNECT_TIMEOUT_MS);
  const signal = stop === undefined ? timeout : AbortSignal.any([stop, timeout]);
  const way = { to: endpoint, at: endpoint, proxy: proxyFor(environment, endpoint) };
  const socket = await dial(way, signal).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENETUNREACH' || familyOf(endpoint.address) === 6) throw error;
    const prefix = await discoverNat64();
    if (prefix === null) throw error;
    return dial({ ...way, at: intoNat64(prefix, endpoint) }, signal);
  });
  return secure(socket, options, signal);
}
