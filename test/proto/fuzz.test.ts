import { expect, it } from 'vitest';
import { fuzz } from './fuzz.ts';

it('random and spoiled datagrams give a message or a reason, never an exception', () => {
  const tally = fuzz(60_000, 1);
  // Every check of the codec was reached.
  for (const outcome of [
    'message',
    'part',
    'short',
    'version',
    'type',
    'count',
    'length',
    'option-malformed',
    'option-critical',
    'option-repeated',
    'option-order',
    'body-malformed',
    'body-trailing',
    'part-malformed',
  ]) {
    expect(tally.get(outcome), outcome).toBeGreaterThan(0);
  }
});
