import { expect, test } from 'vitest';
import { Bucket, Buckets, Shares } from '../../src/core/limits.ts';

test('a bucket empties, fills with time and takes back', () => {
  const buckets = new Buckets({ burst: 3, perSecond: 2 });
  const take = (ms: number) => buckets.take('a', ms);
  expect([take(0), take(0), take(0), take(0)]).toEqual([true, true, true, false]);
  expect([take(499), take(500), take(501)]).toEqual([false, true, false]);
  expect(buckets.take('b', 501)).toBe(true);
  buckets.giveBack('a');
  expect([take(502), take(502)]).toEqual([true, false]);
  expect([take(10_000), take(10_000), take(10_000), take(10_000)]).toEqual([true, true, true, false]);
  for (let i = 0; i < 5; i++) buckets.giveBack('b');
  expect(Array.from({ length: 4 }, () => buckets.take('b', 501))).toEqual([true, true, true, false]);
});

test('a bucket gives as many as are asked for, or none', () => {
  const bucket = new Bucket({ burst: 10, perSecond: 2 });
  expect([bucket.take(0, 8), bucket.take(0, 3), bucket.take(0, 2)]).toEqual([true, false, true]);
  expect([bucket.take(1_000, 3), bucket.take(1_000, 2)]).toEqual([false, true]);
  expect([bucket.take(3_600_000, 11), bucket.take(3_600_000, 10)]).toEqual([false, true]);
});

test('a flood of keys takes no more than its share of memory, and frees nobody who is in use', () => {
  const buckets = new Buckets({ burst: 1, perSecond: 0 });
  expect(buckets.take('guesser', 0)).toBe(true);
  for (let i = 0; i < 50_000; i++) {
    buckets.take(`key ${i}`, i);
    expect(buckets.take('guesser', i)).toBe(false);
  }
  expect(buckets.size).toBe(16_384);
});

test('a share is each key’s own, and there is an end to all together', () => {
  const shares = new Shares(2, 3);
  expect(['a', 'a', 'a', 'b', 'c'].map((key) => shares.take(key))).toEqual([true, true, false, true, false]);
  shares.release('a');
  expect(['c', 'b', 'a'].map((key) => shares.take(key))).toEqual([true, false, false]);
  for (const key of ['a', 'b', 'c']) shares.release(key);
  expect(['a', 'a', 'b'].map((key) => shares.take(key))).toEqual([true, true, true]);
});
