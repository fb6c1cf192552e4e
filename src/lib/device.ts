/**
 * The vocabulary of the register: what is known of a device, what can be asked and what can be changed.
 * Both the state machines (which ask through load and save actions) and the stores (which answer) speak it.
 */

import type { Address, Prefix } from './ip.ts';

export type DeviceKind = 'node' | 'adapter' | 'general';
export type DeviceState = 'new' | 'enrolled' | 'disabled';
export type DeviceAuth = 'token' | 'password' | 'mac' | 'certificate';
export type AddressMode = 'dual' | 'ipv4' | 'ipv6';

/** The overlay: its domain, and the ranges its virtual addresses come from. */
export type Network = { readonly domain: string; readonly range4: Prefix; readonly range6: Prefix };

/** What every service may read of a device. Ids are 32 hex digits; keys are raw octets. */
export type Device = {
  readonly deviceId: string;
  readonly nodeId: string;
  readonly fqdn: string;
  readonly vip4: Address | null;
  readonly vip6: Address | null;
  readonly groups: readonly string[];
  readonly kind: DeviceKind;
  /** DeviceID of the adapter that brings a general node in. */
  readonly adapter: string | null;
  readonly mac: string | null;
  readonly auth: DeviceAuth;
  readonly mode: AddressMode;
  readonly state: DeviceState;
  /** Pinned at the first login: Ed25519 and X25519 public keys, 32 octets each. */
  readonly signKey: Uint8Array | null;
  readonly handshakeKey: Uint8Array | null;
  /** The latest node certificate the AS issued. */
  readonly certificate: Uint8Array | null;
  /** Node-NMS key in force, and the one issued but not acknowledged yet (32 octets each). */
  readonly commonKey: Uint8Array | null;
  readonly pendingCommonKey: Uint8Array | null;
  /** Unix milliseconds. */
  readonly keyExpires: number | null;
  readonly lastSeen: number | null;
  /** Grows with every change of this device; from the register's one change counter. */
  readonly revision: number;
};

/** What only the AS may read: how a device proves itself before its keys are pinned. */
export type Credentials = {
  readonly deviceId: string;
  /** scrypt hash of the one-time secret or password, with its salt and parameters in one text. */
  readonly secretHash: string | null;
  /** Unix milliseconds after which the secret no longer counts; null for a password. */
  readonly secretExpires: number | null;
  /** True once the first login was acknowledged: the one-time secret is spent. */
  readonly secretUsed: boolean;
  /** The administrator allowed the next login by secret (or by its adapter) to pin other keys than those pinned now. */
  readonly keysReplaceable: boolean;
  /** PEM of the CA for a general node that authenticates by certificate. */
  readonly trustedCa: string | null;
};

/** What an administrator says of a new device; the register adds identity and addresses. */
export type NewDevice = {
  readonly deviceId: string;
  readonly groups: readonly string[];
  readonly adapter: string | null;
  readonly mac: string | null;
  readonly auth: DeviceAuth;
  readonly mode: AddressMode;
  readonly secretHash: string | null;
  readonly secretExpires: number | null;
  readonly trustedCa: string | null;
};

export type ServiceRole = 'nms' | 'trs';

/** One NMS or TRS of the network, with its fixed role and public service key (X25519, 32 octets). */
export type Service = {
  readonly name: string;
  readonly role: ServiceRole;
  readonly nodeId: string;
  readonly publicKey: Uint8Array;
  readonly address4: Address | null;
  readonly address6: Address | null;
  readonly port: number;
  /** TCP port where a TRS takes datagrams over TLS; null = it does not. */
  readonly tlsPort: number | null;
};

export type DeviceSelector = { readonly by: 'deviceId' | 'nodeId' | 'fqdn' | 'vip' | 'mac'; readonly value: string };

export type RegisterQuery =
  | { readonly get: 'device'; readonly selector: DeviceSelector }
  | { readonly get: 'credentials'; readonly deviceId: string }
  | { readonly get: 'services' }
  /** Devices changed or removed after this revision, oldest first. */
  | { readonly get: 'changes'; readonly since: number };

export type RegisterAnswer =
  | { readonly got: 'device'; readonly device: Device | null }
  | { readonly got: 'credentials'; readonly credentials: Credentials | null }
  | { readonly got: 'services'; readonly services: readonly Service[] }
  | {
      readonly got: 'changes';
      readonly revision: number;
      readonly changed: readonly Device[];
      readonly removed: readonly { readonly deviceId: string; readonly nodeId: string }[];
    };

/** One change = one transaction; the answer `saved` means it survives a crash. */
export type RegisterChange =
  /**
   * A login: pins keys if none are pinned or they are replaceable (a conflict otherwise, or if the device is disabled),
   * stores certificate and pending Common Key.
   */
  | {
      readonly set: 'login';
      readonly deviceId: string;
      /** Whether the login may pin keys: by secret or by the device's adapter, not by pinned keys. */
      readonly mayPin: boolean;
      readonly signKey: Uint8Array;
      readonly handshakeKey: Uint8Array;
      readonly certificate: Uint8Array;
      readonly pendingCommonKey: Uint8Array;
      readonly keyExpires: number;
    }
  /**
   * The device acknowledged the login that gave it this Common Key: pending key becomes current, the one-time secret is
   * spent, state enrolled. A conflict if a later login made another key pending.
   */
  | { readonly set: 'acknowledged'; readonly deviceId: string; readonly commonKey: Uint8Array }
  /** Devices that are gone meanwhile do not count. */
  | { readonly set: 'seen'; readonly nodes: readonly Sighting[] };

/** When a device was heard of, in Unix milliseconds. Each stands once in a change. */
export type Sighting = { readonly nodeId: string; readonly at: number };

/** One change of the register: who made it, when (Unix milliseconds), what it was and of which device or service. */
export type AuditEntry = {
  /** Grows with every entry. */
  readonly number: number;
  readonly at: number;
  readonly by: string;
  readonly action: AuditAction;
  readonly subject: string;
};
export const auditActions = [
  ...(['add', 'remove', 'enable', 'disable', 'token', 'service'] as const),
  /** A login brought the first keys of a device, or others than those known. */
  'pin',
  /** An adapter got a certificate for its general nodes. */
  'certify',
  /** An API token was made, was removed. */
  ...(['grant', 'revoke'] as const),
] as const;
export type AuditAction = (typeof auditActions)[number];

export type SaveResult = 'saved' | 'conflict' | 'unknown-device';

/** A DeviceID is one DNS label (RFC 1123 section 2.1), as it becomes the first of the device's name. */
export function isDeviceId(text: string): boolean {
  return /^[a-z\d]([a-z\d-]{0,61}[a-z\d])?$/i.test(text);
}

/** A device's name in the overlay. */
export function fqdnOf(deviceId: string, domain: string): string {
  return `${deviceId}.${domain}`.toLowerCase();
}

/** Whether exactly these keys are pinned. */
export function isPinned(
  device: Pick<Device, 'signKey' | 'handshakeKey'>,
  keys: { readonly signKey: Uint8Array; readonly handshakeKey: Uint8Array },
): boolean {
  const { signKey, handshakeKey } = device;
  if (signKey === null || handshakeKey === null) return false;
  return Buffer.compare(signKey, keys.signKey) === 0 && Buffer.compare(handshakeKey, keys.handshakeKey) === 0;
}
