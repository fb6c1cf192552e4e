/** What processes have used so far, as the kernel tells it (proc_pid_stat(5), proc_pid_status(5)). */

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** User and system time of some processes, all threads, in seconds. */
export function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Fields after the name in parentheses begin with the third: utime is the 14th, stime the 15th.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return sum + (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }, 0);
}

/** Resident memory in MiB. */
export function residentMiB(pid: number): number {
  return Number(/^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** What a thread has done so far: its name, its time on a processor in seconds, and how often it went to sleep: as often it was woken. */
export type ThreadFigures = { readonly name: string; readonly cpuSeconds: number; readonly sleeps: number };

/** Of each thread of a process, by thread id (proc_pid_schedstat: nanoseconds). */
export function threadFigures(pid: number): Map<string, ThreadFigures> {
  return new Map(
    readdirSync(`/proc/${pid}/task`).map((thread) => {
      const read = (file: string): string => readFileSync(`/proc/${pid}/task/${thread}/${file}`, 'utf8');
      const sleeps = Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(read('status'))?.[1]);
      return [thread, { name: read('comm').trim(), cpuSeconds: Number.parseInt(read('schedstat'), 10) / 1e9, sleeps }];
    }),
  );
}
