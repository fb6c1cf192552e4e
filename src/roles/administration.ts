/**
 * What administrators do with devices, the same by the register's file and through the controller: one interface, and
 * devices as users and scripts see them.
 */

import type { AddressMode, AuditEntry, Device, DeviceAuth } from '../lib/device.ts';
import { PRESENCE_MS } from '../proto/constants.ts';

/** The fields scripts rely on; they may grow, never shrink. */
export type DeviceView = Pick<
  Device,
  'deviceId' | 'nodeId' | 'fqdn' | 'vip4' | 'vip6' | 'groups' | 'kind' | 'adapter' | 'mac' | 'auth' | 'mode' | 'state'
> & {
  readonly online: boolean;
  /** RFC 3339. */
  readonly lastSeen: string | null;
};

export type WithToken = DeviceView & { readonly token: string };

/** What is said of a new device; null = not said. */
export type DeviceRequest = {
  readonly deviceId: string;
  readonly groups: readonly string[];
  readonly adapter: string | null;
  readonly mac: string | null;
  readonly auth: Exclude<DeviceAuth, 'token'> | null;
  readonly mode: AddressMode;
  readonly password: string | null;
  /** PEM of the CA of a general node that authenticates by certificate. */
  readonly ca: string | null;
};

export type DevicePage = { readonly items: readonly DeviceView[]; readonly next: string | null };
export type AuditView = Omit<AuditEntry, 'at'> & { readonly at: string };
export type AuditPage = { readonly items: readonly AuditView[]; readonly next: number | null };

export type Administration = {
  list(page: { readonly after: string | null; readonly limit: number; readonly adapter?: string }): Promise<DevicePage>;
  get(deviceId: string): Promise<DeviceView>;
  /** A general node gets no token. */
  add(request: DeviceRequest): Promise<DeviceView | WithToken>;
  /** Returns what it was. */
  remove(deviceId: string): Promise<DeviceView>;
  setEnabled(deviceId: string, enabled: boolean): Promise<DeviceView>;
  renewToken(deviceId: string): Promise<WithToken>;
  /** A certificate (PEM) by which an adapter speaks TLS to its general nodes, for this P-256 key (SPKI in base64). */
  certify(deviceId: string, publicKey: string): Promise<{ readonly certificate: string }>;
  /** Latest first. */
  audit(page: { readonly before: number | null; readonly limit: number }): Promise<AuditPage>;
};

/** Longest page of any list. */
export const MAX_PAGE = 1_000;

export function toView(device: Device, wall = Date.now()): DeviceView {
  const { deviceId, nodeId, fqdn, vip4, vip6, groups, kind, adapter, mac, auth, mode, state, lastSeen } = device;
  return {
    deviceId,
    nodeId,
    fqdn,
    vip4,
    vip6,
    groups,
    kind,
    adapter,
    mac,
    auth,
    mode,
    state,
    online: lastSeen !== null && wall - lastSeen < PRESENCE_MS,
    lastSeen: lastSeen === null ? null : new Date(lastSeen).toISOString(),
  };
}

/** All devices, page after page. */
export async function listAll(administration: Pick<Administration, 'list'>): Promise<DeviceView[]> {
  const all: DeviceView[] = [];
  for (let after: string | null = null; ; ) {
    const { items, next }: DevicePage = await administration.list({ after, limit: MAX_PAGE });
    all.push(...items);
    if (next === null) return all;
    after = next;
  }
}
