/**
 * What each question, change and command means, over tables that only find and keep. Written as generators: they yield
 * the table operations they need and get the results, so that the same rules run over tables that answer at once
 * (embedded) and over those that answer later (a database server).
 */

import { randomBytes } from 'node:crypto';
import {
  type AuditAction,
  type AuditEntry,
  type Credentials,
  type Device,
  type DeviceSelector,
  isPinned,
  type Network,
  type NewDevice,
  type RegisterAnswer,
  type RegisterChange,
  type RegisterQuery,
  type SaveResult,
  type Service,
  type Sighting,
} from '../lib/device.ts';
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
import { type Author, LOCAL, type NewSecret, type Page } from './register.ts';

/** What tables do. DeviceIDs and selectors are compared without regard to case. */
export type Operations = {
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
  /** One more than the highest host number that a device, or a tombstone held at `now`, has; found without looking at all. */
  nextHost(now: number): number;
  /** The lowest host number that none of them has. */
  freeHost(now: number): number;
  lastSeen(nodeIds: readonly string[]): Map<string, number>;
  /** Of devices that there are, and never backwards. */
  putLastSeen(seen: readonly Sighting[]): void;
  putAudit(entry: Omit<AuditEntry, 'number'>): void;
  audit(before: number, limit: number): AuditEntry[];
  services(): Service[];
  putService(service: Service): void;
};

export type Step = {
  [K in keyof Operations]: { readonly operation: K; readonly words: Parameters<Operations[K]> };
}[keyof Operations];

/** Rules on their way to a result. */
export type Steps<T> = Generator<Step, T, unknown>;

/** `yield* table('device', selector)` is what that operation returns. */
function* table<K extends keyof Operations>(
  operation: K,
  ...words: Parameters<Operations[K]>
): Steps<ReturnType<Operations[K]>> {
  return (yield { operation, words } as Step) as ReturnType<Operations[K]>;
}

export class Rules {
  readonly #network: Network;
  readonly #clock: () => number;
  readonly #newNodeId: () => string;

  constructor(
    network: Network,
    clock: () => number = Date.now,
    newNodeId: () => string = () => randomBytes(16).toString('hex'),
  ) {
    this.#network = network;
    this.#clock = clock;
    this.#newNodeId = newNodeId;
  }

  *answer(query: RegisterQuery): Steps<RegisterAnswer> {
    switch (query.get) {
      case 'device': {
        const record = yield* table('device', query.selector);
        return { got: 'device', device: record === null ? null : yield* view(record) };
      }
      case 'credentials':
        return { got: 'credentials', credentials: yield* table('credentials', query.deviceId) };
      case 'services':
        return { got: 'services', services: yield* table('services') };
      case 'changes': {
        // The counter is read first: what another process commits meanwhile is reported again, never missed.
        const revision = yield* table('revision');
        const changed = yield* views(yield* table('devicesSince', query.since));
        const removed = yield* table('removedSince', query.since);
        return {
          got: 'changes',
          revision,
          changed,
          removed: removed.map(({ deviceId, nodeId }) => ({ deviceId, nodeId })),
        };
      }
    }
  }

  *apply(change: RegisterChange): Steps<SaveResult> {
    if (change.set === 'seen') {
      yield* table('putLastSeen', change.nodes);
      return 'saved';
    }
    const device = yield* table('device', { by: 'deviceId', value: change.deviceId });
    if (device === null) return 'unknown-device';
    const credentials = (yield* table('credentials', device.deviceId))!;
    const before = { device, credentials };
    const after = change.set === 'login' ? afterLogin(before, change) : afterAcknowledged(before, change);
    if (typeof after === 'string') return after;
    yield* table('putCredentials', after.credentials);
    yield* put(after.device);
    if (change.set === 'login' && !isPinned(device, change)) {
      yield* this.note('pin', device.deviceId, `device:${device.deviceId}`);
    }
    return 'saved';
  }

  *add(given: NewDevice, by: Author = LOCAL): Steps<Device> {
    const { deviceId, mac } = given;
    if ((yield* table('device', { by: 'deviceId', value: deviceId })) !== null) {
      raise('REGISTER_DEVICE_EXISTS', { deviceId });
    }
    const sameMac = mac === null ? null : yield* table('device', { by: 'mac', value: mac });
    if (sameMac !== null) raise('REGISTER_MAC_EXISTS', { mac, deviceId: sameMac.deviceId });
    const adapter = given.adapter === null ? null : yield* get(given.adapter);
    if (adapter?.kind === 'general') raise('REGISTER_NOT_ADAPTER', { deviceId: adapter.deviceId });
    const now = this.#clock();
    const last = lastHost(this.#network);
    const next = yield* table('nextHost', now);
    const host = next <= last ? next : yield* table('freeHost', now);
    const { range4, range6 } = this.#network;
    if (host > last) {
      raise('REGISTER_RANGE_FULL', { range4: formatPrefix(range4), range6: formatPrefix(range6) });
    }
    if (adapter?.kind === 'node') yield* put({ ...adapter, kind: 'adapter' });
    const request = { ...given, adapter: adapter?.deviceId ?? null };
    const { device, credentials } = create(this.#network, request, this.#newNodeId(), host);
    const record = yield* put(device);
    yield* table('putCredentials', credentials);
    yield* this.note('add', record.deviceId, by);
    return yield* view(record);
  }

  *remove(deviceId: string, by: Author = LOCAL): Steps<void> {
    const record = yield* get(deviceId);
    const count = (yield* table('generalNodesOf', record.deviceId)).length;
    if (count > 0) raise('REGISTER_ADAPTER_IN_USE', { deviceId: record.deviceId, count });
    yield* table('deleteDevice', record);
    const revision = yield* table('nextRevision');
    yield* table('putRemoved', { ...toTombstone(record, this.#clock()), revision });
    yield* this.note('remove', record.deviceId, by);
  }

  *setEnabled(deviceId: string, enabled: boolean, by: Author = LOCAL): Steps<Device> {
    const record = yield* put({ ...(yield* get(deviceId)), disabled: !enabled });
    yield* this.note(enabled ? 'enable' : 'disable', record.deviceId, by);
    return yield* view(record);
  }

  *renewSecret(deviceId: string, secret: NewSecret | null, by: Author = LOCAL): Steps<Device> {
    const record = yield* get(deviceId);
    if (record.kind === 'general') raise('REGISTER_GENERAL_NODE', { deviceId: record.deviceId });
    for (const { deviceId: id } of [record, ...(yield* table('generalNodesOf', record.deviceId))]) {
      yield* table('putCredentials', { ...(yield* table('credentials', id))!, keysReplaceable: true });
    }
    if (secret !== null) {
      const renewed = { secretHash: secret.hash, secretExpires: secret.expires, secretUsed: false };
      yield* table('putCredentials', { ...(yield* table('credentials', record.deviceId))!, ...renewed });
    }
    yield* this.note('token', record.deviceId, by);
    return yield* view(yield* put(record));
  }

  *list(page?: Page): Steps<Device[]> {
    return yield* views(yield* table('devices', page));
  }

  *putService(service: Service, by: Author = LOCAL): Steps<void> {
    yield* table('putService', service);
    yield* table('nextRevision');
    yield* this.note('service', service.name, by);
  }

  *audit(before: number | null, limit: number): Steps<AuditEntry[]> {
    return yield* table('audit', before ?? Number.MAX_SAFE_INTEGER, limit);
  }

  *revision(): Steps<number> {
    return yield* table('revision');
  }

  *note(action: AuditAction, subject: string, by: Author): Steps<void> {
    yield* table('putAudit', { at: this.#clock(), by, action, subject });
  }
}

function* get(deviceId: string): Steps<DeviceRecord> {
  return (
    (yield* table('device', { by: 'deviceId', value: deviceId })) ?? raise('REGISTER_UNKNOWN_DEVICE', { deviceId })
  );
}

function* put(record: DeviceRecord): Steps<DeviceRecord> {
  const stamped = { ...record, revision: yield* table('nextRevision') };
  yield* table('putDevice', stamped);
  return stamped;
}

function* view(record: DeviceRecord): Steps<Device> {
  return (yield* views([record]))[0]!;
}

function* views(records: readonly DeviceRecord[]): Steps<Device[]> {
  if (records.length === 0) return [];
  const seen = yield* table(
    'lastSeen',
    records.map(({ nodeId }) => nodeId),
  );
  return records.map((record) => toDevice(record, seen.get(record.nodeId) ?? null));
}
