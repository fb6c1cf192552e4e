/** What an adapter adds to a node: an inner link, and the devices on it, each an identity of its own. */

import type { GeneralNodeSnapshot } from '../../core/adapter/types.ts';
import type { NatType } from '../../core/node/nat-check.ts';
import type { PeerSnapshot, ResolveQuestion, ResolveResult, Session } from '../../core/node/types.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import type { Counters } from '../../lib/counters.ts';
import type { Address, Endpoint } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import type { ProxyEnvironment } from '../../net/http-proxy.ts';
import type { DataPlane } from '../../pipeline/dataplane.ts';
import type { Suite } from '../../proto/constants.ts';
import type { Netlink } from '../../sys/netlink.ts';
import type { InnerPlan } from './interface-setup.ts';
import type { Members } from './members.ts';
import type { DaemonState } from './state.ts';

/** The node it is added to. */
export type Host = {
  readonly stateDirectory: string;
  /** Enrolment and latest session of the adapter itself. */
  readonly state: () => DaemonState;
  readonly session: Session;
  readonly environment: ProxyEnvironment;
  readonly suite: Suite;
  readonly mtu: number;
  readonly rekeyAfterMs: number;
  readonly natType: () => NatType | null;
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
  /** Who is here rather than at the end of a path: the adapter itself, or an active general node. */
  find(question: ResolveQuestion): Extract<ResolveResult, { readonly status: 'found' }> | null;
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
  /** What is to be set up on the host for it. */
  plan(session: Session, netlink: Netlink): InnerPlan;
  attach(host: Host): Promise<Attachment>;
};
