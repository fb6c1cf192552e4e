/**
 * The resolver file (resolv.conf(5)) with our resolver as its only name server. It is written in place, since a rename
 * over a mounted file fails and would leave other mounts with the old one. The former content is kept in the state
 * directory; a shell that outlives us puts it back if we are killed.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  ftruncateSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { raise } from '../../lib/errors.ts';
import { canonicalAddress, type Endpoint } from '../../lib/ip.ts';
import type { DnsAttempt, DnsPlan } from './dns-config.ts';
import { DNS_PORT } from './resolver.ts';
import { writeAtomically } from './state.ts';

/** What was done to which file; there from before it is done until it is undone. */
type FileRecord = { readonly file: string; readonly former: string; readonly written: string };

/** The kernel's fixed inode number of the first network namespace (linux/nsfs.h, NET_NS_INIT_INO), where it has one. */
const INITIAL_NETWORK_NAMESPACE = 'net:[4026531833]';

/**
 * Whether the file speaks for this network namespace alone: this is init's namespace, or the file is mounted for us, as
 * `ip netns exec` and containers do. Otherwise changing it would take away the names of all the others.
 */
export function isOwnResolverFile(file: string): boolean {
  return isInitsNetworkNamespace() || isMountPoint(file);
}

function isInitsNetworkNamespace(): boolean {
  const own = readlinkSync('/proc/self/ns/net');
  try {
    return own === readlinkSync('/proc/1/ns/net');
  } catch {
    // Not ours to read, inside a container for instance.
    return own === INITIAL_NETWORK_NAMESPACE;
  }
}

function isMountPoint(file: string): boolean {
  try {
    const path = realpathSync(file);
    // proc(5): the fifth field is the mount point, with space, tab, newline and backslash in octal.
    const points = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '');
    return points.some(
      (p) => p.replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8))) === path,
    );
  } catch {
    return false;
  }
}

export function parseServers(content: string): Endpoint[] {
  return fields(content, 'nameserver').flatMap((text) => {
    // A zone stays as it is: the socket takes it, our canonical form has none.
    const address = text.includes('%') ? text : canonicalAddress(text);
    return address === null ? [] : [{ address, port: DNS_PORT }];
  });
}

/** Values of a keyword's lines; only the first field of each counts for name servers. */
function fields(content: string, keyword: string): string[] {
  return content.split('\n').flatMap((line) => {
    const [name, value] = line.trim().split(/\s+/);
    return name === keyword && value !== undefined ? [value] : [];
  });
}

export function takeResolverFile(plan: DnsPlan, file: string): DnsAttempt {
  if (plan.server.port !== DNS_PORT)
    return `${file} cannot name port ${plan.server.port}, and port ${DNS_PORT} is taken`;
  const recordFile = recordPath(plan.stateDirectory);
  let watchdog: ChildProcess | undefined;
  const release = (): void => void watchdog?.stdin?.end('released\n');
  try {
    const former = readIfThere(file);
    const written = ownContent(plan, former);
    writeAtomically(recordFile, JSON.stringify({ file, former, written } satisfies FileRecord));
    watchdog = startWatchdog(file, written, former);
    writeInPlace(file, written);
    return {
      former: parseServers(former),
      restore: async () => {
        restoreResolverFile(plan.stateDirectory);
        release();
      },
    };
  } catch (cause) {
    release();
    rmSync(recordFile, { force: true });
    return `${file} cannot be written: ${(cause as NodeJS.ErrnoException).code ?? cause}`;
  }
}

/** Puts the former content back, unless someone else has changed the file since. */
export function restoreResolverFile(stateDirectory: string): void {
  const recordFile = recordPath(stateDirectory);
  try {
    const text = readIfThere(recordFile);
    if (text === '') return;
    const { file, former, written } = JSON.parse(text) as FileRecord;
    if (readIfThere(file) === written) writeInPlace(file, former);
    rmSync(recordFile, { force: true });
  } catch (cause) {
    raise('CONFIG_INVALID', { file: recordFile, why: `the resolver file cannot be restored by it (${cause})` }, cause);
  }
}

function recordPath(stateDirectory: string): string {
  return join(stateDirectory, 'resolver-file.json');
}

/** Our server, our domain before the former ones, the former options. */
function ownContent({ interface: name, server, domain }: DnsPlan, former: string): string {
  const keyword = (line: string): string => line.trim().split(/\s+/, 1)[0]!;
  const lines = former.split('\n');
  // The last of search and domain lines counts (resolv.conf(5)).
  const search =
    lines
      .findLast((line) => ['search', 'domain'].includes(keyword(line)))
      ?.trim()
      .split(/\s+/)
      .slice(1) ?? [];
  return [
    // The process id makes it differ from any other daemon's, so that nobody restores over a successor.
    `# Made by cyphonic (process ${process.pid}) for ${name}; the former content returns when it stops, or by \`cyphonic down\`.`,
    `nameserver ${server.address}`,
    `search ${[domain, ...search.filter((other) => other !== domain)].join(' ')}`,
    ...lines.filter((line) => keyword(line) === 'options'),
    '',
  ].join('\n');
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw cause;
  }
}

/** One write before the cut, so that a reader meanwhile finds a whole line at the top. */
function writeInPlace(file: string, content: string): void {
  const fd = openSync(file, constants.O_WRONLY | constants.O_CREAT, 0o644);
  try {
    ftruncateSync(fd, writeSync(fd, content, 0));
  } finally {
    closeSync(fd);
  }
}

/**
 * Waits on a pipe that only we hold: a line means that all is done, its end without one that we were killed. It knows
 * the contents by heart, as nobody may be there to read the record for it. `$(…)` strips final newlines on both sides.
 */
const WATCHDOG = `trap '' TERM INT HUP
read -r word
[ "$word" = released ] && exit 0
[ "$(cat "$1")" = "$(printf %s "$2")" ] && printf %s "$3" > "$1"`;

function startWatchdog(file: string, written: string, former: string): ChildProcess {
  const watchdog = spawn('/bin/sh', ['-c', WATCHDOG, 'cyphonic-dns-watchdog', file, written, former], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  // Without it the file is still restored by a regular end and by \`down\`.
  watchdog.on('error', () => {});
  watchdog.stdin?.on('error', () => {});
  watchdog.unref();
  return watchdog;
}
