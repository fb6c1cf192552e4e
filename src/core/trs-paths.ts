/** Paths announced to a TRS, with the addresses that their two ends proved. */

import type { Endpoint } from '../lib/ip.ts';
import { sameEndpoint } from '../lib/ip.ts';
import type { Now } from '../lib/time.ts';
import { IDLE_PATH_MS, type Suite } from '../proto/constants.ts';
import type { Channel } from './channel.ts';

export type RelayPath = {
  readonly pathId: string;
  /** NodeIDs of initiator and responder. */
  readonly ends: readonly [string, string];
  readonly suite: Suite;
  readonly tunnelKey: Uint8Array;
  channel: Channel | null;
  /** Proven addresses of initiator and responder. */
  sides: [Endpoint | null, Endpoint | null];
  /** When it was last announced, bound or forwarded over (ms). */
  used: number;
};

export type RelayLimits = {
  readonly paths: number;
  readonly pathsPerDevice: number;
  readonly pathsPerPair: number;
};

/** As many paths as the data plane has counters for; of a pair, more than its ends keep. */
const defaults: RelayLimits = { paths: 65_536, pathsPerDevice: 512, pathsPerPair: 8 };
/** An announcement stays for a path that went direct and may fall back later (ms). */
const ANNOUNCED_MS = 24 * 3_600_000;

export class RelayTable {
  readonly #limits: RelayLimits;
  /** The one used longest ago first. */
  readonly #paths = new Map<string, RelayPath>();
  readonly #byEnd = new Map<string, Set<RelayPath>>();
  readonly #inUse = new Set<RelayPath>();

  constructor(limits: Partial<RelayLimits> = {}) {
    this.#limits = { ...defaults, ...limits };
  }

  get size(): number {
    return this.#paths.size;
  }

  /** Paths with a bound side. */
  get bound(): number {
    return this.#inUse.size;
  }

  get(pathId: string): RelayPath | undefined {
    return this.#paths.get(pathId);
  }

  of(nodeId: string): RelayPath[] {
    return [...(this.#byEnd.get(nodeId) ?? [])];
  }

  inUse(): Iterable<RelayPath> {
    return this.#inUse;
  }

  /**
   * False if there is no room: unused announcements make room, a device's own for its own ones, but nothing in use does.
   */
  add(path: Pick<RelayPath, 'pathId' | 'ends' | 'suite' | 'tunnelKey'>, now: Now): boolean {
    for (const end of path.ends) {
      const ofEnd = this.#byEnd.get(end);
      if ((ofEnd?.size ?? 0) >= this.#limits.pathsPerDevice && !this.#makeRoom(ofEnd!)) return false;
    }
    if (this.size >= this.#limits.paths && !this.#makeRoom(this.#paths.values())) return false;
    const added: RelayPath = { ...path, channel: null, sides: [null, null], used: now.ms };
    this.#paths.set(path.pathId, added);
    for (const end of path.ends) this.#byEnd.set(end, (this.#byEnd.get(end) ?? new Set()).add(added));
    return true;
  }

  /**
   * The path of this pair that was used longest ago, if the pair has more than its share. Else one device could use up, by
   * binding its own side of path after path, what another may have.
   */
  surplus([one, two]: readonly [string, string]): RelayPath | undefined {
    const ofPair = this.of(one).filter(({ ends }) => ends.includes(two));
    if (ofPair.length <= this.#limits.pathsPerPair) return undefined;
    return ofPair.reduce((oldest, path) => (path.used < oldest.used ? path : oldest));
  }

  use(pathId: string, now: Now): void {
    const path = this.#paths.get(pathId);
    if (path === undefined) return;
    path.used = now.ms;
    this.#paths.delete(pathId);
    this.#paths.set(pathId, path);
  }

  /** Whether that changed anything. */
  bind(path: RelayPath, side: 0 | 1, endpoint: Endpoint): boolean {
    const before = path.sides[side];
    if (before !== null && sameEndpoint(before, endpoint)) return false;
    path.sides[side] = endpoint;
    this.#inUse.add(path);
    return true;
  }

  remove(path: RelayPath): void {
    this.#paths.delete(path.pathId);
    this.#inUse.delete(path);
    path.channel?.close();
    path.tunnelKey.fill(0);
    for (const end of path.ends) {
      const ofEnd = this.#byEnd.get(end);
      ofEnd?.delete(path);
      if (ofEnd?.size === 0) this.#byEnd.delete(end);
    }
  }

  /** Unbinds idle paths and returns their PathIDs; forgets announcements nobody came back to. */
  sweep(now: Now): string[] {
    const idle = [...this.#inUse].filter((path) => now.ms - path.used > IDLE_PATH_MS);
    for (const path of idle) {
      path.sides = [null, null];
      this.#inUse.delete(path);
    }
    for (const path of this.#paths.values()) {
      if (now.ms - path.used <= ANNOUNCED_MS) break;
      this.remove(path);
    }
    return idle.map((path) => path.pathId);
  }

  #makeRoom(candidates: Iterable<RelayPath>): boolean {
    for (const path of candidates) {
      if (this.#inUse.has(path)) continue;
      this.remove(path);
      return true;
    }
    return false;
  }
}
