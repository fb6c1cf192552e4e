/**
 * The register: every device of the network and its services. One interface for all stores; `test/store` holds the
 * contract they all keep. Whatever a promise answered for survives a crash of this process (and, on disk, of the machine).
 */

import type {
  AuditAction,
  AuditEntry,
  Device,
  NewDevice,
  RegisterAnswer,
  RegisterChange,
  RegisterQuery,
  SaveResult,
  Service,
} from '../lib/device.ts';

/** Who makes a change, for the audit log; it is written in the same transaction. */
export type Author = string;
/** Somebody with access to the register's own file. */
export const LOCAL: Author = 'local';

export type NewSecret = { readonly hash: string; readonly expires: number };

export type Page = {
  /** DeviceID that the page begins behind; null = the first page. */
  readonly after: string | null;
  readonly limit: number;
  /** Only general nodes of this adapter. */
  readonly adapter?: string;
};

export interface Register {
  /** Questions of the state machines. */
  query(query: RegisterQuery): Promise<RegisterAnswer>;
  /** Changes by the state machines, one transaction each. */
  change(change: RegisterChange): Promise<SaveResult>;

  /** Registers a device and gives it its NodeID and virtual addresses for good. */
  add(device: NewDevice, by?: Author): Promise<Device>;
  /** Takes a device out; it stays in the list of changes as removed. */
  remove(deviceId: string, by?: Author): Promise<void>;
  setEnabled(deviceId: string, enabled: boolean, by?: Author): Promise<Device>;
  /**
   * A new secret (null: the present one stays). Pinned keys go on counting until the next login by secret replaces them;
   * the same holds for the general nodes of an adapter.
   */
  renewSecret(deviceId: string, secret: NewSecret | null, by?: Author): Promise<Device>;
  /** Devices by DeviceID: all, or those of one page. */
  list(page?: Page): Promise<readonly Device[]>;
  /** Adds a service, or replaces the one of that name. */
  putService(service: Service, by?: Author): Promise<void>;
  /** Writes down a change of what is not in the register itself. */
  note(action: AuditAction, subject: string, by?: Author): Promise<void>;
  /** Who changed what: the latest `limit` entries before that number (null: of all), latest first. */
  audit(before: number | null, limit: number): Promise<readonly AuditEntry[]>;

  /** Number of the latest change of any device or service; presence does not count. */
  revision(): Promise<number>;
  /** Calls back after changes, by whatever process, within `intervalMs`; returns the way to stop. */
  watch(callback: (revision: number) => void, intervalMs: number): () => void;
  close(): Promise<void>;
}

/** Host numbers of the ranges that no device gets: the network itself and the gateway address (protocol section 5.1). */
export const FIRST_HOST = 2;
