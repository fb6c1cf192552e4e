import { existsSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a directory (0700) and those it lies in, unless they are there. Not mkdir's `recursive`, which never ends where
 * a file system has no room for directories at all, such as /proc.
 */
export function makeDirectories(directory: string): void {
  if (existsSync(directory)) return;
  const parent = dirname(directory);
  if (parent !== directory) makeDirectories(parent);
  mkdirSync(directory, { mode: 0o700 });
}
