/**
 * The state directory of a daemon (0700): one file with everything that must survive a crash, replaced atomically.
 * Private keys, the Common Key and an unspent enrolment secret are in it, hence 0600.
 */

import { chmodSync, closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { raise } from '../../lib/errors.ts';
import type { Address, Endpoint, Prefix } from '../../lib/ip.ts';

/** What an enrolment token told about the network. */
export type NetworkIdentity = {
  readonly deviceId: string;
  readonly domain: string;
  readonly services: readonly Endpoint[];
  readonly caKey: Uint8Array;
  readonly tlsRootHash: Uint8Array;
};

/** What the last login returned. */
export type StoredSession = {
  readonly nodeId: string;
  readonly fqdn: string;
  readonly vip4: Address | null;
  readonly vip6: Address | null;
  readonly commonKey: Uint8Array;
  readonly certificate: Uint8Array;
  readonly nms: readonly Endpoint[];
  readonly overlay: readonly Prefix[];
  readonly domain: string;
  /** Unix milliseconds of the login. */
  readonly loggedInAt: number;
};

export type DaemonState = {
  readonly network: NetworkIdentity;
  /** Ed25519 and X25519, private and public. */
  readonly keys: {
    readonly signPrivate: Uint8Array;
    readonly signPublic: Uint8Array;
    readonly handshakePrivate: Uint8Array;
    readonly handshakePublic: Uint8Array;
  };
  /** The enrolment's secret until the first login was acknowledged. */
  readonly secret: Uint8Array | null;
  /** DER of the TLS root, once fetched and checked against its pinned hash. */
  readonly tlsRoot: Uint8Array | null;
  readonly session: StoredSession | null;
};

const FORMAT = 1;

export function createStateDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    chmodSync(directory, 0o700);
  } catch (cause) {
    raise('CONFIG_STATE_DIRECTORY', { directory, why: (cause as NodeJS.ErrnoException).code }, cause);
  }
}

/** The stored state, or null before the first enrolment. */
export function loadState(directory: string): DaemonState | null {
  const file = join(directory, 'state.json');
  let content: string;
  try {
    content = readFileSync(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    return raise('CONFIG_STATE_DIRECTORY', { directory, why: (cause as NodeJS.ErrnoException).code }, cause);
  }
  try {
    const { format, state } = JSON.parse(content, revive) as { format: number; state: DaemonState };
    if (format === FORMAT) return state;
  } catch (cause) {
    raise('CONFIG_INVALID', { file, why: 'it is damaged; restore it, or remove it and enrol again with a new token' }, cause);
  }
  return raise('CONFIG_INVALID', { file, why: 'another version of the program wrote it' });
}

/** On return the state survives a crash. */
export function saveState(directory: string, state: DaemonState): void {
  writeAtomically(join(directory, 'state.json'), JSON.stringify({ format: FORMAT, state }, replace, 2));
}

/** Replaces a file of the state directory (0600); on return the new content survives a crash. */
export function writeAtomically(file: string, content: string): void {
  const temporary = `${file}.new`;
  try {
    const fd = openSync(temporary, 'w', 0o600);
    writeSync(fd, content);
    fsyncSync(fd);
    closeSync(fd);
    renameSync(temporary, file);
    const directory = openSync(dirname(file), 'r');
    fsyncSync(directory);
    closeSync(directory);
  } catch (cause) {
    raise('CONFIG_STATE_DIRECTORY', { directory: dirname(file), why: (cause as NodeJS.ErrnoException).code }, cause);
  }
}

function replace(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? { hex: value.toHex() } : value;
}

function revive(_key: string, value: unknown): unknown {
  const hex = (value as { hex?: unknown } | null)?.hex;
  return typeof hex === 'string' ? Uint8Array.fromHex(hex) : value;
}
