/**
 * The register: every device of the network and its services. One interface for all stores; `test/store` holds the
 * contract they all keep. Whatever a promise answered for survives a crash of this process (and, on disk, of the machine).
 */

import type {
  Device,
  NewDevice,
  RegisterAnswer,
  RegisterChange,
  RegisterQuery,
  SaveResult,
  Service,
} from '../lib/device.ts';

export interface Register {
  /** Questions of the state machines. */
  query(query: RegisterQuery): Promise<RegisterAnswer>;
  /** Changes by the state machines, one transaction each. */
  change(change: RegisterChange): Promise<SaveResult>;

  /** Registers a device and gives it its NodeID and virtual addresses for good. */
  add(device: NewDevice): Promise<Device>;
  /** Takes a device out; it stays in the list of changes as removed. */
  remove(deviceId: string): Promise<void>;
  setEnabled(deviceId: string, enabled: boolean): Promise<Device>;
  /**
   * A new secret (null: the present one stays). Pinned keys go on counting until the next login by secret replaces them;
   * the same holds for the general nodes of an adapter.
   */
  renewSecret(deviceId: string, secret: { readonly hash: string; readonly expires: number } | null): Promise<Device>;
  /** All devices by DeviceID. */
  list(): Promise<readonly Device[]>;
  /** Adds a service, or replaces the one of that name. */
  putService(service: Service): Promise<void>;

  /** Number of the latest change of any device or service; presence does not count. */
  revision(): Promise<number>;
  /** Calls back after changes, by whatever process, within `intervalMs`; returns the way to stop. */
  watch(callback: (revision: number) => void, intervalMs: number): () => void;
  close(): Promise<void>;
}

/** Host numbers of the ranges that no device gets: the network itself and the gateway address (protocol section 5.1). */
export const FIRST_HOST = 2;
