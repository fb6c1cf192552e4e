/** What an adapter keeps of its general nodes: the register's list, and keys and session of each. One file, 0600. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RegisteredDevice } from '../../core/adapter/types.ts';
import type { Session } from '../../core/node/types.ts';
import { decodeIdentity, encodeIdentity, generateIdentity, type Identity } from '../../crypto/identity.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import { fromJson, toJson } from '../../lib/json.ts';
import type { Log } from '../../lib/log.ts';
import { writeAtomically } from '../member/state.ts';

const FORMAT = 1;
const FILE = 'general-nodes.json';

type Kept = { readonly identity: Identity; session: Session | null };
type StoredKept = { readonly identity: Uint8Array; readonly session: Session | null };
type Stored = {
  readonly format: number;
  readonly register: readonly RegisteredDevice[];
  readonly nodes: Readonly<Record<string, StoredKept>>;
};

export class Vault {
  readonly #file: string;
  readonly #primitives: Primitives;
  readonly #kept = new Map<string, Kept>();
  #register: readonly RegisteredDevice[] = [];

  constructor(directory: string, primitives: Primitives, log: Log) {
    this.#file = join(directory, FILE);
    this.#primitives = primitives;
    try {
      this.#load(readFileSync(this.#file, 'utf8'));
    } catch (error) {
      // What was lost is asked for again; new keys need the administrator.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        log.warn('general nodes not read', { why: String(error) });
    }
  }

  get register(): readonly RegisteredDevice[] {
    return this.#register;
  }

  set register(devices: readonly RegisteredDevice[]) {
    this.#register = devices;
    this.#save();
  }

  /** The keys of a general node, made when it is first asked for; they are on disk before they are used. */
  identityOf(deviceId: string): Identity {
    const known = this.#kept.get(deviceId);
    if (known !== undefined) return known.identity;
    const identity = generateIdentity(this.#primitives);
    this.#kept.set(deviceId, { identity, session: null });
    this.#save();
    return identity;
  }

  /** Its session, if there is one whose certificate holds at that time (Unix milliseconds). */
  sessionOf(deviceId: string, wall: number): Session | null {
    const session = this.#kept.get(deviceId)?.session ?? null;
    return session !== null && session.certificateExpires > wall ? session : null;
  }

  keep(deviceId: string, session: Session): void {
    const known = this.#kept.get(deviceId);
    if (known === undefined) return;
    known.session = session;
    this.#save();
  }

  forget(deviceId: string): void {
    if (this.#kept.delete(deviceId)) this.#save();
  }

  #load(text: string): void {
    const stored = fromJson(text) as Stored;
    if (stored.format !== FORMAT) return;
    for (const [deviceId, { identity: octets, session }] of Object.entries(stored.nodes)) {
      const identity = decodeIdentity(this.#primitives, octets);
      if (identity !== null) this.#kept.set(deviceId, { identity, session });
    }
    this.#register = stored.register;
  }

  #save(): void {
    const nodes = [...this.#kept].map(([deviceId, { identity, session }]): [string, StoredKept] => [
      deviceId,
      { identity: encodeIdentity(identity), session },
    ]);
    const stored: Stored = { format: FORMAT, register: this.#register, nodes: Object.fromEntries(nodes) };
    writeAtomically(this.#file, toJson(stored));
  }
}
