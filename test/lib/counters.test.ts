import { expect, it } from 'vitest';
import { Counters, TIME_BOUNDS_MS } from '../../src/lib/counters.ts';
import fc from '../support/property.ts';

it('begin at zero', () => {
  const counters = new Counters();
  expect(counters.get('short')).toBe(0);
  expect(counters.snapshot()).toEqual({});
});

it('add up by name and are listed in order', () => {
  const events = fc.array(fc.tuple(fc.constantFrom('tag', 'short', 'a', 'toString'), fc.nat(1000)));
  fc.assert(
    fc.property(events, (list) => {
      const counters = new Counters();
      for (const [name, amount] of list) counters.add(name, amount);
      const names = [...new Set(list.map(([name]) => name))].sort();
      const sum = (name: string): number => list.reduce((total, [n, amount]) => total + (n === name ? amount : 0), 0);
      expect(Object.entries(counters.snapshot())).toEqual(names.map((name) => [name, sum(name)]));
      for (const name of names) expect(counters.get(name)).toBe(sum(name));
    }),
  );
});

it('count one by default, and a snapshot stays as it was', () => {
  const counters = new Counters();
  counters.add('tag');
  const before = counters.snapshot();
  counters.add('tag');
  expect(before).toEqual({ tag: 1 });
  expect(counters.snapshot()).toEqual({ tag: 2 });
});

it('keep times in buckets that each hold all shorter ones', () => {
  const times = fc.array(fc.double({ min: 0, max: 20_000, noNaN: true }), { minLength: 1 });
  fc.assert(
    fc.property(times, (list) => {
      const counters = new Counters();
      for (const ms of list) counters.time('login', ms);
      const { buckets, count, sumMs } = counters.times().login!;
      expect(count).toBe(list.length);
      expect(sumMs).toBeCloseTo(list.reduce((a, b) => a + b, 0));
      expect(buckets).toEqual([...TIME_BOUNDS_MS, Infinity].map((bound) => list.filter((ms) => ms <= bound).length));
    }),
  );
});
