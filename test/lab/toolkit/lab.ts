/**
 * A laboratory of network namespaces. Everything it makes carries the name of this process, is removed by `close`, at
 * the end of the process and after a signal; what a killed process left behind is removed by the next one.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { succeeds } from './command.ts';
import { type Addresses, Namespace, removeNamespace, type Segment, type Through, type Wish } from './namespace.ts';
import { firewallRules, type NatType, natRules } from './nat.ts';
import { Internet, Lan, type LanOptions } from './segments.ts';

/** Why no laboratory can be built here, or null if it can. */
export function whyNoLab(): string | null {
  if (process.getuid?.() !== 0) return 'not root, and no user namespace could be made (npm start and npm test try)';
  for (const tool of ['ip', 'nft', 'ping']) {
    if (!succeeds(['sh', '-c', `command -v ${tool}`])) return `${tool} is not installed`;
  }
  const probe = `${ownPrefix()}probe`;
  if (!succeeds(['ip', 'netns', 'add', probe])) return 'network namespaces cannot be made here';
  const tun = succeeds(['ip', '-n', probe, 'tuntap', 'add', 'probe', 'mode', 'tun']);
  removeNamespace(probe);
  return tun ? null : 'TUN interfaces cannot be made here (/dev/net/tun)';
}

const namePattern = /^cyphonic-(\d+)-(\d+)-/;

/** A process is named by its id and its start time, as ids are used again. */
function startTime(pid: number | 'self'): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // proc_pid_stat(5): field 22; counted from behind the name, which may hold anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

function ownPrefix(): string {
  return `cyphonic-${process.pid}-${startTime('self')}-`;
}

function removeLeftovers(): void {
  for (const directory of ['/run/netns', '/etc/netns', tmpdir()]) {
    for (const name of listed(directory)) {
      const [, pid, started] = namePattern.exec(name) ?? [];
      if (pid === undefined || startTime(Number(pid)) === started) continue;
      if (directory === '/run/netns') removeLeftover(name);
      else removeFiles(join(directory, name));
    }
  }
}

function removeLeftover(name: string): void {
  try {
    removeNamespace(name);
  } catch {
    // Another laboratory that begins at the same time removes it.
  }
}

function removeFiles(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // Another user's.
  }
}

function listed(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** For programs at the end of their laboratory, where nobody minds how they end. */
const GRACE_MS = 5_000;

const open = new Set<Lab>();
let made = 0;
let stopping = false;

function watchProcess(): void {
  process.on('exit', () => {
    for (const lab of open) lab.demolish();
  });
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ] as const) {
    process.on(signal, () => {
      // A second signal does not wait for programs to end by themselves.
      if (stopping) process.exit(128 + number);
      stopping = true;
      // A program that is meant to be ended this way has set its exit code before.
      void Promise.all([...open].map((lab) => lab.close())).finally(() =>
        process.exit(process.exitCode ?? 128 + number),
      );
    });
  }
}

export type RouterOptions = {
  readonly outside: Segment;
  readonly inside: Lan;
  /** Address translation of IPv4; none = a plain router without a firewall. */
  readonly nat: NatType | 'none';
  /** Outer addresses. */
  readonly v4?: string | null;
  readonly v6?: string | null;
  /** In the middle of the outer cable. */
  readonly through?: Through;
};

export class Lab {
  readonly title: string;
  /** A directory that lives as long as the laboratory. */
  readonly directory: string;
  readonly #prefix: string;
  readonly #namespaces = new Map<string, Namespace>();

  constructor(title: string) {
    if (made === 0) {
      removeLeftovers();
      watchProcess();
    }
    this.title = title;
    this.#prefix = `${ownPrefix()}${++made}-`;
    this.directory = mkdtempSync(join(tmpdir(), this.#prefix));
    open.add(this);
  }

  namespace(title: string): Namespace {
    const namespace = new Namespace(title, this.#prefix + title);
    this.#namespaces.set(title, namespace);
    return namespace;
  }

  internet(title = 'internet'): Internet {
    return new Internet(this.namespace(title));
  }

  lan(title: string, options: LanOptions): Lan {
    return new Lan(this.namespace(title), options);
  }

  /** A host with one interface, eth0. */
  host(title: string, segment: Segment, wish: Wish = {}): Host {
    const namespace = this.namespace(title);
    return Object.assign(namespace, { addresses: segment.attach(namespace, 'eth0', wish) });
  }

  /** A router: eth0 outside, eth1 inside. IPv6 is routed, behind the same firewall as IPv4. */
  router(title: string, { outside, inside, nat, v4, v6, through }: RouterOptions): Namespace {
    const namespace = this.namespace(title);
    namespace.forward();
    const addresses = outside.attach(namespace, 'eth0', {
      ...(v4 === undefined ? {} : { v4 }),
      ...(v6 === undefined ? {} : { v6 }),
      ...(through === undefined ? {} : { through }),
    });
    inside.plug(namespace, 'eth1', inside.gateway);
    inside.router = { namespace, outside, addresses };
    const { subnet4, subnet6 } = inside.options;
    if (subnet6 !== undefined && addresses.v6 !== null) outside.route(subnet6, addresses.v6);
    if (nat === 'none') {
      if (subnet4 !== undefined && addresses.v4 !== null) outside.route(subnet4, addresses.v4);
    } else {
      namespace.nft(natRules(nat) + firewallRules);
    }
    return namespace;
  }

  /** What every program printed, for a failed test. */
  report(): string {
    return [...this.#namespaces.values()].flatMap(({ programs }) => programs.map((p) => p.report())).join('\n');
  }

  /** Ends all programs and removes everything. */
  async close(): Promise<void> {
    const programs = [...this.#namespaces.values()].flatMap((namespace) => namespace.programs);
    await Promise.all(programs.map((program) => program.stop(GRACE_MS)));
    this.demolish();
  }

  /** Removes everything at once, killing what runs. */
  demolish(): void {
    if (!open.delete(this)) return;
    const failures: unknown[] = [];
    for (const namespace of this.#namespaces.values()) {
      try {
        namespace.remove();
      } catch (error) {
        failures.push(error);
      }
    }
    removeFiles(this.directory);
    if (failures.length > 0) throw new AggregateError(failures, `not all of ${this.title} could be removed`);
  }
}

export type Host = Namespace & { readonly addresses: Addresses };
