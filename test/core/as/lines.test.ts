import { describe, expect, test } from 'vitest';
import { Lines, sourceOf } from '../../../src/core/as/lines.ts';

const first = () => 0;

describe('lines', () => {
  test('are served in rotation, each from its front', () => {
    const lines = new Lines<string>(10, first);
    for (const item of ['a1', 'a2', 'a3', 'b1', 'c1', 'c2']) expect(lines.add(item[0]!, item)).toBeNull();
    const served = Array.from({ length: 7 }, () => lines.next());
    expect(served).toEqual(['a1', 'b1', 'c1', 'a2', 'c2', 'a3', null]);
    expect(lines.size).toBe(0);
  });

  test('give way where they are longest, by lot', () => {
    const lines = new Lines<string>(4, (bound) => bound - 1);
    for (const item of ['a1', 'a2', 'a3', 'b1']) lines.add(item[0]!, item);
    expect(lines.add('c', 'c1')).toBe('a3');
    expect(lines.add('a', 'a4')).toBe('a4');
    expect(lines.add('d', 'd1')).toBe('a2');
    // All are as long as each other: it may be anybody.
    expect(lines.add('e', 'e1')).toBe('e1');
    expect(new Lines<string>(0, first).add('x', 'x1')).toBe('x1');
    expect(Array.from({ length: 5 }, () => lines.next())).toEqual(['a1', 'b1', 'c1', 'd1', null]);
  });

  test('lose who leaves', () => {
    const lines = new Lines<string>(4, first);
    for (const item of ['a1', 'a2', 'b1']) lines.add(item[0]!, item);
    for (const item of ['a1', 'b1', 'b2']) lines.remove(item[0]!, item);
    expect([lines.size, lines.next(), lines.next()]).toEqual([1, 'a2', null]);
  });
});

test.each([
  ['192.0.2.200', '192.0.2.0'],
  ['2001:db8:1:2::3', '2001:db8:1::'],
])('%s is one of %s', (address, source) => {
  expect(sourceOf({ address })).toBe(source);
});
