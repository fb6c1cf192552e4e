/**
 * npm run matrix: every kind of place with every other; prints the grids and writes them into docs/connectivity.md.
 * `npm run matrix -- families neighbours` measures and prints these of its grids (nats, families, neighbours) alone.
 * npm run matrix -- --tries 20: a port-restricted NAT and a symmetric one, each way in turn, so many times.
 */

import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { rewrite } from './toolkit/document.ts';
import { Lab, whyNoLab } from './toolkit/lab.ts';
import {
  type Cell,
  expectsDirect,
  Matrix,
  type Meeting,
  meet,
  type Neighbourhood,
  neighbourhoods,
  type Place,
  placeNames,
} from './toolkit/matrix.ts';

const nats: readonly Place[] = [
  'none',
  'firewall',
  'full-cone',
  'address-restricted',
  'port-restricted',
  'symmetric',
  'port-mapping',
  'cgnat',
  'blocked',
];
const families: readonly Place[] = ['none', 'ipv6', 'nat64', 'dual', 'black-hole'];

/** What one grid says, and whether it says what it should. */
type Outcome = { readonly text: string; readonly good: boolean };

const grids: { readonly [title: string]: (lab: Lab) => Promise<Outcome> } = {
  nats: (lab) => measurePlaces(lab, nats),
  families: (lab) => measurePlaces(lab, families),
  neighbours: measureNeighbours,
};

/** Rounds in which every initiator and every responder meets one other. */
async function measurePlaces(lab: Lab, places: readonly Place[]): Promise<Outcome> {
  const matrix = await Matrix.open(lab);
  const [initiators, responders] = await Promise.all(
    [places, places].map((side) => Promise.all(side.map((place) => matrix.node(place)))),
  );
  const cells: Cell[] = [];
  for (let shift = 0; shift < places.length; shift++) {
    const round = places.map((from, i) => {
      const j = (i + shift) % places.length;
      return meet(initiators![i]!, responders![j]!, { from, to: places[j]! });
    });
    for (const cell of await Promise.all(round)) {
      cells.push(cell);
      console.log(`${placeNames[cell.from]} to ${placeNames[cell.to]}: ${describe(cell, isGood(cell))}`);
    }
  }
  return { text: table(places, cells), good: cells.every(isGood) };
}

/** One pair after the other. */
async function measureNeighbours(lab: Lab): Promise<Outcome> {
  const matrix = await Matrix.open(lab);
  const rows: string[] = [];
  let good = true;
  for (const [kind, path] of Object.entries(neighbourhoods) as [Neighbourhood, string][]) {
    const [from, to] = await matrix.neighbours(kind);
    const meeting = await meet(from, to, {});
    const isAsExpected = meeting.path === path;
    rows.push(`| ${kind} | ${describe(meeting, isAsExpected)} |`);
    console.log(rows.at(-1));
    good &&= isAsExpected;
  }
  return { text: ['| two devices in | path |', '| --- | --- |', ...rows].join('\n'), good };
}

function isGood({ from, to, directMs }: Cell): boolean {
  return expectsDirect(from, to) !== true || directMs !== null;
}

function describe({ firstMs, path, directMs }: Meeting, good: boolean): string {
  const time = directMs === null ? `${firstMs} ms` : `${firstMs} / ${directMs} ms`;
  return `${path ?? 'none'} ${time}${good ? '' : ' (!)'}`;
}

function table(places: readonly Place[], cells: readonly Cell[]): string {
  const rows = places.map((from) => {
    const row = places.map((to) => cells.find((cell) => cell.from === from && cell.to === to)!);
    return `| ${[placeNames[from], ...row.map((cell) => describe(cell, isGood(cell)))].join(' | ')} |`;
  });
  const head = ['initiator \\ responder', ...places.map((place) => placeNames[place])];
  return [`| ${head.join(' | ')} |`, `|${' --- |'.repeat(head.length)}`, ...rows].join('\n');
}

async function run(wanted: readonly string[]): Promise<number> {
  const reason = whyNoLab();
  if (reason !== null) {
    console.error(`no network namespaces here: ${reason}`);
    return 1;
  }
  const [cores, load] = [cpus().length, loadavg()[0]!.toFixed(1)];
  const outcomes: Record<string, Outcome> = {};
  for (const [title, measure] of Object.entries(grids)) {
    if (wanted.length > 0 && !wanted.includes(title)) continue;
    const lab = new Lab('matrix');
    try {
      outcomes[title] = await measure(lab);
      console.log(`\n${outcomes[title].text}\n`);
    } catch (error) {
      console.error(`${error instanceof Error ? error.message : error}\n${lab.report()}`);
      return 1;
    } finally {
      await lab.close();
    }
  }
  if (wanted.length === 0) rewrite('connectivity.md', 'npm run matrix', () => textOf(outcomes, cores, load));
  return Object.values(outcomes).every(({ good }) => good) ? 0 : 1;
}

function textOf(outcomes: Readonly<Record<string, Outcome>>, cores: number, load: string): string {
  return `Measured on a machine with ${cores} cores and a load of ${load} when it began.

## NATs and firewalls, over IPv4

${outcomes.nats?.text}

## Address families

${outcomes.families?.text}

## Behind one NAT

${outcomes.neighbours?.text}
`;
}

/** Pairs that meet at the same time. */
const AT_ONCE = 4;

async function tryPrediction(tries: number): Promise<number> {
  const cells: Cell[] = [];
  while (cells.length < tries) {
    const lab = new Lab('predict');
    try {
      const matrix = await Matrix.open(lab);
      const round = Array.from({ length: Math.min(AT_ONCE, tries - cells.length) }, async (_, i) => {
        const both = ['port-restricted', 'symmetric'] as const;
        const [from, to] = i % 2 === 0 ? both : both.toReversed();
        const [initiator, responder] = [await matrix.node(from!), await matrix.node(to!)];
        return meet(initiator, responder, { from: from!, to: to! });
      });
      cells.push(...(await Promise.all(round)));
    } finally {
      await lab.close();
    }
    for (const cell of cells.slice(-AT_ONCE))
      console.log(`${cell.from} to ${cell.to}: ${describe(cell, isGood(cell))}`);
  }
  const times = cells.flatMap(({ directMs }) => directMs ?? []).sort((a, b) => a - b);
  console.log(`${times.length} of ${tries} direct, half of them within ${times[times.length >> 1] ?? '-'} ms`);
  return times.length >= 0.9 * tries ? 0 : 1;
}

const { values, positionals } = parseArgs({ options: { tries: { type: 'string' } }, allowPositionals: true });
process.exitCode = values.tries === undefined ? await run(positionals) : await tryPrediction(Number(values.tries));
