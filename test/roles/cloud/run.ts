/** Runs one command in this process, as `main` would. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { afterAll } from 'vitest';
import { CyphonicError } from '../../../src/lib/errors.ts';
import { contribute as contributeAs } from '../../../src/roles/as/commands.ts';
import { contribute as contributeCloud } from '../../../src/roles/cloud/commands.ts';
import type { Context } from '../../../src/roles/context.ts';

export type Outcome = { readonly code: number; readonly out: string[]; readonly err: string[] };

export async function run(words: readonly string[], more: Partial<Context> = {}): Promise<Outcome> {
  const out: string[] = [];
  const err: string[] = [];
  const context: Context = {
    version: '0',
    env: {},
    colour: false,
    print: (line) => out.push(line),
    complain: (line) => err.push(line),
    readStdin: async () => '',
    stopped: new Promise(() => {}),
    ...more,
  };
  const program = new Command('cyphonic').exitOverride().configureOutput({
    writeOut: (text) => out.push(text),
    writeErr: (text) => err.push(text),
  });
  for (const contribute of [contributeAs, contributeCloud]) contribute(program, context);
  const code = await program.parseAsync([...words], { from: 'user' }).then(
    () => 0,
    (error: unknown) => {
      if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
      if (!(error instanceof CyphonicError)) throw error;
      err.push(error.message);
      return error.exitCode;
    },
  );
  return { code, out, err };
}

/** Like `run`, for commands that must succeed. */
export async function done(...words: string[]): Promise<string[]> {
  const { code, out, err } = await run(words);
  if (code !== 0) throw new RangeError(`cyphonic ${words.join(' ')}: ${err.join(' ')}`);
  return out;
}

/** What a command that must succeed prints with --json. */
export async function json(...words: string[]): Promise<Record<string, unknown>> {
  return JSON.parse((await done(...words, '--json')).join('')) as Record<string, unknown>;
}

/** A place for the networks of one test file, gone with it. */
export function useNetworks() {
  const scratch = mkdtempSync(join(tmpdir(), 'cyphonic-cloud-'));
  afterAll(() => rmSync(scratch, { recursive: true }));
  let count = 0;
  const freshPath = () => join(scratch, `net${count++}`);
  return {
    scratch,
    freshPath,
    async initNetwork(...more: string[]): Promise<string> {
      const dir = freshPath();
      await done('cloud', 'init', '--dir', dir, '--domain', 'lab.example', '--address', '198.51.100.10', ...more);
      return dir;
    },
  };
}
