/** How long two nodes do not hear each other when something happens to their network. */

import { until } from './command.ts';
import type { Host } from './lab.ts';
import type { Node } from './network.ts';
import type { Program } from './program.ts';
import { stream } from './traffic.ts';

/** 100 pings a second, with the time of each answer. */
class FastPing {
  readonly #program: Program;

  constructor(host: Host, target: string) {
    this.#program = host.spawn(['ping', '-n', '-D', '-i', '0.01', target], { input: '' });
  }

  /** Numbers up to the last answered one that were not. */
  get missing(): number {
    const seen = new Set([...this.#program.stdout.matchAll(/icmp_seq=(\d+) ttl/g)].map(([, seq]) => Number(seq)));
    return seen.size === 0 ? 0 : Math.max(...seen) - seen.size;
  }

  /** Times of the answers so far (s). */
  get answers(): number[] {
    return [...this.#program.stdout.matchAll(/^\[(\d+\.\d+)\] \d+ bytes from/gm)].map(([, time]) => Number(time));
  }

  async stop(): Promise<void> {
    this.#program.signal('SIGINT');
    await this.#program.ended();
  }
}

export type Interruption = {
  /** The longest time between two answers from the event on (ms). */
  readonly gapMs: number;
  /** Pings that were never answered. */
  readonly missing: number;
  /** What the two ends of the transfer counted and hashed. */
  readonly sent: string;
  readonly received: string;
};

export type InterruptionOptions = {
  /** What goes through meanwhile, at 4 MiB a second. */
  readonly mebibytes?: number;
  /** Answers to wait for after the event, so that what comes later is seen as well. */
  readonly settled?: number;
  /** How long it may all take. */
  readonly patienceMs?: number;
};

/** Pings and transfers from `here` to `there`, lets something happen, and waits until both go on. */
export async function interrupt(
  here: Node,
  there: Node,
  event: () => void | Promise<void>,
  { mebibytes = 12, settled = 200, patienceMs = 60_000 }: InterruptionOptions = {},
): Promise<Interruption> {
  const target = String((await there.status()).vip4);
  await here.systemPing(target);
  const ping = new FastPing(here.host, target);
  const transfer = stream(here.host, there.host, target, { mebibytes, perSecond: 4, patienceMs });
  transfer.catch(() => {});
  await until(() => ping.answers.length > 100, { what: 'the first answers' });
  const before = ping.answers.length;
  const last = ping.answers.at(-1)!;
  await event();
  const returned = Date.now() / 1000;
  await until(() => ping.answers.filter((time) => time > returned).length >= settled, {
    what: `answers of ${there.deviceId} after the event`,
    timeoutMs: patienceMs,
    intervalMs: 100,
  });
  const { sent, received } = await transfer;
  const { missing } = ping;
  const times = [last, ...ping.answers.slice(before)];
  await ping.stop();
  const gaps = times.slice(1).map((time, i) => time - times[i]!);
  const gapMs = Math.round(1000 * Math.max(...gaps));
  return { gapMs, missing, sent, received };
}
