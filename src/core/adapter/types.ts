/** What the shell of an adapter gives to and gets from its machine. */

import type { AddressMode, DeviceAuth, DeviceState } from '../../lib/device.ts';
import type { Address, Prefix } from '../../lib/ip.ts';
import type { Mac } from '../../lib/mac.ts';
import type { VirtualAddresses } from '../../lib/path.ts';
import type { UdpDatagram } from '../../net/datagram.ts';
import type { Credential, EapMethod, TlsEngine } from '../../net/eap-conversation.ts';
import type { Action } from '../actions.ts';

/** The adapter's own side of the inner link. */
export type LinkSettings = {
  readonly mac: Mac;
  readonly linkLocal: Address;
  readonly gateway4: Address;
  readonly gateway6: Address;
  readonly range4: Prefix;
  readonly range6: Prefix;
  readonly domain: string;
  readonly mtu: number;
  /** Whether packets to elsewhere than the overlay are routed, by the kernel. */
  readonly internet: boolean;
};

export type AdapterOptions = LinkSettings & {
  /** In [0, 1). */
  readonly random: () => number;
  /** The server end of a TLS connection with a device (802.1X). */
  readonly makeEngine: (mac: Mac, method: EapMethod) => TlsEngine;
};

/** A general node as the register has it. */
export type RegisteredDevice = VirtualAddresses & {
  readonly deviceId: string;
  readonly nodeId: string;
  readonly fqdn: string;
  readonly mac: Mac | null;
  readonly auth: DeviceAuth;
  readonly mode: AddressMode;
  readonly state: DeviceState;
};

/** How a general node proves itself to the AS: by the MAC address that it was seen with, or by what it said itself. */
export type Proof = { readonly kind: 'mac'; readonly mac: Mac } | (Credential & { readonly identity: string });

/** `stale`: the network could not be asked; else it said yes or no. */
export type LoginResult = 'accepted' | 'refused' | 'unreachable';

export type GeneralNodeState = 'seen' | 'authenticating' | 'active' | 'idle' | 'refused';

export type AdapterAction =
  | Action
  /** Send this frame on the inner link. */
  | { readonly do: 'transmit'; readonly frame: Uint8Array }
  /** Log this device in; comes back as `loggedIn(deviceId, attempt, …)`. */
  | { readonly do: 'login'; readonly deviceId: string; readonly attempt: number; readonly proof: Proof }
  /** The device is in the overlay from now on, by its latest login. */
  | { readonly do: 'join'; readonly deviceId: string }
  /** It no longer is: say goodbye for it. `forget`: also its keys, as it is no device of ours any more. */
  | { readonly do: 'leave'; readonly deviceId: string; readonly forget: boolean }
  /** The devices whose packets are carried changed: see `hosts`. */
  | { readonly do: 'hostsChanged' }
  /** A question of a device to its resolver; the answer comes as `resolved(…)`. */
  | { readonly do: 'query'; readonly deviceId: string; readonly datagram: UdpDatagram }
  /** A packet of a device that is to wait for its path. */
  | { readonly do: 'carry'; readonly deviceId: string; readonly packet: Uint8Array; readonly destination: Address };

export type GeneralNodeSnapshot = VirtualAddresses & {
  /** Null for a device that is not registered. */
  readonly deviceId: string | null;
  readonly nodeId: string | null;
  readonly fqdn: string | null;
  readonly mac: Mac | null;
  readonly auth: DeviceAuth | null;
  readonly state: GeneralNodeState;
};
