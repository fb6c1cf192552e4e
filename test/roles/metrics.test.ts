/** The names of metrics: in the table, the documentation, the dashboard and what counters become. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Counters } from '../../src/lib/counters.ts';
import { dropReasons } from '../../src/proto/drop.ts';
import { counterSamples, metrics } from '../../src/roles/metrics.ts';

const root = join(import.meta.dirname, '../..');

describe('docs/metrics.md', () => {
  const rows = readFileSync(join(root, 'docs/metrics.md'), 'utf8').matchAll(/^\| `(cyphonic_\w+)` \| (\w+) \|/gm);
  const documented = Object.fromEntries([...rows].map(([, name, kind]) => [name, kind]));

  it('lists every metric with its kind, and no other', () => {
    expect(documented).toEqual(Object.fromEntries(Object.entries(metrics).map(([name, { kind }]) => [name, kind])));
  });
});

describe('the table', () => {
  it.each(Object.entries(metrics))('%s is named as Prometheus advises', (name, { kind, help }) => {
    expect(name).toMatch(/^cyphonic_[a-z][a-z\d_]*$/);
    expect(name.endsWith('_total')).toBe(kind === 'counter');
    expect(help).toMatch(/^[A-Z1].*\.$/);
  });
});

describe('deploy/grafana/cyphonic.json', () => {
  const text = readFileSync(join(root, 'deploy/grafana/cyphonic.json'), 'utf8');
  const dashboard = JSON.parse(text) as { uid: string; panels: { title: string; targets?: { expr: string }[] }[] };
  const expressions = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

  it('asks for metrics that exist, histograms by their series', () => {
    const asked = expressions.flatMap((expr) => expr.match(/\bcyphonic_\w+/g) ?? []);
    expect(asked.length).toBeGreaterThan(10);
    const series = Object.entries(metrics).flatMap(([name, { kind }]) =>
      kind === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name],
    );
    expect(asked.filter((name) => !series.includes(name))).toEqual([]);
  });

  it('takes rates of counters only, over the interval that Grafana chooses', () => {
    for (const expr of expressions) {
      for (const [, name, range] of expr.matchAll(/rate\((\w+)(?:\{[^}]*\})?\[([^\]]+)\]\)/g)) {
        expect([expr, name]).toEqual([expr, expect.stringMatching(/_total$|_bucket$|_sum$|_count$/)]);
        expect(range).toBe('$__rate_interval');
      }
    }
  });

  it('has panels that are all different', () => {
    expect(new Set(dashboard.panels.map(({ title }) => title)).size).toBe(dashboard.panels.length);
  });
});

describe('counters', () => {
  const amountOf = (counters: Record<string, number>, name: string, labels: Record<string, string>) =>
    counterSamples(counters).find((s) => s.name === name && JSON.stringify(s.labels) === JSON.stringify(labels))?.value;

  it('become samples by what they count', () => {
    const counters = {
      'login-accepted': 2,
      'login-refused-badCredentials': 3,
      'directed-relayThenOptimise': 4,
      'directions-refused-policy': 5,
      'path-up-lan-direct': 6,
      'path-silent-relay-none': 7,
      udpReceivedBytes: 8,
      'api-4xx': 9,
      challenges: 10,
      relayedBytes: 0,
    };
    const expected: [string, Record<string, string>, number][] = [
      ['cyphonic_logins_total', { result: 'accepted', reason: '' }, 2],
      ['cyphonic_logins_total', { result: 'refused', reason: 'badCredentials' }, 3],
      ['cyphonic_directions_total', { result: 'directed', path: 'relayThenOptimise', reason: '' }, 4],
      ['cyphonic_directions_total', { result: 'refused', path: '', reason: 'policy' }, 5],
      ['cyphonic_node_path_events_total', { event: 'up', nats: 'lan', path: 'direct' }, 6],
      ['cyphonic_node_path_events_total', { event: 'silent', nats: 'relay', path: 'none' }, 7],
      ['cyphonic_datagram_bytes_total', { direction: 'received' }, 8],
      ['cyphonic_api_requests_total', { status: '4xx' }, 9],
      ['cyphonic_events_total', { event: 'challenges' }, 10],
    ];
    for (const [name, labels, value] of expected)
      expect([name, amountOf(counters, name, labels)]).toEqual([name, value]);
    expect(counterSamples(counters)).toHaveLength(expected.length);
  });

  it('of drops are added up wherever it was dropped', () => {
    for (const reason of dropReasons) {
      const counters = { [`drop-${reason}`]: 1, [`port-drop-${reason}`]: 2 };
      expect(counterSamples(counters)).toEqual([{ name: 'cyphonic_dropped_total', labels: { reason }, value: 3 }]);
    }
  });

  it('with times become histograms beside', () => {
    const counters = new Counters();
    counters.add('login-accepted');
    counters.time('login-accepted', 12);
    counters.time('challenges', 12);
    const names = counterSamples(counters.snapshot(), counters.times()).map(({ name }) => name);
    expect(names).toEqual(['cyphonic_logins_total', 'cyphonic_login_seconds']);
  });
});
