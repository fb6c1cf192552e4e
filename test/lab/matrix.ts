/** npm run matrix: every kind of place with every other; prints the grids and writes docs/connectivity.md. */

import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Lab, whyNoLab } from './toolkit/lab.ts';
import { type Cell, expectsDirect, Matrix, meet, type Place, placeNames } from './toolkit/matrix.ts';

const document = fileURLToPath(new URL('../../docs/connectivity.md', import.meta.url));

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
const families: readonly Place[] = ['none', 'ipv6', 'dual'];

/** Rounds in which every initiator and every responder meets one other. */
async function measure(lab: Lab, places: readonly Place[]): Promise<Cell[]> {
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
      console.log(`${placeNames[cell.from]} to ${placeNames[cell.to]}: ${describe(cell)}`);
    }
  }
  return cells;
}

function describe({ from, to, firstMs, path, directMs }: Cell): string {
  const time = directMs === null ? `${firstMs} ms` : `${firstMs} / ${directMs} ms`;
  const expected = expectsDirect(from, to);
  const missed = expected === true && directMs === null ? ' (!)' : '';
  return `${path ?? 'none'} ${time}${missed}`;
}

function table(places: readonly Place[], cells: readonly Cell[]): string {
  const rows = places.map((from) => {
    const row = places.map((to) => cells.find((cell) => cell.from === from && cell.to === to)!);
    return `| ${[placeNames[from], ...row.map(describe)].join(' | ')} |`;
  });
  const head = ['initiator \\ responder', ...places.map((place) => placeNames[place])];
  return [`| ${head.join(' | ')} |`, `|${' --- |'.repeat(head.length)}`, ...rows].join('\n');
}

async function run(): Promise<number> {
  const reason = whyNoLab();
  if (reason !== null) {
    console.error(`no network namespaces here: ${reason}`);
    return 1;
  }
  const [cores, load] = [cpus().length, loadavg()[0]!.toFixed(1)];
  const grids: { places: readonly Place[]; cells: Cell[] }[] = [];
  for (const places of [nats, families]) {
    const lab = new Lab('matrix');
    try {
      grids.push({ places, cells: await measure(lab, places) });
    } catch (error) {
      console.error(`${error instanceof Error ? error.message : error}\n${lab.report()}`);
      return 1;
    } finally {
      await lab.close();
    }
  }
  const [byNat, byFamily] = grids.map(({ places, cells }) => table(places, cells));
  const text = `# Who reaches whom, and how

Written by \`npm run matrix\`: real daemons in network namespaces, each host in a place of its own. A cell has the path after
at most 10 s, the time to the first answer of a ping by name (with the name's resolution and the tunnel's set-up) and, for
direct paths, the time until the path was direct. (!) marks a cell that should be direct and was not. Times are those of a
machine with ${cores} cores and a load of ${load} when it began; port mapping is asked of Debian's miniupnpd.

## NATs and firewalls, over IPv4

${byNat}

## Address families

${byFamily}
`;
  writeFileSync(document, text);
  console.log(`\n${byNat}\n\n${byFamily}`);
  const cells = grids.flatMap((grid) => grid.cells);
  return cells.every((cell) => expectsDirect(cell.from, cell.to) !== true || cell.directMs !== null) ? 0 : 1;
}

process.exitCode = await run();
