import { expect, it } from 'vitest';
import { HERD, herd, LIMIT } from '../../sim/herd.ts';

it.each([18_000, 60_000])(
  'a thousand nodes come back to an NMS gone for %i ms soon, but not all at once',
  async (ms) => {
    const { windows, lost } = await herd(HERD, ms);
    expect(lost).toBe(0);
    expect(Math.max(...windows)).toBeLessThanOrEqual(LIMIT);
  },
  240_000,
);
