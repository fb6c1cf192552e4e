import { expect, it } from 'vitest';
import { warmUp } from '../../src/pipeline/warmup.ts';

it('warming up takes packets all the way through, merged on arrival', () => {
  // In each of 60 rounds one TCP series and one UDP series.
  expect(warmUp()).toBe(120);
});
