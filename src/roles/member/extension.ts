/** What an adapter adds to a node: an inner link, and the devices on it, each an identity of its own. */

import type { GeneralNodeSnapshot } from '../../core/adapter/types.ts';
import type { PeerSnapshot, Session } from '../../core/node/types.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import type { Counters } from '../../lib/counters.ts';
import type { Address, Endpoint } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import type { DataPlane } from '../../pipeline/dataplane.ts';
import type { Suite } from '../../proto/constants.ts';
import type { Netlink } from '../../sys/netlink.ts';
import type { Members } from './members.ts';
import type { DaemonState } from './state.ts';

/** The node it is added to. */
export type Host = {
  readonly stateDirectory: string;
  /** Enrolment and latest session of the adapter itself. */
  readonly state: () => DaemonState;
  readonly session: Session;
  readonly suite: Suite;
  readonly mtu: number;
  readonly plane: DataPlane;
  readonly members: Members;
  readonly netlink: Netlink;
  readonly primitives: Primitives;
  readonly counters: Counters;
  readonly log: Log;
  /** Name servers of the host outside the overlay. */
  readonly upstreams: readonly Endpoint[];
};

export type Attachment = {
  /** A frame of the inner link. */
  frame(octets: Uint8Array): void;
  registerChanged(): void;
  status(): ExtensionStatus;
  close(): Promise<void>;
};

export type ExtensionStatus = {
  readonly inner: string;
  readonly gateway4: Address;
  readonly gateway6: Address;
  readonly generalNodes: readonly (GeneralNodeSnapshot & { readonly peers: readonly PeerSnapshot[] })[];
};

export type Extension = {
  readonly role: 'adapter';
  /** The host's interface on the inner link. */
  readonly inner: string;
  /** Brings the inner interface up, after a killed adapter too; returns the adapter's own addresses there. */
  prepare(session: Session, netlink: Netlink): readonly Address[];
  attach(host: Host): Promise<Attachment>;
};
