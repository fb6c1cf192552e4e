/** The paths this NMS directed, for as long as their keys count: who must hear when one of their ends is gone. */

import type { Now } from '../../lib/time.ts';
import type { Draft } from '../../proto/codec.ts';

export type DirectedPath = {
  readonly pathId: string;
  readonly initiator: string;
  readonly responder: string;
  /** NodeID of the TRS it was announced to. */
  readonly relay: string | null;
  /** What the initiator was told, to be told again. */
  readonly answer: Draft;
  /** When its keys expire (ms). */
  readonly until: number;
};

const MAX_PATHS = 200_000;
/** A device that makes more drops its own oldest ones, never another's. */
const MAX_PATHS_PER_NODE = 1_024;

export class PathTable {
  readonly #paths = new Map<string, DirectedPath>();
  /** PathIDs by NodeID of an end, oldest first. */
  readonly #byEnd = new Map<string, Set<string>>();
  readonly #byRelay = new Map<string, number>();
  /** Told of paths that are forgotten although their keys still count. */
  readonly #displaced: (path: DirectedPath) => void;

  constructor(displaced: (path: DirectedPath) => void = () => {}) {
    this.#displaced = displaced;
  }

  get size(): number {
    return this.#paths.size;
  }

  get(pathId: string): DirectedPath | undefined {
    return this.#paths.get(pathId);
  }

  of(nodeId: string): DirectedPath[] {
    return [...(this.#byEnd.get(nodeId) ?? [])].map((pathId) => this.#paths.get(pathId)!);
  }

  /** How many paths a TRS was given. */
  relayedBy(nodeId: string): number {
    return this.#byRelay.get(nodeId) ?? 0;
  }

  add(path: DirectedPath): void {
    this.#paths.set(path.pathId, path);
    this.#count(path.relay, 1);
    for (const end of [path.initiator, path.responder]) {
      const ofEnd = this.#byEnd.get(end) ?? new Set<string>();
      this.#byEnd.set(end, ofEnd.add(path.pathId));
    }
    const ofInitiator = this.#byEnd.get(path.initiator)!;
    if (ofInitiator.size > MAX_PATHS_PER_NODE) this.#displace(first(ofInitiator)!);
    if (this.#paths.size > MAX_PATHS) this.#displace(first(this.#paths.keys())!);
  }

  remove(pathId: string): void {
    const path = this.#paths.get(pathId);
    if (path === undefined) return;
    this.#paths.delete(pathId);
    this.#count(path.relay, -1);
    for (const end of [path.initiator, path.responder]) {
      const ofEnd = this.#byEnd.get(end);
      ofEnd?.delete(pathId);
      if (ofEnd?.size === 0) this.#byEnd.delete(end);
    }
  }

  expire(now: Now): void {
    // All live equally long: the oldest stand first.
    for (const [pathId, { until }] of this.#paths) {
      if (until > now.ms) return;
      this.remove(pathId);
    }
  }

  #displace(pathId: string): void {
    this.#displaced(this.#paths.get(pathId)!);
    this.remove(pathId);
  }

  #count(relay: string | null, change: 1 | -1): void {
    if (relay === null) return;
    const count = this.relayedBy(relay) + change;
    if (count === 0) this.#byRelay.delete(relay);
    else this.#byRelay.set(relay, count);
  }
}

function first<T>(values: Iterable<T>): T | undefined {
  for (const value of values) return value;
  return undefined;
}
