import { mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command } from './command.ts';
import { Program, type ProgramOptions } from './program.ts';

/** Addresses of one interface: no prefix length, null = none of that family. */
export type Addresses = { readonly v4: string | null; readonly v6: string | null };

/** Something in the middle of a cable. */
export interface Through {
  connect(a: Namespace, aInterface: string, b: Namespace, bInterface: string): void;
}

/** What a new interface shall have: addresses not named are chosen where the network has such a family. */
export type Wish = Partial<Addresses> & { readonly through?: Through };

/** A network something can be plugged into. */
export interface Segment {
  /** Plugs a new interface of `namespace` in. */
  attach(namespace: Namespace, interfaceName: string, wish?: Wish): Addresses;
  /** Makes the network send packets for `prefix` to `via`, an attached address. */
  route(prefix: string, via: string): void;
}

/** One network namespace: a host, a router or a switch of the laboratory. */
export class Namespace {
  /** Short name within its laboratory. */
  readonly title: string;
  /** Name for `ip netns`. */
  readonly name: string;
  readonly programs: Program[] = [];
  readonly #files: string;

  constructor(title: string, name: string) {
    this.title = title;
    this.name = name;
    this.#files = join('/etc/netns', name);
    command(['ip', 'netns', 'add', name]);
    // No duplicate address detection: addresses are usable at once.
    this.sh('ip link set lo up; echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad');
  }

  /** Runs a shell script in the namespace, synchronously. */
  sh(script: string): string {
    return command(['ip', 'netns', 'exec', this.name, 'sh', '-eu', '-c', script]);
  }

  nft(rules: string): void {
    command(['ip', 'netns', 'exec', this.name, 'nft', '-f', '-'], rules);
  }

  /** Starts a program. Its process id is the program's own, because `ip netns exec` ends in exec. */
  spawn(argv: readonly string[], options: ProgramOptions = {}): Program {
    const program = new Program(
      `${this.title}: ${argv.join(' ')}`,
      ['ip', 'netns', 'exec', this.name, ...argv],
      options,
    );
    this.programs.push(program);
    return program;
  }

  /** Runs a program to its end and returns its stdout; fails unless it ends with 0. */
  run(argv: readonly string[], options: ProgramOptions = {}): Promise<string> {
    return this.spawn(argv, { input: '', ...options }).done();
  }

  /**
   * Gives the namespace a resolver file of its own, which `ip netns exec` mounts over the system's.
   * It is written in place: a rename would miss the mount.
   */
  resolver(content: string): void {
    mkdirSync(this.#files, { recursive: true });
    writeFileSync(join(this.#files, 'resolv.conf'), content);
  }

  forward(): void {
    this.sh(`
      echo 1 >/proc/sys/net/ipv4/ip_forward
      echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
      echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects
      echo 0 >/proc/sys/net/ipv4/conf/default/send_redirects`);
  }

  remove(): void {
    removeNamespace(this.name);
  }
}

/** Deletes a namespace with everything that still runs in it. */
export function removeNamespace(name: string): void {
  for (const pid of command(['ip', 'netns', 'pids', name]).split('\n').filter(Boolean).map(Number)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // Ended in the meantime.
    }
  }
  command(['ip', 'netns', 'delete', name]);
  rmSync(join('/etc/netns', name), { recursive: true, force: true });
  try {
    rmdirSync('/etc/netns');
  } catch {
    // Others' files are in it, or it never was.
  }
}

/** A cable between two namespaces. */
export function cable(a: Namespace, aInterface: string, b: Namespace, bInterface: string, through?: Through): void {
  if (through !== undefined) {
    through.connect(a, aInterface, b, bInterface);
    return;
  }
  const ends = [
    'link',
    'add',
    aInterface,
    'netns',
    a.name,
    'type',
    'veth',
    'peer',
    'name',
    bInterface,
    'netns',
    b.name,
  ];
  command(['ip', ...ends]);
  a.sh(`ip link set ${aInterface} up`);
  b.sh(`ip link set ${bInterface} up`);
}
