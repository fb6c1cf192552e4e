import { describe, expect, it } from 'vitest';
import { pathSeed } from './paths.ts';

/** `npm run sim:paths` runs ten thousand. */
const SEEDS = 60;

describe('the path of a pair', () => {
  it(`is what a model of its networks says, with ${SEEDS} seeds`, async () => {
    const kinds = new Set<string>();
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { failures, path } = await pathSeed(seed);
      expect(failures, `seed ${seed}`).toEqual([]);
      kinds.add(path);
    }
    expect([...kinds].sort()).toEqual(['direct/direct', 'lan/lan', 'relay/relay']);
  }, 300_000);
});
