/** The text format of Prometheus, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats). */

import { TIME_BOUNDS_MS, type Times } from './counters.ts';

export type MetricKind = 'counter' | 'gauge' | 'histogram';

/** One value of a metric. A histogram's are times, shown in seconds. */
export type Sample = {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number | Times;
};

export type MetricFamily = { readonly kind: MetricKind; readonly help: string };

export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** All samples of one metric together, in the order of `families`; a name that is none of them is left out. */
export function exposition(families: Readonly<Record<string, MetricFamily>>, samples: Iterable<Sample>): string {
  const byName = Map.groupBy(samples, ({ name }) => name);
  return Object.entries(families)
    .filter(([name]) => byName.has(name))
    .map(([name, { kind, help }]) => {
      const head = `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${kind}\n`;
      return head + byName.get(name)!.map(linesOf).join('');
    })
    .join('');
}

function linesOf({ name, labels, value }: Sample): string {
  if (typeof value === 'number') return line(name, labels, value);
  const bounds = [...TIME_BOUNDS_MS.map((ms) => String(ms / 1000)), '+Inf'];
  return [
    ...bounds.map((le, i) => line(`${name}_bucket`, { ...labels, le }, value.buckets[i]!)),
    line(`${name}_sum`, labels, value.sumMs / 1000),
    line(`${name}_count`, labels, value.count),
  ].join('');
}

function line(name: string, labels: Sample['labels'], value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${formatNumber(value)}\n`;
}

function escapeLabel(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function formatNumber(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';
}
