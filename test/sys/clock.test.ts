import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { readClock } from '../../src/sys/clock.ts';

it('counts from the start of the machine, suspended or not, and never goes back', () => {
  const before = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1_000;
  const readings = Array.from({ length: 1_000 }, () => readClock().ms);
  const after = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1_000;
  // The file has hundredths of a second, rounded down.
  expect(readings[0]).toBeGreaterThanOrEqual(before);
  expect(readings.at(-1)).toBeLessThan(after + 10);
  expect(readings).toEqual(readings.toSorted((a, b) => a - b));
  expect(new Set(readings).size).toBeGreaterThan(1);
});
