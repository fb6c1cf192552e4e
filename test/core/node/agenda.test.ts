import { describe, expect, it } from 'vitest';
import { Agenda } from '../../../src/core/node/agenda.ts';
import { Timers } from '../../../src/core/node/timers.ts';
import fc from '../../support/property.ts';

describe('an agenda', () => {
  it('calls everybody at the earliest time asked for, in order', () => {
    const step = fc.record({
      item: fc.integer({ min: 0, max: 9 }),
      at: fc.integer({ min: 0, max: 50 }),
      forget: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 0, max: 60 }), (steps, until) => {
        const agenda = new Agenda<number>();
        const expected = new Map<number, number>();
        for (const { item, at, forget } of steps) {
          if (forget) {
            agenda.forget(item);
            expected.delete(item);
          } else {
            agenda.wake(item, at);
            expected.set(item, Math.min(at, expected.get(item) ?? at));
          }
        }
        expect(agenda.next).toBe(Math.min(Number.POSITIVE_INFINITY, ...expected.values()));
        const called: number[] = [];
        for (let item = agenda.due(until); item !== undefined; item = agenda.due(until)) called.push(item);
        const due = [...expected].filter(([, at]) => at <= until);
        expect(called.map((item) => expected.get(item))).toEqual(due.map(([, at]) => at).sort((a, b) => a - b));
        expect(new Set(called)).toEqual(new Set(due.map(([item]) => item)));
      }),
    );
  });
});

describe('timers', () => {
  it('say which have run out, and when the next one does', () => {
    const advanced: number[] = [];
    const timers = new Timers<'a' | 'b' | 'c'>({ wake: (at) => advanced.push(at) });
    timers.set('a', 30);
    timers.set('b', 10);
    timers.set('c', 20);
    timers.set('b', 40);
    timers.clear('c');
    expect(timers.next).toBe(30);
    expect(advanced).toEqual([30, 10]);
    expect(timers.due(29)).toEqual([]);
    timers.set('c', 5);
    expect(timers.due(35)).toEqual(['c', 'a']);
    expect(timers.isSet('a')).toBe(false);
    expect(timers.next).toBe(40);
    timers.clearAll();
    expect(timers.next).toBe(Number.POSITIVE_INFINITY);
  });
});
