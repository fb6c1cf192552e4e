/** The UDP port of an NMS or TRS: the data plane's receiving thread without a TUN, with the same filter and bounded hand-over. */

import { raise } from '../lib/errors.ts';
import type { Address, Endpoint, Prefix } from '../lib/ip.ts';
import type { Log } from '../lib/log.ts';
import type { DropReason } from '../proto/drop.ts';
import type { Offload } from './dataplane.ts';

export type ServicePortOptions = {
  /** Addresses to bind, null = no socket of that family. `0.0.0.0` and `::` mean all. */
  readonly address4: Address | null;
  readonly address6: Address | null;
  readonly port: number;
  /** Forward datagrams with the relayed flag (TRS); without it they are handed over like all others. */
  readonly relay: boolean;
  /** The overlay's ranges: nothing is sent there. */
  readonly overlay: readonly Prefix[];
  readonly log: Log;
  readonly onDatagram: (datagram: Uint8Array, from: Endpoint) => void;
  readonly onFailure: (error: unknown) => void;
  readonly without?: readonly (keyof Offload)[];
  /** For trials and tests on one machine: loopback addresses may be sent to. */
  readonly loopback?: boolean;
};

/** The two ends of a relayed path; which is which is the caller's business. */
export type RelaySide = 0 | 1;

/** Running totals of one relayed path: what each side sent and was forwarded. */
export type RelayTraffic = {
  readonly pathId: string;
  readonly packets: readonly [number, number];
  readonly bytes: readonly [number, number];
};

export type ServicePort = {
  readonly localPort: number;
  readonly offload: Offload;
  readonly drops: Partial<Record<DropReason, number>>;
  /** False if it could not be sent (counted). */
  send(to: Endpoint, datagram: Uint8Array): boolean;
  /** An announced path: datagrams of this PathID are forwarded once both sides are bound. */
  addRelay(pathId: string): void;
  /** The proven address of one side; null unbinds it. */
  bindSide(pathId: string, side: RelaySide, endpoint: Endpoint | null): void;
  removeRelay(pathId: string): void;
  relayTraffic(): RelayTraffic[];
  counters(): Record<string, number>;
  close(): Promise<void>;
};

export async function openServicePort(options: ServicePortOptions): Promise<ServicePort> {
  return raise('BUG_UNREACHABLE', { what: `service port ${options.port}` });
}
