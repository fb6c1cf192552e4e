/** How long two nodes do not hear each other when something happens to their network. */

import { until } from './command.ts';
import type { Host } from './lab.ts';
import type { Node } from './network.ts';
import type { Program } from './program.ts';
import { stream } from './traffic.ts';

type Answer = { readonly seq: number; readonly time: number };

/** 100 pings a second, with the time of each answer. */
class FastPing {
  readonly #program: Program;
  readonly #answers: Answer[] = [];
  #read = 0;

  constructor(host: Host, target: string) {
    this.#program = host.spawn(['ping', '-n', '-D', '-i', '0.01', target], { input: '' });
  }

  /** The answers so far, with their times (s). */
  get answers(): readonly Answer[] {
    const text = this.#program.stdout;
    const end = text.lastIndexOf('\n') + 1;
    for (const [, time, number] of text
      .slice(this.#read, end)
      .matchAll(/^\[(\d+\.\d+)\] \d+ bytes from.*icmp_seq=(\d+) ttl/gm)) {
      // The numbers have 16 bits.
      const last = this.#answers.at(-1)?.seq ?? 0;
      const seq = Number(number) + 65_536 * Math.round((last - Number(number)) / 65_536);
      this.#answers.push({ seq, time: Number(time) });
    }
    this.#read = end;
    return this.#answers;
  }

  async stop(): Promise<void> {
    this.#program.signal('SIGINT');
    await this.#program.ended();
  }
}

/** What one event did, as far as it is known at once. */
export type Gap = {
  /** The longest time between two answers from the event on (ms). */
  readonly gapMs: number;
  /** How long the event itself took (ms). */
  readonly tookMs: number;
  /** Pings from the event on that were never answered. */
  readonly missing: () => number;
};

/** What one transfer's two ends counted and hashed. */
export type Transferred = { readonly sent: string; readonly received: string };

export type Load = {
  /** One transfer; with `again` there is another one after it as long as anybody watches. */
  readonly mebibytes?: number;
  readonly perSecond?: number;
  readonly again?: boolean;
  /** How long a transfer or an event may take. */
  readonly patienceMs?: number;
};

/** Pings from `here` to `there` and what `here` downloads from there, through which things happen. */
export class Watch {
  readonly #ping: FastPing;
  readonly #there: string;
  readonly #patienceMs: number;
  readonly #transfers: Promise<Transferred[]>;
  #over = false;

  private constructor(here: Node, there: Node, [v4, target]: readonly [string, string], load: Load) {
    const { mebibytes = 12, perSecond = 4, again = false, patienceMs = 60_000 } = load;
    this.#ping = new FastPing(here.host, target);
    this.#there = there.deviceId;
    this.#patienceMs = patienceMs;
    const transfer = async (): Promise<Transferred[]> => {
      const all: Transferred[] = [];
      do {
        all.push(await stream(there.host, here.host, v4, { mebibytes, perSecond, patienceMs }));
      } while (again && !this.#over);
      return all;
    };
    this.#transfers = transfer();
    this.#transfers.catch(() => {});
  }

  static async start(here: Node, there: Node, load: Load = {}): Promise<Watch> {
    const [own, target] = await Promise.all([here, there].map(async (node) => String((await node.status()).vip4)));
    await here.systemPing(target!);
    const watch = new Watch(here, there, [own!, target!], load);
    await until(() => watch.#ping.answers.length > 100, { what: 'the first answers' });
    return watch;
  }

  /** Lets something happen and waits until answers have come for `settledMs` after it, so that what comes later is seen as well. */
  async through(event: () => void | Promise<void>, settledMs = 2_000): Promise<Gap> {
    const ping = this.#ping;
    const before = ping.answers.length - 1;
    const began = Date.now();
    await event();
    const returned = Date.now();
    const settled = (): boolean => {
      const after = ping.answers.slice(before + 1).filter(({ time }) => 1_000 * time > returned);
      return after.length > 0 && 1_000 * (after.at(-1)!.time - after[0]!.time) >= settledMs;
    };
    await until(settled, {
      what: `answers of ${this.#there} after the event`,
      timeoutMs: this.#patienceMs,
      intervalMs: 100,
    });
    const during = ping.answers.slice(before);
    const gaps = during.slice(1).map(({ time }, i) => time - during[i]!.time);
    const [from, to] = [during[0]!.seq, during.at(-1)!.seq];
    return {
      gapMs: Math.round(1_000 * Math.max(...gaps)),
      tookMs: returned - began,
      missing: () =>
        to - from + 1 - new Set(ping.answers.map(({ seq }) => seq).filter((seq) => seq >= from && seq <= to)).size,
    };
  }

  /** Ends the pings, once what is under way has come down. */
  async end(): Promise<Transferred[]> {
    this.#over = true;
    const transfers = await this.#transfers;
    await this.#ping.stop();
    return transfers;
  }
}

export type Interruption = Omit<Gap, 'missing'> & Transferred & { readonly missing: number };

/** One event during one transfer. */
export async function interrupt(
  here: Node,
  there: Node,
  event: () => void | Promise<void>,
  load?: Load,
): Promise<Interruption> {
  const watch = await Watch.start(here, there, load);
  const gap = await watch.through(event);
  const [transferred] = await watch.end();
  return { ...gap, missing: gap.missing(), ...transferred! };
}
