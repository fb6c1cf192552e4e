/** Runs one command in this process, as `main` would. */

import { Command, CommanderError } from 'commander';
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
