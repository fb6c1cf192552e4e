import { raise } from '../lib/errors.ts';
import { type EvpAead, evpAead, type KeyUse } from '../sys/evp.ts';
import type { KeySlots } from './key-slots.ts';

/** A path of either direction, as far as its keys go. */
type Keyed = {
  key(epoch: number): { readonly aead: EvpAead; readonly slot: number } | undefined;
  retire(epoch: number): void;
};

/** An End Key by the Cipher Type number of its path. */
export function endKey(suite: number, key: Uint8Array, use: KeyUse): EvpAead {
  return suite === 1 || suite === 2 || suite === 3
    ? evpAead(suite, key, use)
    : raise('BUG_ARGUMENT', { what: `cipher suite ${suite}` });
}

/** Takes a key away from its path and from the workers. */
export function retireKey(path: Keyed, epoch: number, slots: KeySlots | null): void {
  const key = path.key(epoch);
  if (key === undefined) return;
  slots?.remove(key.slot);
  key.aead.close();
  path.retire(epoch);
}
