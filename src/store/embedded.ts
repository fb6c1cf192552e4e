/**
 * The embedded register: what each question, change and command means, over tables that only find and keep. The tables
 * are synchronous, so that a change is one transaction and nothing comes in between.
 */

import { randomBytes } from 'node:crypto';
import type {
  AuditAction,
  AuditEntry,
  Credentials,
  Device,
  DeviceSelector,
  Network,
  NewDevice,
  RegisterAnswer,
  RegisterChange,
  RegisterQuery,
  SaveResult,
  Service,
} from '../lib/device.ts';
import { isPinned } from '../lib/device.ts';
import { raise } from '../lib/errors.ts';
import { formatPrefix } from '../lib/ip.ts';
import {
  afterAcknowledged,
  afterLogin,
  create,
  type DeviceRecord,
  lastHost,
  type Tombstone,
  toDevice,
  toTombstone,
} from './record.ts';
import { type Author, LOCAL, type NewSecret, type Page, type Register } from './register.ts';

/** Where an embedded register keeps its records. DeviceIDs and selectors are compared without regard to case. */
export interface Tables {
  /** Runs `work` as one transaction: all of it is kept when this returns, nothing if it throws. */
  transaction<T>(work: () => T): T;
  /** The counter of changes; the first number given out is 1. */
  revision(): number;
  nextRevision(): number;
  device(selector: DeviceSelector): DeviceRecord | null;
  /** Without a page: all. */
  devices(page?: Page): DeviceRecord[];
  devicesSince(revision: number): DeviceRecord[];
  generalNodesOf(adapter: string): DeviceRecord[];
  putDevice(record: DeviceRecord): void;
  /** Removes device, credentials and presence. */
  deleteDevice(record: DeviceRecord): void;
  credentials(deviceId: string): Credentials | null;
  putCredentials(credentials: Credentials): void;
  removedSince(revision: number): Tombstone[];
  putRemoved(tombstone: Tombstone): void;
  /** The lowest host number that neither a device nor a tombstone held at `now` has. */
  freeHost(now: number): number;
  lastSeen(nodeId: string): number | null;
  putLastSeen(nodeId: string, at: number): void;
  putAudit(entry: Omit<AuditEntry, 'number'>): void;
  audit(before: number, limit: number): AuditEntry[];
  services(): Service[];
  putService(service: Service): void;
  /** Calls back when another process may have changed something; returns the way to stop. */
  watchOthers(callback: () => void, intervalMs: number): () => void;
  close(): void;
}

export class EmbeddedRegister implements Register {
  readonly #tables: Tables;
  readonly #network: Network;
  readonly #clock: () => number;
  readonly #newNodeId: () => string;
  /** Who wants to hear of changes → how to stop looking for those of other processes. */
  readonly #watchers = new Map<() => void, () => void>();

  constructor(
    tables: Tables,
    network: Network,
    clock: () => number = Date.now,
    newNodeId: () => string = () => randomBytes(16).toString('hex'),
  ) {
    this.#tables = tables;
    this.#network = network;
    this.#clock = clock;
    this.#newNodeId = newNodeId;
  }

  async query(query: RegisterQuery): Promise<RegisterAnswer> {
    return this.answer(query);
  }

  async change(change: RegisterChange): Promise<SaveResult> {
    return this.apply(change);
  }

  /** `query` at once, for simulations. */
  answer(query: RegisterQuery): RegisterAnswer {
    const tables = this.#tables;
    switch (query.get) {
      case 'device': {
        const record = tables.device(query.selector);
        return { got: 'device', device: record === null ? null : this.#view(record) };
      }
      case 'credentials':
        return { got: 'credentials', credentials: tables.credentials(query.deviceId) };
      case 'services':
        return { got: 'services', services: tables.services() };
      case 'changes':
        // The counter is read first: what another process commits meanwhile is reported again, never missed.
        return {
          got: 'changes',
          revision: tables.revision(),
          changed: tables.devicesSince(query.since).map((record) => this.#view(record)),
          removed: tables.removedSince(query.since).map(({ deviceId, nodeId }) => ({ deviceId, nodeId })),
        };
    }
  }

  /** `change` at once, for simulations. */
  apply(change: RegisterChange): SaveResult {
    const tables = this.#tables;
    if (change.set === 'seen') {
      return tables.transaction(() => {
        if (tables.device({ by: 'nodeId', value: change.nodeId }) === null) return 'unknown-device';
        tables.putLastSeen(change.nodeId, Math.max(change.at, tables.lastSeen(change.nodeId) ?? 0));
        return 'saved';
      });
    }
    return this.#commit(() => {
      const device = tables.device({ by: 'deviceId', value: change.deviceId });
      if (device === null) return 'unknown-device';
      const before = { device, credentials: tables.credentials(device.deviceId)! };
      const after = change.set === 'login' ? afterLogin(before, change) : afterAcknowledged(before, change);
      if (typeof after === 'string') return after;
      tables.putCredentials(after.credentials);
      this.#put(after.device);
      if (change.set === 'login' && !isPinned(device, change))
        this.#note('pin', device.deviceId, `device:${device.deviceId}`);
      return 'saved';
    });
  }

  async add(given: NewDevice, by: Author = LOCAL): Promise<Device> {
    const tables = this.#tables;
    return this.#commit(() => {
      const { deviceId, mac } = given;
      if (tables.device({ by: 'deviceId', value: deviceId }) !== null) raise('REGISTER_DEVICE_EXISTS', { deviceId });
      const sameMac = mac === null ? null : tables.device({ by: 'mac', value: mac });
      if (sameMac !== null) raise('REGISTER_MAC_EXISTS', { mac, deviceId: sameMac.deviceId });
      const adapter = given.adapter === null ? null : this.#get(given.adapter);
      if (adapter?.kind === 'general') raise('REGISTER_NOT_ADAPTER', { deviceId: adapter.deviceId });
      const host = tables.freeHost(this.#clock());
      const { range4, range6 } = this.#network;
      if (host > lastHost(this.#network)) {
        raise('REGISTER_RANGE_FULL', { range4: formatPrefix(range4), range6: formatPrefix(range6) });
      }
      if (adapter?.kind === 'node') this.#put({ ...adapter, kind: 'adapter' });
      const nodeId = this.#newNodeId();
      const { device, credentials } = create(
        this.#network,
        { ...given, adapter: adapter?.deviceId ?? null },
        nodeId,
        host,
      );
      const record = this.#put(device);
      tables.putCredentials(credentials);
      this.#note('add', record.deviceId, by);
      return this.#view(record);
    });
  }

  async remove(deviceId: string, by: Author = LOCAL): Promise<void> {
    const tables = this.#tables;
    this.#commit(() => {
      const record = this.#get(deviceId);
      const count = tables.generalNodesOf(record.deviceId).length;
      if (count > 0) raise('REGISTER_ADAPTER_IN_USE', { deviceId: record.deviceId, count });
      tables.deleteDevice(record);
      tables.putRemoved({ ...toTombstone(record, this.#clock()), revision: tables.nextRevision() });
      this.#note('remove', record.deviceId, by);
    });
  }

  async setEnabled(deviceId: string, enabled: boolean, by: Author = LOCAL): Promise<Device> {
    return this.#commit(() => {
      const record = this.#put({ ...this.#get(deviceId), disabled: !enabled });
      this.#note(enabled ? 'enable' : 'disable', record.deviceId, by);
      return this.#view(record);
    });
  }

  async renewSecret(deviceId: string, secret: NewSecret | null, by: Author = LOCAL): Promise<Device> {
    const tables = this.#tables;
    return this.#commit(() => {
      const record = this.#get(deviceId);
      if (record.kind === 'general') raise('REGISTER_GENERAL_NODE', { deviceId: record.deviceId });
      for (const { deviceId: id } of [record, ...tables.generalNodesOf(record.deviceId)]) {
        tables.putCredentials({ ...tables.credentials(id)!, keysReplaceable: true });
      }
      if (secret !== null) {
        const renewed = { secretHash: secret.hash, secretExpires: secret.expires, secretUsed: false };
        tables.putCredentials({ ...tables.credentials(record.deviceId)!, ...renewed });
      }
      this.#note('token', record.deviceId, by);
      return this.#view(this.#put(record));
    });
  }

  async list(page?: Page): Promise<readonly Device[]> {
    return this.#tables.devices(page).map((record) => this.#view(record));
  }

  async putService(service: Service, by: Author = LOCAL): Promise<void> {
    const tables = this.#tables;
    this.#commit(() => {
      tables.putService(service);
      tables.nextRevision();
      this.#note('service', service.name, by);
    });
  }

  async audit(before: number | null, limit: number): Promise<readonly AuditEntry[]> {
    return this.#tables.audit(before ?? Number.MAX_SAFE_INTEGER, limit);
  }

  async revision(): Promise<number> {
    return this.#tables.revision();
  }

  watch(callback: (revision: number) => void, intervalMs: number): () => void {
    let known = this.#tables.revision();
    const check = () => {
      const revision = this.#tables.revision();
      if (revision === known) return;
      known = revision;
      callback(revision);
    };
    const stop = this.#tables.watchOthers(check, intervalMs);
    this.#watchers.set(check, stop);
    return () => {
      stop();
      this.#watchers.delete(check);
    };
  }

  async close(): Promise<void> {
    for (const stop of this.#watchers.values()) stop();
    this.#watchers.clear();
    this.#tables.close();
  }

  /** A transaction that may have changed something: this process's watchers look at once. */
  #commit<T>(work: () => T): T {
    const result = this.#tables.transaction(work);
    queueMicrotask(() => {
      for (const check of this.#watchers.keys()) check();
    });
    return result;
  }

  #note(action: AuditAction, subject: string, by: Author): void {
    this.#tables.putAudit({ at: this.#clock(), by, action, subject });
  }

  #get(deviceId: string): DeviceRecord {
    return this.#tables.device({ by: 'deviceId', value: deviceId }) ?? raise('REGISTER_UNKNOWN_DEVICE', { deviceId });
  }

  #put(record: DeviceRecord): DeviceRecord {
    const stamped = { ...record, revision: this.#tables.nextRevision() };
    this.#tables.putDevice(stamped);
    return stamped;
  }

  #view(record: DeviceRecord): Device {
    return toDevice(record, this.#tables.lastSeen(record.nodeId));
  }
}
