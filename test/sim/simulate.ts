/** Runs a seed; a failed one runs again, exactly the same, with the flow of the first silent pair drawn into a file. */

import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Flow } from './flow.ts';
import { type Outcome, Scenario, type ScenarioOptions } from './scenario.ts';

const NODES = 200;
const MAX_PAIRS = 300;
/** Where the trouble is the replicas', pairs talk all the time and fewer of them see as much. */
const REPLICATED: Size = { nodes: 30, maxPairs: 60 };

/** How often the PathIDs of a drawn pair are collected (ms). */
const COLLECT_MS = 50;

export type Size = { readonly nodes?: number; readonly maxPairs?: number };
export type Variant = Size & {
  /** Of the NMS. */
  readonly replicas?: number;
};

export async function simulate(seed: number, { replicas = 1, ...size }: Variant = {}): Promise<Outcome> {
  const usual: Size = replicas > 1 ? REPLICATED : { nodes: NODES, maxPairs: MAX_PAIRS };
  const options = { seed, replicas, ...(usual as Required<Size>), ...size };
  const outcome = (await Scenario.build(options)).run();
  const [first] = outcome.silent;
  if (first === undefined) return outcome;
  const file = await draw(options, first);
  return { ...outcome, failures: [...outcome.failures, `pair ${first} is drawn in ${file}`] };
}

/** Draws one pair's flow into a file, from the same seed. */
export async function draw(
  options: Omit<ScenarioOptions, 'flow'>,
  number: number,
  run: (scenario: Scenario) => void = (scenario) => void scenario.run(),
): Promise<string> {
  const { first, second } = (await Scenario.build(options)).pairs[number]!;
  const flow = new Flow(first.device.deviceId, second.device.deviceId);
  const scenario = await Scenario.build({ ...options, flow });
  const pair = scenario.pairs[number]!;
  const ids = new Set([pair.first.device.nodeId, pair.second.device.nodeId]);
  const collect = (): void => {
    for (const pathId of [...pair.first.pathsTo(pair.second), ...pair.second.pathsTo(pair.first)]) ids.add(pathId);
    scenario.clock.after(COLLECT_MS, collect);
  };
  collect();
  run(scenario);
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
