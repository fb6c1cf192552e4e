/** What the shell of a node gives to and gets from its machine. */

import type { Identity } from '../../crypto/identity.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import type { Address, Endpoint, Prefix } from '../../lib/ip.ts';
import type { PathCommand } from '../../lib/path.ts';
import type { Suite } from '../../proto/constants.ts';
import type { Action } from '../actions.ts';
import type { NatType } from './nat-check.ts';

export type NodeOptions = {
  readonly primitives: Primitives;
  /** The suite this device wants: `cbcMd5` talks to its like only, the others never to that one. */
  readonly suite: Suite;
  readonly identity: Identity;
  /** Of the TUN; by default the usual one. */
  readonly mtu?: number;
  /** New End Keys after so much use; by default, and at most, as the protocol says. */
  readonly rekeyAfterMs?: number;
  /** What is known of the NAT in between; absent: ports are not predicted. */
  readonly natType?: () => NatType | null;
};

/** What a login brought: the result of `readLoginResponse`, with the public key the enrolment token gave. */
export type Session = {
  readonly nodeId: string;
  readonly fqdn: string;
  readonly vip4: Address | null;
  readonly vip6: Address | null;
  readonly commonKey: Uint8Array;
  /** Suite of the Common Key. */
  readonly suite: Suite;
  /** Our node certificate as the AS signed it, and when it ends (Unix milliseconds). */
  readonly certificate: Uint8Array;
  readonly certificateExpires: number;
  readonly caPublicKey: Uint8Array;
  readonly nms4: Endpoint | null;
  readonly nms6: Endpoint | null;
  /** Where TRSs take datagrams over TLS, theirs and those for the NMS. */
  readonly streams: readonly Endpoint[];
  /** The overlay's own ranges. */
  readonly overlay: readonly Prefix[];
  readonly domain: string;
};

export type ResolveQuestion = { readonly name: string } | { readonly address: Address };

export type ResolveResult =
  /** From a verified certificate that has the name or address asked for. */
  | {
      readonly status: 'found';
      readonly fqdn: string;
      readonly vip4: Address | null;
      readonly vip6: Address | null;
      readonly nodeId: string;
    }
  /** No such device, or it is disabled: NXDOMAIN. */
  | { readonly status: 'unknown' }
  /** Policy: REFUSED. */
  | { readonly status: 'refused' }
  /** Network or peer did not answer in time: SERVFAIL. */
  | { readonly status: 'silent' };

export type PathKind = 'direct' | 'lan' | 'relay';

export type ProbeResult =
  | { readonly status: 'reply'; readonly rttMs: number; readonly path: PathKind; readonly endpoint: Endpoint }
  | { readonly status: 'timeout' };

export type NodeAction =
  | Action
  | PathCommand
  /** The result of `resolve` or `probe` with this ticket. */
  | { readonly do: 'answer'; readonly ticket: number; readonly result: ResolveResult | ProbeResult }
  /** Registered: the first time, and whenever it was offline in between. The shell waits for it to say that it serves. */
  | { readonly do: 'online' }
  /** Log in again: the certificate is to be renewed, or no NMS has answered for long. Asked again every few minutes at most. */
  | { readonly do: 'renewLogin'; readonly why: 'certificate' | 'unreachable' }
  /** The network refuses this device (disabled or removed). */
  | { readonly do: 'refused' }
  /** The NMS sees us at another address than before: another NAT may be in between. */
  | { readonly do: 'seenAnew' }
  /** Keep this for the next life, in place of what was kept before: the peer cache, sealed. */
  | { readonly do: 'storePeers'; readonly octets: Uint8Array }
  /** Open a stream there, which comes back as `streamed`; end it. */
  | { readonly do: 'connect' | 'disconnect'; readonly endpoint: Endpoint }
  /** Send this from a UDP port of its own; what comes back to that port comes in with its number. */
  | { readonly do: 'openPort'; readonly to: Endpoint; readonly datagram: Uint8Array }
  /** Everything for that endpoint goes through this port from now on; the others opened for it are closed. */
  | { readonly do: 'keepPort'; readonly to: Endpoint; readonly port: number }
  /** All that were opened for that endpoint, and the one kept. */
  | { readonly do: 'closePorts'; readonly to: Endpoint }
  /** The register changed: an adapter asks the controller for its general nodes again. */
  | { readonly do: 'registerChanged' };

export type NodeState = 'authenticating' | 'registering' | 'online' | 'offline' | 'refused';

export type ServiceSnapshot = {
  readonly role: 'as' | 'nms' | 'trs';
  readonly address: string;
  readonly transport: 'udp' | 'tls' | 'tcp';
  /** Null: never spoken to. */
  readonly state: 'up' | 'down' | null;
  readonly lastContactMs: number | null;
  readonly rttMs: number | null;
};

export type PeerSnapshot = {
  readonly fqdn: string;
  readonly nodeId: string;
  readonly vip4: Address | null;
  readonly vip6: Address | null;
  readonly state: 'directing' | 'establishing' | 'up' | 'idle';
  readonly path: PathKind | null;
  readonly endpoint: string | null;
  /** What carries the datagrams to that endpoint. */
  readonly transport: 'udp' | 'tls' | null;
  readonly suite: string | null;
  readonly epoch: number | null;
  /** RFC 3339: when the path in use came up. */
  readonly since: string | null;
  readonly rttMs: number | null;
  /** The largest packet that the path carries in one piece. */
  readonly mtu: number | null;
  /** Since the key in use was agreed. */
  readonly handshakeAgeMs: number | null;
  readonly tx: { readonly packets: number; readonly bytes: number; readonly dropped: number };
  readonly rx: {
    readonly packets: number;
    readonly bytes: number;
    readonly dropped: number;
    readonly replayed: number;
    readonly rejected: number;
  };
};

/** The machine's share of `status --json`. */
export type NodeSnapshot = {
  readonly state: NodeState;
  readonly nodeId: string | null;
  readonly fqdn: string | null;
  readonly vip4: Address | null;
  readonly vip6: Address | null;
  readonly suite: string;
  readonly nat: boolean | null;
  readonly real: readonly string[];
  readonly mapped: readonly string[];
  readonly services: readonly ServiceSnapshot[];
  readonly peers: readonly PeerSnapshot[];
};
