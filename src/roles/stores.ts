/** The stores of a service: one on a server that is not there yet is waited for, instead of starting again and again. */

import { sameOctets } from '../lib/bytes.ts';
import type { Network, Service } from '../lib/device.ts';
import { CyphonicError, raise } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { openRegister } from '../store/open.ts';
import type { Register } from '../store/register.ts';
import { openShared, type Shared } from '../store/shared.ts';

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 10_000;

/** What the register must agree with: the public key of the CA that issues here, the public key of this very service. */
export type Claim = { readonly authority?: Uint8Array; readonly service?: Pick<Service, 'nodeId' | 'publicKey'> };

/** Null: the process was asked to stop before the register was there. */
export function awaitRegister(
  place: string,
  network: Network,
  log: Log,
  stopped: Promise<void>,
  { authority, service }: Claim = {},
): Promise<Register | null> {
  const open = async (): Promise<Register> => {
    const register = await openRegister(place, network, authority);
    try {
      if (service !== undefined) await checkService(register, service);
      return register;
    } catch (error) {
      await register.close();
      throw error;
    }
  };
  return awaitStore('the register', open, log, stopped);
}

/** With another key than its replicas have it would take nodes' datagrams and serve none of them. */
async function checkService(register: Register, { nodeId, publicKey }: NonNullable<Claim['service']>): Promise<void> {
  const answer = await register.query({ get: 'services' });
  const known = answer.got === 'services' ? answer.services.find((one) => one.nodeId === nodeId) : undefined;
  if (known === undefined) raise('CONFIG_SERVICE', { nodeId, why: 'there is no such service' });
  if (!sameOctets(known.publicKey, publicKey))
    raise('CONFIG_SERVICE', { nodeId, why: `${known.name} has another key` });
}

/** The same of what replicas share: one that could not reach the others would not know that it can't. */
export function awaitShared(
  place: string | null,
  network: Network,
  log: Log,
  stopped: Promise<void>,
): Promise<Shared | null> {
  return awaitStore('what replicas share', () => openShared(place, network.domain), log, stopped);
}

async function awaitStore<T>(
  what: string,
  open: () => Promise<T>,
  log: Log,
  stopped: Promise<void>,
): Promise<T | null> {
  for (let delay = RETRY_MIN_MS; ; delay = Math.min(RETRY_MAX_MS, 2 * delay)) {
    try {
      return await open();
    } catch (error) {
      if (!(error instanceof CyphonicError) || error.details.transient !== true) throw error;
      log.warn(`${what} is not there yet`, { why: error.message, againInMs: delay });
    }
    const pause = Promise.withResolvers<'again'>();
    const timer = setTimeout(() => pause.resolve('again'), delay);
    const next = await Promise.race([pause.promise, stopped]);
    clearTimeout(timer);
    if (next !== 'again') return null;
  }
}
