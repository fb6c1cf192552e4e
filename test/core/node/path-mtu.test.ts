/** What fits into a datagram, by every suite, against what sealing makes of it. */

import { expect, it } from 'vitest';
import { datagramOf, innerOf } from '../../../src/core/node/path-mtu.ts';
import { layout } from '../../../src/proto/codec.ts';
import { Suite } from '../../../src/proto/constants.ts';
import { evpAead } from '../../../src/sys/evp.ts';
import fc from '../../support/property.ts';

const id = '0'.repeat(32);

it.each(Object.entries(Suite))('a capsule of %s is as long as reckoned, and no longer one fits', (_, suite) => {
  const aead = evpAead(suite, new Uint8Array(32));
  const sizeOf = (inner: number): number => {
    const body = { payload: new Uint8Array(inner), flags: 0 };
    return layout({ type: 'capsule', id, transactionId: 0, body }, aead, () => 1, 65_000)[0]!.bytes.length;
  };
  fc.assert(
    fc.property(fc.integer({ min: 1_180, max: 9_000 }), (inner) => {
      const datagram = sizeOf(inner);
      expect(datagramOf(inner, suite)).toBe(datagram);
      const most = innerOf(datagram, suite);
      expect(most).toBeGreaterThanOrEqual(inner);
      expect(sizeOf(most)).toBe(datagram);
      expect(sizeOf(most + 1)).toBeGreaterThan(datagram);
    }),
  );
});
