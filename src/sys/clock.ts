/** Both clocks of this machine. */

import type { Now } from '../lib/time.ts';
import { check, libc } from './libc.ts';
import { allocate, type Memory } from './memory.ts';

/** Monotonic, and it counts the time that the machine was suspended: what was proven before is as old as it is. */
const CLOCK_BOOTTIME = 7;

let timespec: Memory | undefined;

/** A reading of both. */
export function readClock(): Now {
  timespec ??= allocate(16);
  check(libc().clock_gettime(CLOCK_BOOTTIME, timespec.address), 'clock_gettime');
  const { view } = timespec;
  const seconds = view.getInt32(0, true) + view.getInt32(4, true) * 2 ** 32;
  return { ms: 1_000 * seconds + view.getInt32(8, true) / 1e6, wall: Date.now() };
}
