/**
 * npm run matrix: every kind of place with every other, printed and written into docs/connectivity.md;
 * `npm run matrix -- families neighbours`: these of the grids (nats, families, neighbours) alone.
 * `npm run matrix -- --tries 20`: a port-restricted NAT and a symmetric one, each way in turn, so many times, likewise;
 * `npm run matrix -- --tries 20 cgnat symmetric`: two other places, printed only.
 */

import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { rewrite } from './toolkit/document.ts';
import { Lab, whyNoLab } from './toolkit/lab.ts';
import {
  type Cell,
  places as everyPlace,
  expectsDirect,
  Matrix,
  type Meeting,
  meet,
  type Neighbourhood,
  neighbourhoods,
  type Place,
  placeNames,
  predicts,
} from './toolkit/matrix.ts';
import type { Node } from './toolkit/network.ts';

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
/** Pairs that meet, or nodes that start, at the same time. */
const AT_ONCE = 4;
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
  // A few at a time: so many first logins and starts at once take a small machine longer than anybody waits.
  const nodes: Node[] = [];
  for (const some of inGroups([...places, ...places])) {
    nodes.push(...(await Promise.all(some.map((place) => matrix.node(place)))));
  }
  const [initiators, responders] = [nodes.slice(0, places.length), nodes.slice(places.length)];
  const cells: Cell[] = [];
  for (let shift = 0; shift < places.length; shift++) {
    const round = places.map((from, i) => {
      const j = (i + shift) % places.length;
      return meet(initiators[i]!, responders[j]!, { from, to: places[j]! });
    });
    for (const cell of await Promise.all(round)) {
      cells.push(cell);
      console.log(`${placeNames[cell.from]} to ${placeNames[cell.to]}: ${describeCell(cell)}`);
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

function inGroups<T>(all: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(all.length / AT_ONCE) }, (_, i) => all.slice(i * AT_ONCE, (i + 1) * AT_ONCE));
}

function isGood({ from, to, directMs }: Cell): boolean {
  return expectsDirect(from, to) !== true || directMs !== null;
}

function describe({ firstMs, path, directMs }: Meeting, good: boolean): string {
  const time = directMs === null ? `${firstMs} ms` : `${firstMs} / ${directMs} ms`;
  return `${path ?? 'none'} ${time}${good ? '' : ' (!)'}`;
}

function describeCell(cell: Cell): string {
  return `${describe(cell, isGood(cell))}${predicts(cell) && cell.directMs !== null ? ' †' : ''}`;
}

function table(places: readonly Place[], cells: readonly Cell[]): string {
  const rows = places.map((from) => {
    const row = places.map((to) => cells.find((cell) => cell.from === from && cell.to === to)!);
    return `| ${[placeNames[from], ...row.map(describeCell)].join(' | ')} |`;
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
  let good = true;
  for (const [title, measure] of Object.entries(grids)) {
    if (wanted.length > 0 && !wanted.includes(title)) continue;
    const machine = describeMachine();
    const lab = new Lab('matrix');
    try {
      const outcome = await measure(lab);
      console.log(`\n${outcome.text}\n`);
      rewrite('connectivity.md', `npm run matrix -- ${title}`, () => `${outcome.text}\n\n${machine}\n`);
      good &&= outcome.good;
    } catch (error) {
      console.error(`${error instanceof Error ? error.message : error}\n${lab.report()}`);
      return 1;
    } finally {
      await lab.close();
    }
  }
  return good ? 0 : 1;
}

function describeMachine(): string {
  return `On ${cpus().length} cores, with a load of ${loadavg()[0]!.toFixed(1)} when it began.`;
}

const predicted: readonly Place[] = ['port-restricted', 'symmetric'];

async function tryPair(tries: number, pair: readonly Place[]): Promise<number> {
  const machine = describeMachine();
  const cells: Cell[] = [];
  while (cells.length < tries) {
    const lab = new Lab('predict');
    try {
      const matrix = await Matrix.open(lab);
      const round = Array.from({ length: Math.min(AT_ONCE, tries - cells.length) }, async (_, i) => {
        const [from, to] = i % 2 === 0 ? pair : pair.toReversed();
        const [initiator, responder] = [await matrix.node(from!), await matrix.node(to!)];
        return meet(initiator, responder, { from: from!, to: to! });
      });
      cells.push(...(await Promise.all(round)));
    } finally {
      await lab.close();
    }
    for (const cell of cells.slice(-AT_ONCE)) console.log(`${cell.from} to ${cell.to}: ${describeCell(cell)}`);
  }
  const times = cells.flatMap(({ directMs }) => directMs ?? []).sort((a, b) => a - b);
  const [half, last] = [times[times.length >> 1], times.at(-1)].map((ms) => `${((ms ?? 0) / 1_000).toFixed(1)} s`);
  const outcome = `${times.length} of ${tries} were direct, half of them within ${half} and the last within ${last}.`;
  console.log(outcome);
  if (pair === predicted && tries === 20)
    rewrite('connectivity.md', 'npm run matrix -- --tries 20', () => `${outcome} ${machine}\n`);
  return times.length >= 0.9 * tries ? 0 : 1;
}

const isPlace = (text: string): text is Place => everyPlace.some((place) => place === text);

const { values, positionals } = parseArgs({ options: { tries: { type: 'string' } }, allowPositionals: true });
const pair = positionals.filter(isPlace);
process.exitCode =
  values.tries === undefined
    ? await run(positionals)
    : await tryPair(Number(values.tries), pair.length === 2 ? pair : predicted);
