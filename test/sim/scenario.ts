/**
 * One simulated network from the first login to the last connection: nodes come up, applications want to talk, and
 * meanwhile everything that can happen to machines and networks does. Then it stops happening, datagrams go on being
 * lost, and every pair that wants to talk must soon do so.
 */

import { CyphonicError } from '../../src/lib/errors.ts';
import { World } from '../support/primitives.ts';
import { Clock } from './clock.ts';
import { Cloud, type CloudParts } from './cloud.ts';
import type { Flow } from './flow.ts';
import { Network, type Weather } from './network.ts';
import { SimNode } from './node.ts';
import { contentOf } from './packet.ts';
import { Pair } from './pair.ts';
import { Random } from './random.ts';
import { lostPairs, planReplicaTrouble } from './replica-trouble.ts';
import { Front } from './replicas.ts';
import { Topology } from './topology.ts';
import { plan } from './trouble.ts';

export type ScenarioOptions = {
  readonly seed: number;
  readonly nodes: number;
  readonly maxPairs: number;
  /** How often something happens, at most; by default to half of the nodes. */
  readonly events?: number;
  /** Of the NMS, which the trouble is about then. */
  readonly replicas?: number;
  /** Follows the datagrams of one pair. */
  readonly flow?: Flow;
};

export type Outcome = {
  readonly seed: number;
  readonly weather: Weather;
  readonly pairs: number;
  /** From the end of all trouble until the last pair talked (ms). */
  readonly settledMs: number;
  readonly simulatedMs: number;
  readonly datagrams: number;
  /** What is wrong; empty if all is well. */
  readonly failures: readonly string[];
  /** Numbers of pairs that don't talk. */
  readonly silent: readonly number[];
  /** Counters of all machines, summed. */
  readonly counters: Readonly<Record<string, number>>;
};

/** Every pair talks within this after the end of all trouble (ms). */
export const SETTLE_MS = 120_000;
const START_MS = 5_000;
/** After everybody talks, for what is still under way (ms). */
const AFTER_MS = 5_000;
/** Between two packets of a pair that is watched for gaps (ms). */
const STEADY_MS = [700, 1_300] as const;

export class Scenario {
  readonly options: ScenarioOptions;
  readonly clock = new Clock();
  readonly random: Random;
  readonly network: Network;
  readonly topology: Topology;
  readonly cloud: Cloud;
  readonly nodes: SimNode[] = [];
  readonly pairs: Pair[] = [];
  readonly #world: World;
  readonly #front: Front | null;

  static async build(options: ScenarioOptions): Promise<Scenario> {
    const { seed, flow, replicas = 1 } = options;
    const clock = new Clock();
    const random = new Random(seed, 1);
    const world = new World(seed);
    const network = new Network(
      clock,
      randomWeather(new Random(seed, 2), replicas > 1 ? 0.05 : 0.2),
      new Random(seed, 3),
    );
    const parts: CloudParts = { clock, network, random, world, note: (host, text) => flow?.note(clock.ms, host, text) };
    const cloud = await Cloud.open(parts, random.whole(1, 2));
    const front = replicas > 1 ? new Front(parts, cloud, replicas) : null;
    const scenario = new Scenario(options, parts, world, cloud, front);
    await scenario.#populate(parts);
    return scenario;
  }

  private constructor(options: ScenarioOptions, parts: CloudParts, world: World, cloud: Cloud, front: Front | null) {
    this.options = options;
    this.clock = parts.clock;
    this.random = parts.random;
    this.network = parts.network;
    this.#world = world;
    this.cloud = cloud;
    this.#front = front;
    this.topology = new Topology(parts.network, new Random(options.seed, 4));
    if (options.flow !== undefined) parts.network.onJourney = (journey) => options.flow?.journey(journey);
  }

  async #populate(parts: CloudParts): Promise<void> {
    const { nodes, maxPairs } = this.options;
    const delivered = (node: SimNode, packet: Uint8Array): void => {
      const { flow, number } = contentOf(packet);
      this.pairs[flow]?.delivered(node, number);
    };
    for (let i = 0; i < nodes; i++) {
      const device = await this.cloud.add(`n${i}`);
      this.nodes.push(new SimNode(parts, this.cloud, device, this.topology.socket(), delivered));
    }
    const most = Math.min(maxPairs, (nodes * (nodes - 1)) / 2);
    const wanted = new Set<string>();
    for (let left = this.random.whole(Math.ceil(most / 2), most); left > 0; ) {
      const [a, b] = [this.random.whole(0, nodes - 1), this.random.whole(0, nodes - 1)];
      const name = `${Math.min(a, b)} ${Math.max(a, b)}`;
      if (a === b || wanted.has(name)) continue;
      wanted.add(name);
      const ends = [this.nodes[a]!, this.nodes[b]!] as const;
      const interval = this.#front === null ? undefined : STEADY_MS;
      const pair = new Pair(this.pairs.length, ...ends, this.clock, this.random, interval);
      this.pairs.push(pair);
      left--;
    }
  }

  run(): Outcome {
    const { clock, pairs } = this;
    const failures: string[] = [];
    let quietAt = 0;
    let settledMs = 0;
    try {
      for (const node of this.nodes) clock.after(this.random.between(0, START_MS), () => node.start());
      quietAt = this.#plan();
      clock.run(quietAt);
      for (const pair of pairs) pair.expect();
      clock.run(quietAt + SETTLE_MS, () => pairs.every((pair) => pair.talks));
      settledMs = clock.ms - quietAt;
      clock.run(clock.ms + AFTER_MS);
    } catch (error) {
      failures.push(`at ${clock.ms} ms something threw: ${error instanceof Error ? error.stack : error}`);
      if (error instanceof CyphonicError) failures.push(JSON.stringify(error.details));
    }
    const silent = pairs.filter((pair) => !pair.talks).map((pair) => pair.number);
    for (const number of silent) failures.push(pairs[number]!.describe());
    const { reused } = this.#world;
    if (reused.length > 0) {
      failures.push(
        `${reused.length} nonces were used twice, the first with key ${reused[0]!.key} ${reused[0]!.sequence}`,
      );
    }
    failures.push(...pairs.flatMap((pair) => pair.wrong), ...lostPairs(this), ...this.#oversized());
    const { weather, datagrams } = this.network;
    const { seed } = this.options;
    const counters = this.#counters();
    return {
      seed,
      weather,
      pairs: pairs.length,
      settledMs,
      simulatedMs: clock.ms,
      datagrams,
      failures,
      silent,
      counters,
    };
  }

  #plan(): number {
    if (this.#front !== null) return planReplicaTrouble(this, this.#front);
    const quietAt = plan(this);
    for (const pair of this.pairs) this.clock.after(this.random.between(START_MS, quietAt), () => pair.start());
    return quietAt;
  }

  /** Tables that grew beyond what the wanted pairs explain. */
  #oversized(): string[] {
    const found: string[] = [];
    const check = (what: string, size: number, limit: number): void => {
      if (size > limit) found.push(`${what}: ${size}, expected at most ${limit}`);
    };
    for (const { sizes: nms } of this.#front?.replicas ?? [this.cloud.nms]) {
      if (nms === null) continue;
      check('nodes at the NMS', nms.nodes, this.nodes.length);
      check('records at the NMS', nms.records, 3 * this.nodes.length + 16);
      check('questions at the NMS', nms.questions, this.nodes.length);
    }
    for (const node of this.nodes) {
      const partners = this.pairs.filter((pair) => pair.has(node)).length;
      const name = node.device.deviceId;
      const sizes = node.sizes;
      if (sizes === null) continue;
      check(`paths of ${name} with ${partners} partners`, sizes.paths, 3 * partners + 4);
      check(`keys of ${name} with ${partners} partners`, sizes.keys, 6 * partners + 8);
      check(`routes of ${name} with ${partners} partners`, sizes.routes, 2 * partners);
      check(`peers of ${name} with ${partners} partners`, node.snapshot?.peers.length ?? 0, partners);
    }
    check('timers and datagrams under way', this.clock.pending, 40 * this.nodes.length + 20 * this.pairs.length);
    return found;
  }

  #counters(): Record<string, number> {
    const sum: Record<string, number> = {};
    const { as, nms, trs } = this.cloud.counters;
    const all = [
      ...Object.entries({ as, nms, trs }).map(([role, counters]) => [role, counters] as const),
      ...this.nodes.map((node) => ['node', node.counters] as const),
    ];
    for (const [role, counters] of all) {
      for (const [name, count] of Object.entries(counters.snapshot())) {
        sum[`${role} ${name}`] = (sum[`${role} ${name}`] ?? 0) + count;
      }
    }
    return sum;
  }
}

function randomWeather(random: Random, maxLoss: number): Weather {
  return {
    loss: random.chance(0.15) ? 0 : random.between(0, maxLoss),
    duplication: random.between(0, 0.05),
    reordering: random.between(0, 0.2),
    heldBack: random.between(10, 300),
  };
}
