import { describe, expect, it } from 'vitest';
import { simulate } from './simulate.ts';

/** `npm run sim` runs a thousand. */
const SEEDS = 20;

describe('a simulated network', () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    it(`lets every wanted pair talk, with seed ${seed}`, async () => {
      const { failures } = await simulate(seed);
      if (failures.length > 0) process.stderr.write(failures.map((failure) => `seed ${seed}: ${failure}\n`).join(''));
      expect(failures).toEqual([]);
    });
  }

  it('is a function of its seed', async () => {
    const size = { nodes: 20, maxPairs: 30 };
    const [once, again, other] = [await simulate(7, size), await simulate(7, size), await simulate(8, size)];
    expect(again).toEqual(once);
    expect(other.datagrams).not.toBe(once.datagrams);
  });
});
