/** Bars of the main measures, one panel each, as an SVG that needs no fonts or scripts. */

import { type MeasureKey, measures } from './measure.ts';
import { median, type Results } from './report.ts';

const shown: readonly MeasureKey[] = ['tcp1', 'tcp4', 'udp64', 'udp1300', 'ping', 'cpuPerGigabyte'];
const WIDTH = 420;
const LABEL = 110;
const BAR = 16;
const GAP = 5;
const COLUMNS = 2;

export function chart(results: Results): string {
  const names = [...results.keys()].filter((name) => name !== 'bare link');
  const height = 40 + names.length * (BAR + GAP);
  const panels = shown
    .map((key, i) => panel(key, names, results, (i % COLUMNS) * WIDTH, Math.floor(i / COLUMNS) * height))
    .join('');
  const rows = Math.ceil(shown.length / COLUMNS);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH * COLUMNS} ${height * rows}" font-family="sans-serif" font-size="12">
<title>Throughput, latency and cost beside other VPNs</title>
<rect width="100%" height="100%" fill="#fff"/>${panels}
</svg>
`;
}

function panel(key: MeasureKey, names: readonly string[], results: Results, x: number, y: number): string {
  const { title, unit, digits, more } = measures.find((measure) => measure.key === key)!;
  const values = names.map((name) => median(results.get(name)?.get(key)) ?? 0);
  const largest = Math.max(...values, Number.MIN_VALUE);
  const room = WIDTH - LABEL - 80;
  const bars = names.map((name, i) => {
    const top = y + 30 + i * (BAR + GAP);
    const width = ((values[i]! / largest) * room).toFixed(1);
    const colour = name.startsWith('cyphonic') ? '#1565c0' : '#b0bec5';
    return `
<text x="${x + LABEL - 6}" y="${top + 12}" text-anchor="end">${name}</text>
<rect x="${x + LABEL}" y="${top}" width="${width}" height="${BAR}" fill="${colour}"/>
<text x="${x + LABEL + Number(width) + 4}" y="${top + 12}">${values[i]!.toFixed(digits)}</text>`;
  });
  const heading = `${title} (${unit}, ${more ? 'more' : 'less'} is better)`;
  return `\n<text x="${x + 10}" y="${y + 18}" font-weight="bold">${heading}</text>${bars.join('')}`;
}
