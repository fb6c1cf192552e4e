/** The UDP port of an NMS or TRS: the data plane's receiving thread without a TUN, with the same filter and bounded hand-over. */

import { type Address, type Endpoint, forbiddenOuter, type Prefix } from '../lib/ip.ts';
import type { Log } from '../lib/log.ts';
import type { RelayCommand } from '../lib/path.ts';
import type { DropReason } from '../proto/drop.ts';
import { closeUdp, openUdp, UdpPort } from '../sys/udp.ts';
import { Places } from './places.ts';
import { relayCounter } from './relay.ts';
import { outerFilter, SignallingSender } from './signalling.ts';
import { readDrops, readEdges, Tally, TrafficCounters, tallyMemory, trafficMemory } from './tally.ts';
import { IoThread, type Offload, type OffloadName } from './threads.ts';

export type ServicePortOptions = {
  /** Addresses to bind, null = no socket of that family. `0.0.0.0` and `::` mean all. */
  readonly address4: Address | null;
  readonly address6: Address | null;
  /** 0 = any free one. */
  readonly port: number;
  /** Forward datagrams with the relayed flag (TRS); without it they are handed over like all others. */
  readonly relay: boolean;
  /** The overlay's ranges: nothing is sent there. */
  readonly overlay: readonly Prefix[];
  readonly log: Log;
  readonly onDatagram: (datagram: Uint8Array, from: Endpoint) => void;
  readonly onFailure: (error: unknown) => void;
  readonly without?: readonly OffloadName[];
  /** For trials and tests on one machine: loopback addresses may be talked to. */
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
  /** What could not be sent is counted. */
  send(to: Endpoint, datagram: Uint8Array): void;
  /** An announced path: datagrams of this PathID are forwarded once both sides are bound. */
  addRelay(pathId: string): void;
  /** The proven address of one side; null unbinds it. */
  bindSide(pathId: string, side: RelaySide, endpoint: Endpoint | null): void;
  removeRelay(pathId: string): void;
  relayTraffic(): RelayTraffic[];
  counters(): Record<string, number>;
  close(): Promise<void>;
};

/** Signalling datagrams per source: many devices may share one address. */
const SIGNALLING = { perSecond: 20_000, burst: 4_096 };

/** Answers to the events that are handled in one go. */
const SENT_AT_ONCE = 64;

/** Rows of the shared counters. */
const ROW = { outside: 0, main: 1 } as const;

export async function openServicePort(options: ServicePortOptions): Promise<ServicePort> {
  const { overlay, log, loopback = false } = options;
  const wanted = (name: OffloadName): boolean => !(options.without ?? []).includes(name);
  const udp = openUdp({
    address4: options.address4,
    address6: options.address6,
    port: options.port,
    orNext: false,
    segment: wanted('udpSegment'),
    gro: wanted('udpGro'),
  });
  const offload = { tunTcp: false, tunUdp: false, udpSegment: udp.segment, udpGro: udp.gro };
  const shared = { tally: tallyMemory(2), traffic: trafficMemory() };
  const tally = new Tally(shared.tally, ROW.main);
  const traffic = new TrafficCounters(shared.traffic);
  const thread = await IoThread.start(
    {
      ...shared,
      direction: 'outside',
      row: ROW.outside,
      tun: null,
      link: null,
      udp,
      overlay,
      forbidden: loopback ? overlay : forbiddenOuter(overlay),
      local: [],
      relay: options.relay,
      pool: null,
      copyDscp: false,
      signalling: SIGNALLING,
    },
    {
      onEvent: (event) => {
        if (event.on === 'datagram') options.onDatagram(event.datagram, event.from);
      },
      onRefused: (name) => {
        offload[name] = false;
        log.warn('offload refused by the system, going on without it', { offload: name });
      },
      onFailure: options.onFailure,
    },
  ).catch((error: unknown) => {
    closeUdp(udp);
    throw error;
  });

  const mayGoTo = outerFilter(overlay, loopback);
  const signalling = new SignallingSender(new UdpPort(udp, 0), tally, mayGoTo, SENT_AT_ONCE);
  const places = new Places();
  const command = (relayCommand: RelayCommand, place = 0): void => thread.send(relayCommand, place);
  return {
    localPort: udp.port,
    get offload() {
      return { ...offload };
    },
    get drops() {
      return readDrops(shared.tally);
    },
    send: (to, datagram) => signalling.send(to, datagram),
    addRelay: (pathId) => command({ do: 'addRelay', pathId }, places.take(pathId)),
    bindSide(pathId, side, endpoint) {
      const permitted = endpoint === null || mayGoTo(endpoint);
      if (!permitted) tally.drop('forbidden-address');
      command({ do: 'bindSide', pathId, side, endpoint: permitted ? endpoint : null });
    },
    removeRelay(pathId) {
      places.release(pathId);
      command({ do: 'removeRelay', pathId });
    },
    relayTraffic: () =>
      [...places].map(([pathId, place]) => ({
        pathId,
        packets: [traffic.get(place, relayCounter.packets[0]), traffic.get(place, relayCounter.packets[1])],
        bytes: [traffic.get(place, relayCounter.bytes[0]), traffic.get(place, relayCounter.bytes[1])],
      })),
    counters: () => readEdges(shared.tally),
    async close() {
      await thread.stop();
      closeUdp(udp);
    },
  };
}
