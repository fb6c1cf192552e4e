import type { Context } from '../context.ts';

/** A result for scripts. Times come from a clock in nanoseconds; below a microsecond they mean nothing. */
export function printJson(value: unknown, context: Context): void {
  context.print(JSON.stringify(value, (_, member) => (typeof member === 'number' ? rounded(member) : member), 2));
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
