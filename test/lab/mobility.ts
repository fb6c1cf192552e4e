/**
 * npm run mobility -- [--runs 20] [--events NAME,NAME]: how long a pair does not hear each other when its networks move or
 * fail, many times over, under 100 pings a second and downloads of 200 MiB whose checksums are compared. Prints a table and
 * writes its rows into docs/connectivity.md. Exit code 1 if a bar is missed or a checksum differs.
 */

import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { rewrite } from './toolkit/document.ts';
import { type Gap, Watch } from './toolkit/interruption.ts';
import { Lab, whyNoLab } from './toolkit/lab.ts';
import {
  atHome,
  type Extent,
  inPublic,
  inTwoFamilies,
  relayed,
  type Scene,
  withTwoInterfaces,
} from './toolkit/scenes.ts';

type Event = {
  readonly title: string;
  /** For 95 of 100 runs (ms); null: no packet may be lost. */
  readonly barMs: number | null;
  /** Pairs it happens to at a time. */
  readonly pairs?: number;
  /** Nothing can get through for a time of its own, which does not count. */
  readonly outage?: boolean;
  readonly cause: string;
  /** What comes between two runs. */
  readonly undo?: string;
  readonly open: (lab: Lab, extent: Extent) => Promise<Scene<string>>;
};

/** What takes a minute, or a minute to recover from, happens to so many pairs at once. */
const PAIRS = 5;
const MOVE_MS = 1_000;
const FAILURE_MS = 3_000;

const publicly = { pairs: PAIRS, open: inPublic };
const relaying = { barMs: FAILURE_MS, undo: 'relayReturns', open: relayed };

const events: { readonly [name: string]: Event } = {
  'new-address': { title: 'new address on the same interface', barMs: MOVE_MS, cause: 'moves', open: atHome },
  'other-interface': { title: 'other interface', barMs: MOVE_MS, cause: 'otherInterface', open: withTwoInterfaces },
  'other-route': {
    title: 'other default route, both up',
    barMs: MOVE_MS,
    cause: 'otherRoute',
    open: withTwoInterfaces,
  },
  'relayed-address': {
    title: 'new address while relayed',
    barMs: MOVE_MS,
    cause: 'moves',
    open: (lab, extent) => atHome(lab, extent, 'symmetric'),
  },
  'other-family': { title: 'IPv4 to IPv6 network and back', barMs: MOVE_MS, cause: 'otherFamily', open: inTwoFamilies },
  'black-hole': {
    ...publicly,
    title: 'direct path black-holed',
    barMs: FAILURE_MS,
    cause: 'blackHole',
    undo: 'blackHoleEnds',
  },
  'relay-killed': { ...relaying, title: 'TRS killed while relayed, second TRS present', cause: 'relayKilled' },
  'relay-vanishes': { ...relaying, title: 'TRS falls silent, second TRS present', cause: 'relayVanishes' },
  'nat-forgets': { title: 'NAT loses its mappings', barMs: FAILURE_MS, cause: 'natForgets', open: atHome },
  'nat-forgets-relayed': {
    title: 'NAT loses its mappings while relayed',
    barMs: FAILURE_MS,
    cause: 'natForgets',
    open: (lab, extent) => atHome(lab, extent, 'symmetric'),
  },
  'both-move': { title: 'both ends move within 100 ms', barMs: FAILURE_MS, cause: 'bothMove', open: atHome },
  'no-udp': {
    title: 'to a network that blocks UDP, and back',
    barMs: FAILURE_MS,
    cause: 'otherInterface',
    open: (lab, extent) => withTwoInterfaces(lab, extent, ['port-restricted', 'blocked']),
  },
  rekeying: {
    title: 'new keys after 2 s',
    barMs: null,
    cause: 'newKeys',
    open: (lab, extent) => inPublic(lab, extent, ['--rekey-after', '2']),
  },
  'usual-rekeying': { ...publicly, title: 'new keys at the usual time', barMs: null, cause: 'newKeys' },
  'cloud-gone': {
    ...publicly,
    title: 'NMS, AS and TRS killed for a minute, then back',
    barMs: null,
    cause: 'cloudGone',
  },
  suspended: {
    ...publicly,
    title: 'peer suspended for a minute',
    barMs: FAILURE_MS,
    outage: true,
    cause: 'suspended',
  },
  'interface-gone': {
    title: 'interface gone for a minute',
    barMs: FAILURE_MS,
    pairs: PAIRS,
    outage: true,
    cause: 'interfaceGone',
    open: withTwoInterfaces,
  },
};

type Outcome = { readonly gaps: readonly number[]; readonly lost: readonly number[]; readonly equal: boolean };

const PATIENCE_MS = 10 * 60_000;
/** What all downloads bring together (MiB). */
const PER_SECOND = 8;

/** All runs of one event, in one laboratory. */
async function measure(
  lab: Lab,
  { pairs = 1, outage = false, cause, undo, open }: Event,
  runs: number,
): Promise<Outcome> {
  const scene = await open(lab, { pairs });
  const ready = () => Promise.all(scene.pairs.map(([a, b]) => a.reaches(b, scene.path, 90_000)));
  const load = { mebibytes: 200, perSecond: PER_SECOND / pairs, again: true, patienceMs: PATIENCE_MS };
  const watches = await Promise.all(scene.pairs.map(([a, b]) => Watch.start(a, b, load)));
  const gaps: number[] = [];
  const lost: Gap['missing'][] = [];
  for (let run = 0; gaps.length < runs; run++) {
    await ready();
    const happened = Promise.resolve().then(() => scene.causes[cause]!(run));
    for (const { gapMs, tookMs, missing } of await Promise.all(watches.map((watch) => watch.through(() => happened)))) {
      gaps.push(outage ? Math.max(0, gapMs - tookMs) : gapMs);
      lost.push(missing);
    }
    console.log(`  ${gaps.slice(run * pairs).join(', ')} ms`);
    if (undo !== undefined) await scene.causes[undo]!(run);
  }
  const transfers = (await Promise.all(watches.map((watch) => watch.end()))).flat();
  console.log(`  ${transfers.length} downloads`);
  return {
    gaps,
    lost: lost.map((missing) => missing()),
    equal: transfers.every(({ sent, received }) => sent === received),
  };
}

/** The value below which a share of them lies, by nearest rank. */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
}

function isGood({ barMs }: Event, { gaps, lost, equal }: Outcome): boolean {
  return equal && (barMs === null ? Math.max(...lost) === 0 : quantile(gaps, 0.95) <= barMs);
}

const head =
  '| event | runs | median | p95 | worst | pings lost, median and worst | bar | load |\n| --- | --- | --- | --- | --- | --- | --- | --- |';

function row(event: Event, outcome: Outcome, load: string): string {
  const { gaps, lost, equal } = outcome;
  const cells = [
    event.title,
    gaps.length,
    ...[0.5, 0.95, 1].map((share) => `${quantile(gaps, share)} ms`),
    `${quantile(lost, 0.5)}, ${Math.max(...lost)}`,
    `${event.barMs === null ? '0 lost' : `p95 ${event.barMs / 1_000} s`}${equal ? '' : ', CHECKSUM'}${isGood(event, outcome) ? '' : ' (!)'}`,
    load,
  ];
  return `| ${cells.join(' | ')} |`;
}

/** The table with these rows in place of those of the same events, in the order of `events`. */
function merged(before: string, rows: ReadonlyMap<string, string>): string {
  const lines = Object.values(events).flatMap(({ title }) => {
    const known = before.split('\n').find((line) => line.startsWith(`| ${title} |`));
    return rows.get(title) ?? known ?? [];
  });
  return `${[head, ...lines].join('\n')}\n`;
}

async function run(names: readonly string[], runs: number): Promise<void> {
  const rows = new Map<string, string>();
  for (const name of names) {
    const event = events[name]!;
    const load = loadavg()[0]!.toFixed(1);
    console.log(`${event.title}:`);
    const lab = new Lab('mobility');
    try {
      const outcome = await measure(lab, event, runs);
      rows.set(event.title, row(event, outcome, load));
      console.log(rows.get(event.title));
      if (!isGood(event, outcome)) process.exitCode = 1;
    } catch (error) {
      console.error(`${error instanceof Error ? error.message : error}\n${lab.report()}`);
      process.exitCode = 1;
    } finally {
      await lab.close();
    }
    rewrite('connectivity.md', 'npm run mobility', (before) => merged(before, rows));
  }
  console.log(`\non ${cpus().length} cores:\n\n${[head, ...rows.values()].join('\n')}`);
}

const { values } = parseArgs({ options: { runs: { type: 'string', default: '20' }, events: { type: 'string' } } });
const names = values.events?.split(',') ?? Object.keys(events);
const reason = whyNoLab();
const unknown = names.filter((name) => events[name] === undefined);
if (reason !== null) console.error(`no network namespaces here: ${reason}`);
else if (unknown.length > 0) console.error(`no event ${unknown}; there are ${Object.keys(events).join(', ')}`);
if (reason === null && unknown.length === 0) await run(names, Number(values.runs));
else process.exitCode = 2;
