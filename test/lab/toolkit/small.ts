/** The smallest network that is one: a cloud, nodes and an outsider, all on public addresses of the Internet. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { until } from './command.ts';
import type { Host, Lab } from './lab.ts';
import type { Namespace } from './namespace.ts';
import { type Ended, Network, type NetworkOptions, type Node } from './network.ts';
import type { Program } from './program.ts';
import type { Internet } from './segments.ts';

export type Small<Name extends string> = {
  readonly internet: Internet;
  readonly network: Network;
  readonly nodes: Readonly<Record<Name, Node>>;
  /** Somebody else. */
  readonly outsider: Host;
};

export async function smallNetwork<Name extends string>(
  lab: Lab,
  names: readonly Name[],
  options: NetworkOptions = {},
): Promise<Small<Name>> {
  const internet = lab.internet();
  const cloud = lab.host('cloud', internet, { v4: '198.51.100.10' });
  const outsider = lab.host('outsider', internet, { v4: '203.0.113.66' });
  const network = await Network.start(lab, cloud, options);
  const nodes = await Promise.all(
    names.map(async (name, i) => {
      const host = lab.host(name, internet, { v4: `192.0.2.${11 + i}` });
      return [name, await network.addNode(host)] as const;
    }),
  );
  return { internet, network, nodes: Object.fromEntries(nodes) as Record<Name, Node>, outsider };
}

/** What a program says to its operator: log lines are JSON, the rest is for people. */
export function spokenLines(stderr: string): string[] {
  return stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
}

/** Refused with this exit code, one line that says `words`, and nothing on stdout. */
export function expectRefusal(ended: Ended, code: number, words: RegExp): void {
  expect(ended, ended.stderr).toMatchObject({ code, stdout: '' });
  const lines = spokenLines(ended.stderr);
  expect(lines, ended.stderr).toHaveLength(1);
  expect(lines[0]).toMatch(words);
}

/** Writes a file with a secret and returns its path. */
export function secretFile(lab: Lab, name: string, content: string): string {
  const file = join(lab.directory, name);
  writeFileSync(file, content, { mode: 0o600 });
  return file;
}

/** The system's ping as a running program, with what it has seen so far. */
export class Pinger {
  readonly #program: Program;

  /** By default five a second. */
  constructor(host: Namespace, target: string, intervalS = 0.2) {
    this.#program = host.spawn(['ping', '-n', '-O', '-i', String(intervalS), target], { input: '' });
  }

  /** Sequence numbers that were answered. */
  get answered(): number[] {
    return [...this.#program.stdout.matchAll(/bytes from .*icmp_seq=(\d+)/g)].map(([, seq]) => Number(seq));
  }

  /** Ends it after one more answer; what was sent after that one was still on its way and does not count. */
  async stop(): Promise<{ readonly sent: number; readonly received: number }> {
    const before = this.answered.length;
    await until(() => this.answered.length > before, { what: 'a last answer' });
    const { answered } = this;
    this.#program.signal('SIGINT');
    await this.#program.ended();
    return { sent: Math.max(...answered), received: new Set(answered).size };
  }
}
