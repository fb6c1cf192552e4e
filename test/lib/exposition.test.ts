import { expect, it } from 'vitest';
import { Counters } from '../../src/lib/counters.ts';
import { exposition } from '../../src/lib/exposition.ts';

const families = {
  b_total: { kind: 'counter', help: 'With a \\ and\na line end.' },
  a: { kind: 'gauge', help: 'A.' },
  c_seconds: { kind: 'histogram', help: 'C.' },
} as const;

it('puts the samples of one metric together, escaped', () => {
  const text = exposition(families, [
    { name: 'a', labels: { x: 'quote " backslash \\ line\nend' }, value: 0.5 },
    { name: 'b_total', labels: {}, value: 3 },
    { name: 'a', labels: {}, value: Number.POSITIVE_INFINITY },
    { name: 'unknown', labels: {}, value: 1 },
  ]);
  expect(text).toBe(
    [
      '# HELP b_total With a \\\\ and\\na line end.',
      '# TYPE b_total counter',
      'b_total 3',
      '# HELP a A.',
      '# TYPE a gauge',
      'a{x="quote \\" backslash \\\\ line\\nend"} 0.5',
      'a +Inf',
      '',
    ].join('\n'),
  );
});

it('shows times in seconds, the last bucket without a bound', () => {
  const counters = new Counters();
  for (const ms of [0.5, 7, 60_000]) counters.time('x', ms);
  const lines = exposition(families, [{ name: 'c_seconds', labels: { l: 'v' }, value: counters.times().x! }]).split(
    '\n',
  );
  expect(lines).toContain('c_seconds_bucket{l="v",le="0.001"} 1');
  expect(lines).toContain('c_seconds_bucket{l="v",le="0.01"} 2');
  expect(lines).toContain('c_seconds_bucket{l="v",le="10"} 2');
  expect(lines).toContain('c_seconds_bucket{l="v",le="+Inf"} 3');
  expect(lines).toContain('c_seconds_sum{l="v"} 60.0075');
  expect(lines).toContain('c_seconds_count{l="v"} 3');
});

it('says nothing of metrics without samples', () => {
  expect(exposition(families, [])).toBe('');
});
