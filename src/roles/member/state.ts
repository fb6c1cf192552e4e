/**
 * The state directory of a daemon (0700): one file with everything that must survive a crash, replaced atomically.
 * Private keys, the Common Key and an unspent enrolment secret are in it, hence 0600.
 */

import { chmodSync, closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Session } from '../../core/node/types.ts';
import { decodeIdentity, encodeIdentity, type Identity } from '../../crypto/identity.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import type { EnrolmentToken } from '../../crypto/token.ts';
import { CyphonicError, raise } from '../../lib/errors.ts';
import { fromJson, toJson } from '../../lib/json.ts';
import type { Log } from '../../lib/log.ts';
import { makeDirectories } from '../directory.ts';

export type DaemonState = {
  /** Where and who the network is, from the enrolment token. */
  readonly network: Omit<EnrolmentToken, 'secret'>;
  /** The token's secret, until the first login brought a session. */
  readonly secret: Uint8Array | null;
  /** The secret that brought the session: a token given again at every start is no new one. */
  readonly spentSecret: Uint8Array | null;
  readonly identity: Identity;
  /** DER of the TLS root, once fetched and recognised by its hash in the token. */
  readonly tlsRoot: Uint8Array | null;
  /** What the last login brought, and when (Unix milliseconds). */
  readonly session: Session | null;
  readonly loggedInAt: number | null;
};

const FORMAT = 1;
type StoredState = Omit<DaemonState, 'identity'> & { readonly identity: Uint8Array };

export function createStateDirectory(directory: string): void {
  try {
    makeDirectories(resolve(directory));
    chmodSync(directory, 0o700);
  } catch (cause) {
    raise('CONFIG_STATE_DIRECTORY', { directory, why: (cause as NodeJS.ErrnoException).code }, cause);
  }
}

/** The stored state, or null before the first enrolment. */
export function loadState(directory: string, primitives: Primitives): DaemonState | null {
  const file = join(directory, 'state.json');
  let content: string;
  try {
    content = readFileSync(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    return raise('CONFIG_STATE_DIRECTORY', { directory, why: (cause as NodeJS.ErrnoException).code }, cause);
  }
  try {
    const stored = fromJson(content) as { format: number; state: StoredState };
    if (stored.format !== FORMAT) raise('CONFIG_INVALID', { file, why: 'another version of the program wrote it' });
    const identity = decodeIdentity(primitives, stored.state.identity);
    const { session } = stored.state;
    // Earlier versions knew of no streams.
    const known = session === null ? null : { ...session, streams: session.streams ?? [] };
    if (identity !== null) return { ...stored.state, session: known, identity };
  } catch (cause) {
    if (cause instanceof CyphonicError) throw cause;
  }
  return raise('CONFIG_INVALID', {
    file,
    why: 'it is damaged; restore it, or remove it and enrol again with a new token',
  });
}

/** On return the state survives a crash. */
export function saveState(directory: string, state: DaemonState): void {
  const stored: StoredState = { ...state, identity: encodeIdentity(state.identity) };
  writeAtomically(join(directory, 'state.json'), toJson({ format: FORMAT, state: stored }, 2));
}

/** Where a device keeps the peers it may reach without the cloud, sealed. It can do without. */
export type PeerFile = { read(): Uint8Array | null; write(sealed: Uint8Array): void; remove(): void };

/** `of`: DeviceID of a general node, which has a file of its own. */
export function peerFile(directory: string, log: Log, of: string | null = null): PeerFile {
  const file = join(directory, of === null ? 'peers' : `peers-${of}`);
  return {
    read() {
      try {
        return readFileSync(file);
      } catch {
        return null;
      }
    },
    write(sealed) {
      try {
        writeAtomically(file, sealed);
      } catch (error) {
        log.warn('the peers are not stored', { why: String(error) });
      }
    },
    remove: () => rmSync(file, { force: true }),
  };
}

/** Replaces a file of the state directory (0600); on return the new content survives a crash. */
export function writeAtomically(file: string, content: string | Uint8Array): void {
  const temporary = `${file}.new`;
  try {
    const fd = openSync(temporary, 'w', 0o600);
    writeFileSync(fd, content);
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
