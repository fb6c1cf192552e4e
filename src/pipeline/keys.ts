import { raise } from '../lib/errors.ts';
import { type EvpAead, evpAead, type KeyUse } from '../sys/evp.ts';

/** An End Key by the Cipher Type number of its path. */
export function endKey(suite: number, key: Uint8Array, use: KeyUse): EvpAead {
  return suite === 1 || suite === 2 || suite === 3
    ? evpAead(suite, key, use)
    : raise('BUG_ARGUMENT', { what: `cipher suite ${suite}` });
}
