/** One daemon per state directory: an flock(2) on a file in it, which the kernel lets go of when the process ends, however it ends. */

import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { raise } from '../lib/errors.ts';
import { raiseErrno } from './errno.ts';
import { errno } from './ffi.ts';
import { libc } from './libc.ts';

const LOCK_EXCLUSIVE = 2;
const LOCK_NONBLOCKING = 4;
const EWOULDBLOCK = 11;

export type StateLock = { release(): void };

/** Takes the directory for this process, or raises with the id of the process that has it. */
export function lockState(directory: string): StateLock {
  const fd = openLock(directory);
  if (!tryLock(fd)) {
    closeSync(fd);
    raise('USAGE_STATE_IN_USE', { directory, pid: readHolder(directory) ?? 'unknown' });
  }
  ftruncateSync(fd);
  writeSync(fd, `${process.pid}\n`, 0);
  return { release: () => closeSync(fd) };
}

/** Process id of the daemon that runs on this directory, or null; 0 if it hasn't written its id yet. */
export function stateHolder(directory: string): number | null {
  const fd = openLock(directory);
  const free = tryLock(fd);
  closeSync(fd);
  return free ? null : (readHolder(directory) ?? 0);
}

function openLock(directory: string): number {
  try {
    return openSync(join(directory, 'daemon.lock'), 'a+', 0o600);
  } catch (cause) {
    return raise('CONFIG_STATE_DIRECTORY', { directory, why: (cause as NodeJS.ErrnoException).code }, cause);
  }
}

function readHolder(directory: string): number | null {
  const pid = Number.parseInt(readFileSync(join(directory, 'daemon.lock'), 'latin1'), 10);
  return Number.isSafeInteger(pid) && pid > 0 ? pid : null;
}

function tryLock(fd: number): boolean {
  if (libc().flock(fd, LOCK_EXCLUSIVE | LOCK_NONBLOCKING) === 0) return true;
  const code = errno();
  return code === EWOULDBLOCK ? false : raiseErrno('flock', '', code);
}
