/** Running commands, and waiting for conditions instead of for time. */

import { spawnSync } from 'node:child_process';

/** Runs a command to its end and returns its stdout; throws with its stderr if it fails. */
export function command(argv: readonly string[], input = ''): string {
  const [file = '', ...args] = argv;
  const { status, stdout, stderr, error } = spawnSync(file, args, { input, encoding: 'utf8' });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${argv.join(' ')} ended with ${status}: ${stderr.trim()}\n${input}`);
  return stdout;
}

/** Whether a command succeeds. */
export function succeeds(argv: readonly string[]): boolean {
  const [file = '', ...args] = argv;
  return spawnSync(file, args, { stdio: 'ignore' }).status === 0;
}

export type Patience = {
  /** What is waited for, for the message if it never comes. */
  readonly what: string;
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
};

/** Polls until `condition` gives a value other than undefined, null or false, and returns it. */
export async function until<T>(
  condition: () => T | Promise<T>,
  { what, timeoutMs = 40_000, intervalMs = 20 }: Patience,
): Promise<Exclude<T, undefined | null | false>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== null && value !== false) {
      return value as Exclude<T, undefined | null | false>;
    }
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}
