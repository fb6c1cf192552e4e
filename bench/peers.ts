/**
 * `npm run bench -- [--peers a,b] [--trials tcp1,udp64] [--seconds 3] [--rounds 3] [--out DIRECTORY|none]`: this program
 * beside every other VPN found installed, on one machine, in network namespaces. All are up all the time and take turns
 * within every trial, so that other load on the machine meets them alike; what counts is the ratio of medians.
 */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { succeeds } from '../test/lab/toolkit/command.ts';
import { Lab, whyNoLab } from '../test/lab/toolkit/lab.ts';
import { cyphonic } from './peers/cyphonic.ts';
import { fastd } from './peers/fastd.ts';
import { link } from './peers/link.ts';
import { answers, type MeasureKey, measures, type Trial, trials } from './peers/measure.ts';
import { n2n } from './peers/n2n.ts';
import { nebula } from './peers/nebula.ts';
import { openvpn } from './peers/openvpn.ts';
import { daemonsOf, type Peer } from './peers/peer.ts';
import { type Results, report } from './peers/report.ts';
import { tinc } from './peers/tinc.ts';
import { wireguardGo } from './peers/wireguard-go.ts';

type TrialName = keyof typeof trials;

const { values: options } = parseArgs({
  options: {
    peers: { type: 'string' },
    trials: { type: 'string' },
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '3' },
    out: { type: 'string', default: 'docs/performance' },
  },
});

function listed<T extends string>(wanted: string | undefined, all: readonly T[]): T[] {
  if (wanted === undefined) return [...all];
  const names = wanted.split(',');
  const unknown = names.find((name) => !all.includes(name as T));
  if (unknown !== undefined) throw new Error(`${unknown} is none of ${all.join(', ')}`);
  return all.filter((name) => names.includes(name));
}

async function bringUp(lab: Lab): Promise<{ peer: Peer; trial: Trial }[]> {
  const internet = lab.internet();
  let clouds = 0;
  const cloudAddress = (): string => `198.51.100.${10 + clouds++}`;
  const all: Peer[] = [
    link,
    cyphonic(internet, cloudAddress, { name: 'cyphonic' }),
    cyphonic(internet, cloudAddress, { name: 'cyphonic-relay', relayed: true }),
    ...[wireguardGo, nebula, tinc, n2n, openvpn, fastd],
  ];
  const names = listed(
    options.peers,
    all.map(({ name }) => name),
  );
  const up: { peer: Peer; trial: Trial }[] = [];
  for (const [i, peer] of all.filter(({ name }) => names.includes(name)).entries()) {
    const missing = peer.tools.find((tool) => !succeeds(['sh', '-c', `command -v ${tool}`]));
    if (missing !== undefined) {
      console.error(`${peer.name}: left out, ${missing} is not installed`);
      continue;
    }
    const host = (end: 'a' | 'b', v4: string) => lab.host(`p${i}${end}`, internet, { v4 });
    const hosts = [host('a', `203.0.113.${2 * i + 1}`), host('b', `203.0.113.${2 * i + 2}`)] as const;
    const site = { lab, hosts, directory: join(lab.directory, `p${i}`) };
    mkdirSync(site.directory);
    try {
      const started = await peer.start(site);
      await answers(site, started.address);
      const tunnel = { daemons: daemonsOf(site), ...started };
      up.push({ peer, trial: { site, tunnel, seconds: Number(options.seconds) } });
    } catch (error) {
      console.error(`${peer.name}: left out, ${(error as Error).message}`);
    }
  }
  return up;
}

async function main(): Promise<void> {
  const reason = whyNoLab();
  if (reason !== null) throw new Error(`no laboratory: ${reason}`);
  const lab = new Lab('peers');
  const results: Results = new Map();
  try {
    const up = await bringUp(lab);
    for (let round = 1; round <= Number(options.rounds); round++) {
      for (const name of listed(options.trials, Object.keys(trials) as TrialName[])) {
        for (const { peer, trial } of up) {
          const row = results.get(peer.name) ?? new Map<MeasureKey, number[]>();
          results.set(peer.name, row);
          try {
            const values = await trials[name](trial);
            for (const [key, value] of Object.entries(values) as [MeasureKey, number][]) {
              row.set(key, [...(row.get(key) ?? []), value]);
              const { digits = 0, unit = '' } = measures.find((measure) => measure.key === key) ?? {};
              console.error(`round ${round} ${peer.name} ${key}: ${value.toFixed(digits)} ${unit}`);
            }
          } catch (error) {
            console.error(`round ${round} ${peer.name} ${name}: failed, ${(error as Error).message}`);
          }
        }
      }
    }
  } finally {
    await lab.close();
  }
  report(results, options.out === 'none' ? null : options.out, {
    seconds: Number(options.seconds),
    rounds: Number(options.rounds),
  });
}

await main();
