/** What the comparison knows of a VPN: how to bring it up between two hosts. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command } from '../../test/lab/toolkit/command.ts';
import type { Host, Lab } from '../../test/lab/toolkit/lab.ts';

/** Inner addresses of the peers that let us choose them; every pair has namespaces of its own. */
export const INNER = ['10.77.0.1', '10.77.0.2'] as const;
/** What they all carry: below it their own headers fit into the link's MTU. */
export const INNER_MTU = 1400;

/** Two hosts that reach each other, and a directory for configurations. */
export type Site = { readonly lab: Lab; readonly hosts: readonly [Host, Host]; readonly directory: string };

export type Tunnel = {
  /** The second host's address inside the tunnel. */
  readonly address: string;
  /** Process ids of the programs that carry the packets, the first host's first. */
  readonly daemons: readonly number[];
};

/** What runs on the two hosts: some daemons go to the background, under another id than they were started with. */
export function daemonsOf({ hosts }: Site): number[] {
  return hosts.flatMap(({ name }) => tool(['ip', 'netns', 'pids', name]).split('\n').filter(Boolean).map(Number));
}

export type Peer = {
  readonly name: string;
  /** Programs that have to be installed. */
  readonly tools: readonly string[];
  start(site: Site): Promise<Omit<Tunnel, 'daemons'> & Partial<Tunnel>>;
};

/** The same for both ends: `make` gets a host, its number and the other one's. */
export function bothEnds<T>(site: Site, make: (host: Host, own: 0 | 1, other: 0 | 1) => T): [T, T] {
  return [make(site.hosts[0], 0, 1), make(site.hosts[1], 1, 0)];
}

export function outer(site: Site, number: 0 | 1): string {
  return String(site.hosts[number].addresses.v4);
}

/** Writes a file that may hold keys, and returns its path. */
export function file(site: Site, name: string, content: string, mode = 0o600): string {
  const path = join(site.directory, name);
  writeFileSync(path, content, { mode });
  return path;
}

/** A tool's output. */
export function tool(argv: readonly string[], input = ''): string {
  return command(argv, input).trim();
}
