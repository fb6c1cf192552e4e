/** What is left of a path once it is settled: nothing of what only coming up, looking for ways or the relay needed. */

import { queryObjects } from 'node:v8';
import { expect, it } from 'vitest';
import { Channel } from '../../../src/core/channel.ts';
import { AnsweredRequests } from '../../../src/core/node/answered-requests.ts';
import { PortPrediction } from '../../../src/core/node/port-prediction.ts';
import { RelayBinding } from '../../../src/core/node/relay-binding.ts';
import { Lab } from './lab.ts';
import { publicly, symmetric } from './pairs.ts';

/** After a collection. */
function count(...types: readonly (new (...given: never[]) => object)[]): number[] {
  return types.map((type) => queryObjects(type, { format: 'count' }));
}

it('a direct path keeps one channel at each end, and a relayed one what the relay needs', async () => {
  const lab = await Lab.open();
  const [ofA, ofB] = publicly(lab);
  const [a, b] = [await lab.node('a', ofA), await lab.node('b', ofB)];
  const [channels] = count(Channel);
  expect(lab.reaches(a, b)).toBe(true);
  lab.pass(1_000);
  expect(count(AnsweredRequests)).toEqual([1]);
  lab.pass(60_000);
  expect(lab.peer(a, b)!.path).toBe('direct');
  expect(count(AnsweredRequests, PortPrediction, RelayBinding, Channel)).toEqual([0, 0, 0, channels! + 2]);

  const [ofC, ofD] = symmetric(lab);
  const [c, d] = [await lab.node('c', ofC), await lab.node('d', ofD)];
  expect(lab.reaches(c, d)).toBe(true);
  lab.pass(60_000);
  expect(lab.peer(c, d)!.path).toBe('relay');
  expect(count(AnsweredRequests, PortPrediction, RelayBinding)).toEqual([0, 2, 2]);
});
