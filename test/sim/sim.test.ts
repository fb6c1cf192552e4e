import { beforeAll, describe, expect, it } from 'vitest';
import type { Outcome } from './scenario.ts';
import { simulate } from './simulate.ts';
import { simulateAll } from './threads.ts';

/** `npm run sim` runs a thousand, `npm run sim -- --replicas 3` of the others. */
const seeds = Array.from({ length: 20 }, (_, i) => i + 1);

describe('a simulated network', () => {
  const outcomes = new Map<number, Outcome>();

  beforeAll(async () => {
    await simulateAll(seeds, (outcome) => {
      const { seed, failures } = outcome;
      outcomes.set(seed, outcome);
      process.stderr.write(failures.map((failure) => `seed ${seed}: ${failure}\n`).join(''));
    });
  }, 900_000);

  for (const seed of seeds) {
    it(`lets every wanted pair talk, with seed ${seed}`, () => {
      const outcome = outcomes.get(seed);
      expect(outcome?.failures).toEqual([]);
      expect(outcome?.pairs).toBeGreaterThan(0);
    });
  }

  it('is a function of its seed', async () => {
    const size = { nodes: 20, maxPairs: 30 };
    const [once, again, other] = [await simulate(7, size), await simulate(7, size), await simulate(8, size)];
    expect(again).toEqual(once);
    expect(other.datagrams).not.toBe(once.datagrams);
  });
});

describe('a network with three replicas of its NMS', () => {
  const outcomes = new Map<number, Outcome>();
  const few = seeds.slice(0, 6);

  beforeAll(async () => {
    const finish = (outcome: Outcome) => void outcomes.set(outcome.seed, outcome);
    await simulateAll(few, finish, { replicas: 3, nodes: 20, maxPairs: 40 });
  }, 900_000);

  for (const seed of few) {
    it(`loses no established pair, and lets every other talk, with seed ${seed}`, () => {
      const outcome = outcomes.get(seed);
      expect(outcome?.failures).toEqual([]);
      expect(outcome?.counters['nms passed-on']).toBeGreaterThan(0);
    });
  }
});
