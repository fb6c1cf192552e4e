/** The comparison's outcome: a table for people, JSON for programs, a chart for the documents. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { chart } from './chart.ts';
import { type MeasureKey, measures } from './measure.ts';

/** All values of every peer, by measure, one per round. */
export type Results = Map<string, Map<MeasureKey, number[]>>;

/** The peer that all others are divided by. */
const YARDSTICK = 'wireguard-go';

export function median(values: readonly number[] | undefined): number | null {
  if (values === undefined || values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export type Cell = {
  readonly median: number | null;
  readonly ratio: number | null;
  readonly values: readonly number[];
};

/** Medians, and what they are in relation to the yardstick's. */
function summarise(results: Results): Record<string, Partial<Record<MeasureKey, Cell>>> {
  const yardstick = results.get(YARDSTICK);
  return Object.fromEntries(
    [...results].map(([name, row]) => [
      name,
      Object.fromEntries(
        [...row].map(([key, values]) => {
          const own = median(values);
          const base = median(yardstick?.get(key));
          return [key, { median: own, ratio: own === null || base === null ? null : own / base, values }];
        }),
      ),
    ]),
  );
}

export function report(results: Results, directory: string | null, how: { seconds: number; rounds: number }): void {
  const summary = summarise(results);
  const names = [...results.keys()];
  const lines = [
    ['', 'unit', ...names],
    ...measures
      .filter(({ key }) => names.some((name) => summary[name]?.[key] !== undefined))
      .map(({ key, title, unit, digits }) => [
        title,
        unit,
        ...names.map((name) => {
          const cell = summary[name]?.[key];
          if (cell === undefined || cell.median === null) return '-';
          return `${cell.median.toFixed(digits)}${cell.ratio === null ? '' : ` (${cell.ratio.toFixed(2)})`}`;
        }),
      ]),
  ];
  const table = lines.map((line) => `| ${line.join(' | ')} |`);
  table.splice(1, 0, `|${' --- |'.repeat(names.length + 2)}`);
  console.log(table.join('\n'));
  console.log(`Medians of ${how.rounds} rounds of ${how.seconds} s; in brackets the ratio to ${YARDSTICK}.`);
  if (directory === null) return;
  mkdirSync(directory, { recursive: true });
  const machine = {
    processor: cpus()[0]?.model ?? 'unknown',
    processors: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
  };
  const document = { when: new Date().toISOString(), machine, ...how, peers: summary };
  writeFileSync(join(directory, 'peers.json'), `${JSON.stringify(document, null, 1)}\n`);
  writeFileSync(join(directory, 'peers.svg'), chart(results));
}
