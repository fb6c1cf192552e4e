import { raise } from '../lib/errors.ts';
import { borrowingAead, type EvpAead, evpAead } from '../sys/evp.ts';

/** A path of either direction, as far as its keys go. */
type Keyed = {
  key(epoch: number): { readonly aead: EvpAead } | undefined;
  retire(epoch: number): void;
};

type Suite = Parameters<typeof evpAead>[0];

function suiteOf(number: number): Suite {
  return number === 1 || number === 2 || number === 3
    ? number
    : raise('BUG_ARGUMENT', { what: `cipher suite ${number}` });
}

/** An End Key by the Cipher Type number of its path. */
export function endKey(suite: number, key: Uint8Array): EvpAead {
  return evpAead(suiteOf(suite), key);
}

/** Takes a key away from its path. No worker has it: those give back what they borrow with every job. */
export function retireKey(path: Keyed, epoch: number): void {
  path.key(epoch)?.aead.close();
  path.retire(epoch);
}

/** The other keys, in an array with room for no more. */
export function without<Key extends { readonly epoch: number }>(keys: readonly Key[], epoch: number): readonly Key[] {
  const at = keys.findIndex((key) => key.epoch === epoch);
  return at < 0 ? keys : keys.toSpliced(at, 1);
}

/** A worker's side of the keys, which I/O threads own: jobs name them by suite and address. */
export class BorrowedKeys {
  readonly #bySuite: (EvpAead | undefined)[] = [];

  /** The key at an address, until the next call. */
  get(suite: number, address: number): EvpAead {
    const aead = (this.#bySuite[suite] ??= borrowingAead(suiteOf(suite)));
    aead.borrow(address);
    return aead;
  }

  /** At the end of a job: from then on a key may be closed. */
  giveBack(): void {
    for (const aead of this.#bySuite) aead?.giveBack();
  }
}
