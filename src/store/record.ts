/**
 * What stores keep of a device, and what each change does to it: pure functions, so that every store has the same rules
 * and only finds and keeps records.
 */

import type { Credentials, Device, Network, NewDevice, RegisterChange, SaveResult } from '../lib/device.ts';
import { fqdnOf, isPinned } from '../lib/device.ts';
import { addressAt, hostCount } from '../lib/ip.ts';

export type DeviceRecord = Omit<Device, 'state' | 'lastSeen'> & {
  /** Host number in both ranges. */
  readonly host: number;
  /** Whether a login of this device was ever acknowledged. */
  readonly enrolled: boolean;
  readonly disabled: boolean;
};

/** A removed device; its host number is given out again once no certificate with its addresses is valid any more. */
export type Tombstone = {
  readonly nodeId: string;
  readonly deviceId: string;
  readonly host: number;
  readonly heldUntil: number;
  readonly revision: number;
};

type LoginChange = Extract<RegisterChange, { set: 'login' }>;
type AcknowledgedChange = Extract<RegisterChange, { set: 'acknowledged' }>;
type Changed = { readonly device: DeviceRecord; readonly credentials: Credentials };

/** Longer than any clock of the network may be off (ms). */
const HOLD_MARGIN_MS = 24 * 3_600_000;

/** The last host number that has an address in every range, the IPv4 broadcast address excluded. */
export function lastHost(network: Network): number {
  return Math.min(hostCount(network.range4) - 2, hostCount(network.range6) - 1);
}

export function create(network: Network, given: NewDevice, nodeId: string, host: number): Changed {
  const { secretHash, secretExpires, trustedCa, ...rest } = given;
  return {
    device: {
      ...rest,
      nodeId,
      host,
      fqdn: fqdnOf(given.deviceId, network.domain),
      vip4: given.mode === 'ipv6' ? null : addressAt(network.range4, host),
      vip6: given.mode === 'ipv4' ? null : addressAt(network.range6, host),
      kind: given.adapter === null ? 'node' : 'general',
      enrolled: false,
      disabled: false,
      signKey: null,
      handshakeKey: null,
      certificate: null,
      commonKey: null,
      pendingCommonKey: null,
      keyExpires: null,
      revision: 0,
    },
    credentials: {
      deviceId: given.deviceId,
      secretHash,
      secretExpires,
      trustedCa,
      secretUsed: false,
      keysReplaceable: false,
    },
  };
}

/** A record as the rest of the program sees a device. */
export function toDevice({ host: _, enrolled, disabled, ...rest }: DeviceRecord, lastSeen: number | null): Device {
  return { ...rest, lastSeen, state: disabled ? 'disabled' : enrolled ? 'enrolled' : 'new' };
}

export function toTombstone(device: DeviceRecord, now: number): Omit<Tombstone, 'revision'> {
  const { nodeId, deviceId, host, keyExpires } = device;
  return { nodeId, deviceId, host, heldUntil: keyExpires === null ? now : keyExpires + HOLD_MARGIN_MS };
}

export function afterLogin({ device, credentials }: Changed, change: LoginChange): Changed | SaveResult {
  const { signKey, handshakeKey, certificate, pendingCommonKey, keyExpires } = change;
  const pinned = isPinned(device, change);
  const mayPin = change.mayPin && (device.signKey === null || credentials.keysReplaceable);
  if (device.disabled || (!pinned && !mayPin)) return 'conflict';
  return {
    device: { ...device, signKey, handshakeKey, certificate, pendingCommonKey, keyExpires },
    credentials: change.mayPin ? { ...credentials, keysReplaceable: false } : credentials,
  };
}

export function afterAcknowledged({ device, credentials }: Changed, change: AcknowledgedChange): Changed | SaveResult {
  const { pendingCommonKey } = device;
  if (pendingCommonKey === null || Buffer.compare(pendingCommonKey, change.commonKey) !== 0) return 'conflict';
  // A secret made since the keys were pinned is still unspent: this was a login by keys.
  const spent = credentials.secretExpires !== null && !credentials.keysReplaceable;
  return {
    device: { ...device, commonKey: change.commonKey, pendingCommonKey: null, enrolled: true },
    credentials: { ...credentials, secretUsed: credentials.secretUsed || spent },
  };
}
