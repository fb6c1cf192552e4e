/**
 * Replicas of a TRS: a path lives in one of them, so each is reached at an address of its own, which it announces where
 * the NMSs look. One that says nothing for a while is gone; one that drains says so first.
 */

import type { RelayReplica } from '../core/nms/relays.ts';
import { canonicalAddress, isPort } from '../lib/ip.ts';
import type { Shared } from '../store/shared.ts';

const SET = 'relays';
const ANNOUNCE_MS = 500;
/** Three announcements and some may be lost. */
const LIFE_MS = 2_000;
const LOOK_MS = 500;

const keyOf = (nodeId: string): string => `relay ${nodeId}`;

/** Announces a replica until stopped; `current` is asked each time. */
export function announceRelay(
  shared: Shared,
  current: () => RelayReplica,
): { readonly again: () => void; readonly stop: () => void } {
  const announce = (): void => {
    const replica = current();
    const told = [
      shared.include(SET, replica.nodeId, 24 * 3_600_000),
      shared.keep(keyOf(replica.nodeId), JSON.stringify(replica), LIFE_MS),
    ];
    // The next time may be better.
    Promise.all(told).catch(() => {});
  };
  const timer = setInterval(announce, ANNOUNCE_MS);
  announce();
  return { again: announce, stop: () => clearInterval(timer) };
}

/** Tells of the replicas there are, again and again; nothing while the store cannot be asked. Returns the way to stop. */
export function watchRelays(shared: Shared, tell: (replicas: readonly RelayReplica[]) => void): () => void {
  const look = async (): Promise<void> => {
    const nodeIds = await shared.members(SET);
    if (nodeIds.length === 0) return tell([]);
    const records = await shared.recall(nodeIds.map(keyOf));
    const gone = nodeIds.filter((_, i) => records[i] === null);
    await Promise.all(gone.map((nodeId) => shared.exclude(SET, nodeId)));
    tell(records.flatMap((record) => parseReplica(record) ?? []));
  };
  const timer = setInterval(() => void look().catch(() => {}), LOOK_MS);
  look().catch(() => {});
  return () => clearInterval(timer);
}

function parseReplica(record: string | null): RelayReplica | null {
  if (record === null) return null;
  try {
    const { service, nodeId, address4, address6, port, tlsPort, draining } = JSON.parse(record);
    if (typeof service !== 'string' || !isNodeId(nodeId) || !isPort(port)) return null;
    const address = (value: unknown) => (typeof value === 'string' ? canonicalAddress(value) : null);
    return {
      ...{ service, nodeId, port, tlsPort: isPort(tlsPort) ? tlsPort : null, draining: draining === true },
      ...{ address4: address(address4), address6: address(address6) },
    };
  } catch {
    return null;
  }
}

function isNodeId(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{32}$/.test(value);
}
