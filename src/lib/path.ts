/**
 * The vocabulary between control plane and data plane: the control plane (core, main thread) installs paths and keys,
 * the data plane (pipeline, I/O threads) reports what it can't decide. Control-plane machines return `PathCommand`s as
 * actions; the shell hands them to the data plane unchanged.
 */

import type { Address, Endpoint } from './ip.ts';

/** Virtual addresses of one end of a path; null = none of that family. */
export type VirtualAddresses = { readonly vip4: Address | null; readonly vip6: Address | null };

export type PathCommand =
  /** A new path between one of our devices and a peer; no keys yet. Datagrams of this PathID are ours from now on. */
  | {
      readonly do: 'installPath';
      readonly pathId: string;
      readonly local: VirtualAddresses;
      readonly peer: VirtualAddresses;
    }
  /** Keys of one epoch: opening works at once; sealing only if `activate`, else after `activateKey`. Raw keys, 32 octets. */
  | {
      readonly do: 'installKey';
      readonly pathId: string;
      readonly epoch: number;
      readonly suite: number;
      readonly sendKey: Uint8Array;
      readonly receiveKey: Uint8Array;
      readonly activate: boolean;
      /** Both ends agreed to leave inner transport checksums to the receiver (capsule flag `partialChecksum`). */
      readonly partialChecksum?: boolean;
      /** Both ends agreed that outer headers carry the inner ones' ECN field (RFC 6040). */
      readonly ecn?: boolean;
      /** Both ends agreed that packets longer than the path carries go in parts. */
      readonly parts?: boolean;
    }
  | { readonly do: 'activateKey'; readonly pathId: string; readonly epoch: number }
  /** Zeroes the keys of one epoch. */
  | { readonly do: 'retireKey'; readonly pathId: string; readonly epoch: number }
  /**
   * Where capsules of this path go; null = nowhere for now. `relayed` sets the Base Header's relayed flag. `also`: the same
   * datagrams go to that relay as well.
   */
  | {
      readonly do: 'setEndpoint';
      readonly pathId: string;
      readonly endpoint: Endpoint | null;
      readonly relayed: boolean;
      readonly also?: Endpoint;
    }
  /** The largest inner packet that the path carries in one piece. */
  | { readonly do: 'setMtu'; readonly pathId: string; readonly mtu: number }
  /** Packets from `local` to `peer` take this path from now on; null = they are handed to the control plane again. */
  | {
      readonly do: 'route';
      readonly local: VirtualAddresses;
      readonly peer: VirtualAddresses;
      readonly pathId: string | null;
    }
  | { readonly do: 'removePath'; readonly pathId: string }
  /** Seal and send these whole IP packets on the path, in order; an empty list sends one empty capsule (key confirmation). */
  | { readonly do: 'sendPackets'; readonly pathId: string; readonly packets: readonly Uint8Array[] };

export type PathEvent =
  /** A signalling datagram (anything but a capsule of a known path) whose header is plausible. */
  | { readonly on: 'datagram'; readonly datagram: Uint8Array; readonly from: Endpoint }
  /** A packet from `source` to an overlay address without a route. */
  | { readonly on: 'unrouted'; readonly packet: Uint8Array; readonly source: Address; readonly destination: Address }
  /** The first capsule was opened under the keys of this epoch, from this address. */
  | { readonly on: 'opened'; readonly pathId: string; readonly epoch: number; readonly from: Endpoint }
  /** A capsule opened but from another address than the last one: the peer may have moved. Reported at most once a second per path. */
  | { readonly on: 'moved'; readonly pathId: string; readonly from: Endpoint };

/** A frame from the inner link that is no packet of an admitted device for the overlay. */
export type LinkEvent = { readonly on: 'frame'; readonly frame: Uint8Array };

/** What every path carries in one piece: 1,280 octets less the outer IPv6 and UDP headers and our own. */
export const LARGE_PACKET = 1_180;

/** No packet is longer (RFC 8200 section 3). Stands for no limit: infinity is no small integer, and would be boxed for every packet. */
export const LARGEST_PACKET = 40 + 65_535;

/** Running totals of one path since its installation; the shell reports them to the control plane every second if they changed. */
export type PathTraffic = {
  readonly pathId: string;
  readonly txPackets: number;
  readonly txBytes: number;
  readonly txDropped: number;
  /** Those of the packets sent that are longer than LARGE_PACKET. */
  readonly txLarge: number;
  readonly rxPackets: number;
  readonly rxBytes: number;
  readonly rxDropped: number;
  readonly rxReplayed: number;
  readonly rxRejected: number;
};

/** What a TRS tells its port; side 0 is the initiator. Sides are bound to the addresses their ends proved, null = none. */
export type RelayCommand =
  | { readonly do: 'addRelay'; readonly pathId: string }
  | { readonly do: 'bindSide'; readonly pathId: string; readonly side: 0 | 1; readonly endpoint: Endpoint | null }
  | { readonly do: 'removeRelay'; readonly pathId: string };
