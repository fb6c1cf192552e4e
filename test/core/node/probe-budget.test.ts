import { expect, it } from 'vitest';
import { ProbeBudget } from '../../../src/core/node/probe-budget.ts';

/** How much of this size goes out now. */
function spend(budget: ProbeBudget, octets: number, ms: number): number {
  let spent = 0;
  while (budget.take(octets, ms)) spent += octets;
  return spent;
}

it('covers a beginning with as many addresses as there can be: twelve probes of sixteen, and a handshake', () => {
  const budget = new ProbeBudget();
  for (let i = 0; i < 12 * 16; i++) expect(budget.take(96, i * 50)).toBe(true);
  for (let i = 0; i < 6; i++) expect(budget.take(800, 10_000)).toBe(true);
});

it('then is three times what came, and never more than a trickle', () => {
  const budget = new ProbeBudget();
  expect(spend(budget, 100, 0)).toBe(24_000);
  expect(spend(budget, 100, 3_600_000)).toBe(0);
  budget.earn(1_000);
  expect(spend(budget, 100, 3_600_000)).toBe(3_000);
  for (let second = 0; second < 60; second++) budget.earn(100_000);
  expect(spend(budget, 100, 3_600_000)).toBe(21_000);
  budget.earn(100_000);
  expect(spend(budget, 100, 3_601_000)).toBe(2_000);
});

it('grows by our own wish for a path', () => {
  const budget = new ProbeBudget();
  spend(budget, 100, 0);
  budget.wish();
  expect(spend(budget, 100, 3_600_000)).toBe(2_400);
});
