/** Runs a seed; a failed one runs again, exactly the same, with the flow of the first silent pair drawn into a file. */

import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Flow } from './flow.ts';
import { type Outcome, Scenario } from './scenario.ts';

export const NODES = 200;
export const MAX_PAIRS = 300;

export type Size = { readonly nodes?: number; readonly maxPairs?: number };

export async function simulate(seed: number, { nodes = NODES, maxPairs = MAX_PAIRS }: Size = {}): Promise<Outcome> {
  const options = { seed, nodes, maxPairs };
  const outcome = (await Scenario.build(options)).run();
  const [first] = outcome.silent;
  if (first === undefined) return outcome;
  const file = await draw(options, first);
  return { ...outcome, failures: [...outcome.failures, `pair ${first} is drawn in ${file}`] };
}

async function draw(options: { seed: number; nodes: number; maxPairs: number }, number: number): Promise<string> {
  const { first, second } = (await Scenario.build(options)).pairs[number]!;
  const flow = new Flow(first.device.deviceId, second.device.deviceId);
  const scenario = await Scenario.build({ ...options, flow });
  scenario.run();
  const [a, b] = [scenario.pairs[number]!.first, scenario.pairs[number]!.second];
  const nodeIds = scenario.nodes.map((node) => node.device.nodeId);
  const others = new Set(nodeIds.filter((id) => id !== a.device.nodeId && id !== b.device.nodeId));
  for (const node of [a, b]) {
    for (const peer of scenario.nodes) {
      if (peer !== a && peer !== b) for (const pathId of node.pathsTo(peer)) others.add(pathId);
    }
  }
  const ids = new Set([...flow.ids].filter((id) => !others.has(id)));
  const file = join(mkdtempSync(join(tmpdir(), 'cyphonic-sim-')), `seed-${options.seed}-pair-${number}.mmd`);
  writeFileSync(file, flow.draw(ids));
  return file;
}

/** One line about a seed. */
export function summary({ seed, weather, pairs, settledMs, simulatedMs, datagrams, failures }: Outcome): string {
  const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
  return [
    `seed ${seed}: ${failures.length === 0 ? 'ok' : 'FAILED'}`,
    `${pairs} pairs`,
    `all talking ${(settledMs / 1000).toFixed(1)} s after the trouble`,
    `${(simulatedMs / 1000).toFixed(0)} s, ${datagrams} datagrams`,
    `loss ${percent(weather.loss)}`,
  ].join(', ');
}
