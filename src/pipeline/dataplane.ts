/** The data plane of a node or adapter as the main thread sees it: a TUN, one UDP port, two I/O threads between them. */

import { raise } from '../lib/errors.ts';
import type { Address, Endpoint, Prefix } from '../lib/ip.ts';
import type { Log } from '../lib/log.ts';
import type { PathCommand, PathEvent, PathTraffic } from '../lib/path.ts';
import type { DropReason } from '../proto/drop.ts';

/** What the kernel does for us; each is negotiated at the start and given up when the kernel or a device refuses. */
export type Offload = {
  readonly tunTcp: boolean;
  readonly tunUdp: boolean;
  readonly udpSegment: boolean;
  readonly udpGro: boolean;
};

export type DataPlaneOptions = {
  /** Name or template with %d for the TUN; default `cyp%d`. */
  readonly interfaceName?: string;
  /** Largest inner packet; the interface's MTU is set by whoever configures its addresses. */
  readonly mtu: number;
  readonly port: number;
  /** Whether the next free port will do if this one is taken. */
  readonly portIsDefault: boolean;
  /** The overlay's ranges: inner packets stay inside them, outer datagrams outside. */
  readonly overlay: readonly Prefix[];
  /** Virtual addresses of this machine (an adapter: and of its general nodes); see `setLocal`. */
  readonly local?: readonly Address[];
  readonly log: Log;
  /** Events in the order in which they happened, on the main thread. */
  readonly onEvent: (event: PathEvent) => void;
  /** An I/O thread ended without being asked to: the data plane is dead. */
  readonly onFailure: (error: unknown) => void;
  /** For trials and tests: switches single offloads off from the start. */
  readonly without?: readonly (keyof Offload)[];
};

export type DataPlane = {
  readonly interfaceName: string;
  readonly localPort: number;
  /** What is in use right now. */
  readonly offload: Offload;
  /** Datagrams and packets dropped since the start, by reason; reasons that never happened are absent. */
  readonly drops: Partial<Record<DropReason, number>>;
  command(command: PathCommand): void;
  /** Virtual addresses that packets may come from; replaces the former list. */
  setLocal(addresses: readonly Address[]): void;
  /** Sends one signalling datagram from the same port. False if it could not be sent (counted). */
  sendSignalling(to: Endpoint, datagram: Uint8Array): boolean;
  /** Totals of every installed path. */
  traffic(): PathTraffic[];
  /** Totals that are no drops: packets, datagrams and octets by edge and direction. */
  counters(): Record<string, number>;
  close(): Promise<void>;
};

export async function openDataPlane(options: DataPlaneOptions): Promise<DataPlane> {
  return raise('BUG_UNREACHABLE', { what: `data plane on port ${options.port}` });
}
