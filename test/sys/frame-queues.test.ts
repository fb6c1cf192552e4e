import { describe, expect, it } from 'vitest';
import { placesOf } from '../../src/sys/frame-queues.ts';
import fc from '../support/property.ts';

const QUEUES = 16;
const macs = fc.uniqueArray(
  fc
    .integer({ min: 0, max: 0xffff })
    .map((n) => `02:00:00:00:${[n >> 8, n & 255].map((o) => o.toString(16).padStart(2, '0')).join(':')}`),
  { minLength: 1, maxLength: 40 },
);

describe('queues of devices', () => {
  it('are shared by none while there are enough, and never left by a device that stays', () => {
    fc.assert(
      fc.property(fc.array(macs, { minLength: 1, maxLength: 6 }), (lists) => {
        let before = new Map<string, number>();
        let crowded = false;
        for (const list of lists) {
          const places = placesOf(list, QUEUES, before);
          expect([...places.keys()].sort()).toEqual([...list].sort());
          for (const mac of list) expect(places.get(mac)).toBe(before.get(mac) ?? places.get(mac));
          // Who came when all were taken shares one until it leaves.
          crowded ||= list.length > QUEUES;
          if (!crowded) expect(new Set(places.values()).size).toBe(list.length);
          if (list.length > QUEUES) expect(new Set(places.values()).size).toBeGreaterThan(1);
          for (const queue of places.values()) expect(queue).toBeGreaterThanOrEqual(0);
          for (const queue of places.values()) expect(queue).toBeLessThan(QUEUES);
          before = places;
        }
      }),
    );
  });
});
