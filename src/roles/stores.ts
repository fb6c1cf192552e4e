/** The stores of a service: one on a server that is not there yet is waited for, instead of starting again and again. */

import type { Network } from '../lib/device.ts';
import { CyphonicError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { openRegister } from '../store/open.ts';
import type { Register } from '../store/register.ts';
import { openShared, type Shared } from '../store/shared.ts';

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 10_000;

/** Null: the process was asked to stop before the register was there. */
export function awaitRegister(
  place: string,
  network: Network,
  log: Log,
  stopped: Promise<void>,
  authority?: Uint8Array,
): Promise<Register | null> {
  return awaitStore('the register', () => openRegister(place, network, authority), log, stopped);
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
