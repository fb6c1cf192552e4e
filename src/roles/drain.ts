/**
 * The end of a service that others go on without: no longer ready, out of the routing, what is in progress is finished,
 * gone. All of it within the grace time, whatever hangs.
 */

import { execFile } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';
import type { Command } from 'commander';
import { raise } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

/** Options of every command that serves. */
export type DrainOptions = { readonly grace: string; readonly drainHook?: string };

export type Drainable = {
  /** Takes nothing new on, and tells whoever should go elsewhere. */
  drain?(): void;
  /** Whether something is in progress, or came since it was asked last. */
  busy?(): boolean;
};

const GRACE_S = 5;
const MAX_GRACE_S = 3_600;
const LOOK_MS = 20;
/** Nothing came for this long after the routing let go: what was repeated once went elsewhere. */
const QUIET_MS = 500;

export function drainOptions(command: Command): Command {
  return command
    .option('--grace <seconds>', 'how long to finish what is in progress once asked to stop', String(GRACE_S))
    .option('--drain-hook <file>', 'program that takes this host out of the routing, run before stopping');
}

/** Milliseconds. */
export function readGrace(text: string): number {
  const seconds = Number(text);
  if (text.trim() !== '' && seconds >= 0 && seconds <= MAX_GRACE_S) return seconds * 1000;
  return raise('USAGE_VALUE', { option: '--grace', value: text, why: `use 0 to ${MAX_GRACE_S} seconds` });
}

/** After this, services may be stopped. */
export async function drain(services: readonly Drainable[], options: DrainOptions, log: Log): Promise<void> {
  const { grace, drainHook } = options;
  const deadline = performance.now() + readGrace(grace);
  for (const service of services) service.drain?.();
  if (drainHook !== undefined) await runHook(drainHook, deadline, log);
  // Without a hook nobody else is sent what comes meanwhile: only what is in progress is waited for.
  const quietMs = drainHook === undefined ? 0 : QUIET_MS;
  for (let busyAt = performance.now(); performance.now() < deadline; await setTimeout(LOOK_MS)) {
    if (services.filter((service) => service.busy?.()).length > 0) busyAt = performance.now();
    else if (performance.now() - busyAt >= quietMs) return;
  }
}

/** One that fails is no reason to go on serving. */
async function runHook(file: string, deadline: number, log: Log): Promise<void> {
  const timeout = Math.max(1, Math.ceil(deadline - performance.now()));
  await new Promise<void>((resolve) => {
    execFile(file, { timeout, killSignal: 'SIGKILL' }, (error, _, stderr) => {
      const why = stderr.trim() || (error?.message ?? '');
      if (error === null) log.info('out of the routing', { hook: file });
      else log.error('the drain hook failed', { hook: file, why });
      resolve();
    });
  });
}
