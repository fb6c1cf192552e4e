/** A register in memory: for simulations and tests, gone with its process. */

import type { AuditEntry, Credentials, DeviceSelector, Network, Service, Sighting } from '../lib/device.ts';
import { EmbeddedRegister, type Tables } from './embedded.ts';
import type { DeviceRecord, Tombstone } from './record.ts';
import { FIRST_HOST, type Page } from './register.ts';

export function openMemory(network: Network, clock?: () => number, newNodeId?: () => string): EmbeddedRegister {
  return new EmbeddedRegister(new MemoryTables(), network, clock, newNodeId);
}

class MemoryTables implements Tables {
  /** By lower-case DeviceID. */
  readonly #devices = new Map<string, DeviceRecord>();
  readonly #credentials = new Map<string, Credentials>();
  /** Every other value a device can be found by → lower-case DeviceID. */
  readonly #index = new Map<string, string>();
  readonly #lastSeen = new Map<string, number>();
  readonly #services = new Map<string, Service>();
  readonly #removed: Tombstone[] = [];
  readonly #audit: AuditEntry[] = [];
  #revision = 0;

  /** Nothing to undo: callers raise before they put. */
  transaction<T>(work: () => T): T {
    return work();
  }

  revision(): number {
    return this.#revision;
  }

  nextRevision(): number {
    return ++this.#revision;
  }

  device({ by, value }: DeviceSelector): DeviceRecord | null {
    const wanted = value.toLowerCase();
    const key = by === 'deviceId' ? wanted : this.#index.get(`${by} ${wanted}`);
    return (key === undefined ? undefined : this.#devices.get(key)) ?? null;
  }

  devices(page?: Page): DeviceRecord[] {
    const all = [...this.#devices].sort(([a], [b]) => (a < b ? -1 : 1));
    if (page === undefined) return all.map(([, record]) => record);
    const { limit } = page;
    const after = page.after?.toLowerCase() ?? '';
    const adapter = page.adapter?.toLowerCase();
    const wanted = all.filter(
      ([key, record]) => key > after && (adapter === undefined || record.adapter?.toLowerCase() === adapter),
    );
    return wanted.slice(0, limit).map(([, record]) => record);
  }

  devicesSince(revision: number): DeviceRecord[] {
    return [...this.#devices.values()].filter((r) => r.revision > revision).sort((a, b) => a.revision - b.revision);
  }

  generalNodesOf(adapter: string): DeviceRecord[] {
    return this.devices().filter((record) => record.adapter === adapter);
  }

  putDevice(record: DeviceRecord): void {
    const key = record.deviceId.toLowerCase();
    this.#devices.set(key, record);
    for (const name of namesOf(record)) this.#index.set(name, key);
  }

  deleteDevice(record: DeviceRecord): void {
    const key = record.deviceId.toLowerCase();
    this.#devices.delete(key);
    this.#credentials.delete(key);
    this.#lastSeen.delete(record.nodeId);
    for (const name of namesOf(record)) this.#index.delete(name);
  }

  credentials(deviceId: string): Credentials | null {
    return this.#credentials.get(deviceId.toLowerCase()) ?? null;
  }

  putCredentials(credentials: Credentials): void {
    this.#credentials.set(credentials.deviceId.toLowerCase(), credentials);
  }

  removedSince(revision: number): Tombstone[] {
    return this.#removed.filter((tombstone) => tombstone.revision > revision);
  }

  putRemoved(tombstone: Tombstone): void {
    this.#removed.push(tombstone);
  }

  nextHost(now: number): number {
    let highest = FIRST_HOST - 1;
    for (const host of this.#taken(now)) highest = Math.max(highest, host);
    return highest + 1;
  }

  freeHost(now: number): number {
    const taken = this.#taken(now);
    let host = FIRST_HOST;
    while (taken.has(host)) host++;
    return host;
  }

  #taken(now: number): Set<number> {
    const held = this.#removed.filter((tombstone) => tombstone.heldUntil > now);
    return new Set([...this.#devices.values(), ...held].map((item) => item.host));
  }

  lastSeen(): Map<string, number> {
    return this.#lastSeen;
  }

  putLastSeen(seen: readonly Sighting[]): void {
    for (const { nodeId, at } of seen) {
      if (this.device({ by: 'nodeId', value: nodeId }) === null) continue;
      this.#lastSeen.set(nodeId, Math.max(at, this.#lastSeen.get(nodeId) ?? 0));
    }
  }

  putAudit(entry: Omit<AuditEntry, 'number'>): void {
    this.#audit.push({ number: this.#audit.length + 1, ...entry });
  }

  audit(before: number, limit: number): AuditEntry[] {
    const end = Math.min(this.#audit.length, before - 1);
    return this.#audit.slice(Math.max(0, end - limit), Math.max(0, end)).reverse();
  }

  services(): Service[] {
    return [...this.#services.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  putService(service: Service): void {
    this.#services.set(service.name, service);
  }

  /** No other process sees this register. */
  watchOthers(): () => void {
    return () => {};
  }

  close(): void {}
}

function namesOf({ nodeId, fqdn, vip4, vip6, mac }: DeviceRecord): string[] {
  const names = [`nodeId ${nodeId}`, `fqdn ${fqdn}`];
  if (vip4 !== null) names.push(`vip ${vip4}`);
  if (vip6 !== null) names.push(`vip ${vip6}`);
  if (mac !== null) names.push(`mac ${mac}`);
  return names;
}
