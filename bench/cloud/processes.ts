/** The services of one network as processes on the loopback, with what each of them has used of the processor. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { cpuSeconds, residentMiB } from '../process-figures.ts';

const program = join(import.meta.dirname, '../../bin/cyphonic');
const STOP_MS = 10_000;

export const serviceAddress = '198.51.100.10';
/** Where simulated nodes have their addresses. */
export const nodeRange = '172.16.0.0/12';

export type Ports = { readonly as: number; readonly nms: number; readonly trs: number; readonly controller: number };

export function makeNetwork(directory: string, ports: Ports): void {
  const given = Object.entries(ports).flatMap(([role, port]) => [`--${role}-port`, String(port)]);
  const words = [
    '--dir',
    directory,
    '--domain',
    'bench.example',
    '--address',
    serviceAddress,
    '--vip4',
    '10.64.0.0/10',
  ];
  execFileSync(program, ['cloud', 'init', ...words, ...given], { stdio: ['ignore', 'ignore', 'inherit'] });
}

export class Service {
  readonly role: string;
  readonly #process: ChildProcess;

  private constructor(role: string, child: ChildProcess) {
    this.role = role;
    this.#process = child;
  }

  static async start(role: 'as' | 'nms' | 'trs', directory: string): Promise<Service> {
    const config = join(directory, role === 'as' ? 'cloud.yaml' : `${role}.yaml`);
    const child = spawn(program, [role, 'serve', '--config', config, '--metrics', 'off'], {
      // Its log has a line for every login.
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    for await (const line of createInterface({ input: child.stdout! })) {
      if (line.startsWith('ready')) return new Service(role, child);
    }
    throw new Error(`the ${role} ended before it was ready`);
  }

  /** Seconds of processor time so far, user and system. */
  get seconds(): number {
    return cpuSeconds([this.#process.pid!]);
  }

  get pid(): number {
    return this.#process.pid!;
  }

  /** Resident memory in MiB. */
  get memory(): number {
    return residentMiB(this.#process.pid!);
  }

  stop(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#process.kill('SIGKILL'), STOP_MS);
      this.#process.once('exit', () => {
        clearTimeout(timer);
        resolve();
      });
      if (this.#process.exitCode !== null || !this.#process.kill('SIGTERM')) resolve();
    });
  }
}
