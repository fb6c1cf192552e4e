import { describe, expect, test } from 'vitest';
import { ReplayWindow } from '../../src/crypto/replay.ts';
import { CAPSULE_WINDOW, SIGNALLING_WINDOW } from '../../src/proto/constants.ts';
import fc from '../support/property.ts';

/** What the window is meant to be: everything accepted, and the highest of it. */
class NaiveWindow {
  readonly #size: number;
  readonly #seen = new Set<number>();
  #highest = 0;

  constructor(size: number) {
    this.#size = size;
  }

  check(sequence: number): boolean {
    return sequence > 0 && sequence > this.#highest - this.#size && !this.#seen.has(sequence);
  }

  accept(sequence: number): boolean {
    if (!this.check(sequence)) return false;
    this.#seen.add(sequence);
    this.#highest = Math.max(this.#highest, sequence);
    return true;
  }
}

/** Numbers as a network delivers them: steps ahead of all sizes, and repetitions and late ones around the window's edge. */
const walk = (size: number) =>
  fc.array(
    fc.oneof(
      { weight: 6, arbitrary: fc.integer({ min: 1, max: 3 }) },
      { weight: 3, arbitrary: fc.integer({ min: -size - 2, max: 0 }) },
      { weight: 1, arbitrary: fc.integer({ min: 1, max: 3 * size }) },
      { weight: 1, arbitrary: fc.constantFrom(size - 1, size, size + 1, 1 - size, -size, -size - 1) },
    ),
    { maxLength: 400 },
  );

describe.each([32, 64, SIGNALLING_WINDOW, CAPSULE_WINDOW])('a window of %i numbers', (size) => {
  test.each([0, 2 ** 31 - size, 2 ** 32 - 1 - 8 * size])('does what the naive model does, from %i on', (base) => {
    fc.assert(
      fc.property(walk(size), (steps) => {
        const window = new ReplayWindow(size);
        const naive = new NaiveWindow(size);
        let highest = base;
        for (const step of steps) {
          const sequence = Math.min(Math.max(highest + step, 0), 2 ** 32 - 1);
          expect(window.check(sequence)).toBe(naive.check(sequence));
          const accepted = naive.accept(sequence);
          expect(window.accept(sequence)).toBe(accepted);
          if (accepted) highest = Math.max(highest, sequence);
          expect(window.check(sequence)).toBe(false);
        }
        if (steps.length > 0 && highest > base) expect(window.highest).toBe(highest);
      }),
      { numRuns: 60 },
    );
  });

  test('holds exactly its size', () => {
    const window = new ReplayWindow(size);
    window.accept(size + 1);
    expect(window.check(1)).toBe(false);
    expect(window.check(2)).toBe(true);
    expect(window.accept(2)).toBe(true);
    expect(window.accept(2)).toBe(false);
  });
});

test('asking changes nothing', () => {
  const window = new ReplayWindow(32);
  expect(window.check(1000)).toBe(true);
  expect(window.highest).toBe(0);
  expect(window.accept(1)).toBe(true);
});

test('recovers from any gap and knows no number 0', () => {
  const window = new ReplayWindow(32);
  expect(window.accept(0)).toBe(false);
  expect(window.accept(1)).toBe(true);
  expect(window.accept(2 ** 32 - 1)).toBe(true);
  expect(window.accept(2 ** 32 - 2)).toBe(true);
  expect(window.accept(2)).toBe(false);
});

test('tells numbers below where it starts from those skipped after that', () => {
  const window = new ReplayWindow(64);
  window.startAt(50);
  expect(window.check(49)).toBe(false);
  expect(window.accept(50)).toBe(true);
  expect(window.accept(53)).toBe(true);
  expect([48, 49, 50, 51, 52, 53].map((n) => window.check(n))).toEqual([false, false, false, true, true, false]);
});

test.each([31, 48])('refuses a size of %i', (size) => {
  expect(() => new ReplayWindow(size)).toThrow('replay window');
});
