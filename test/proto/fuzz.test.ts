import { expect, it } from 'vitest';
import { dropReasons } from '../../src/proto/drop.ts';
import { fuzz } from './fuzz.ts';

it('random and spoiled datagrams give a message or a reason, never an exception', () => {
  const tally = fuzz(60_000, 1);
  // Every check of the codec was reached.
  const decoding = dropReasons.slice(0, dropReasons.indexOf('part-overflow'));
  for (const outcome of ['message', 'part', ...decoding]) {
    expect(tally.get(outcome), outcome).toBeGreaterThan(0);
  }
});
