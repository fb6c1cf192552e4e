/** The data plane of a node or adapter as the main thread sees it: a TUN, one UDP port, one or two I/O threads between them. */

import { availableParallelism } from 'node:os';
import { type Address, type Endpoint, forbiddenOuter, formatEndpoint, type Prefix } from '../lib/ip.ts';
import type { Log } from '../lib/log.ts';
import type { PathCommand, PathEvent, PathTraffic } from '../lib/path.ts';
import type { DropReason } from '../proto/drop.ts';
import { type Capture, closeFramePort, type FrameHandle, openFramePort } from '../sys/frame-port.ts';
import { FrameQueues } from '../sys/frame-queues.ts';
import { closeTun, openTun } from '../sys/tun.ts';
import { closeUdp, openUdp, UdpPort, type UdpSockets } from '../sys/udp.ts';
import type { LinkHost } from './hosts.ts';
import { Places } from './places.ts';
import type { Pool } from './pool.ts';
import type { PoolSide } from './seal-jobs.ts';
import { outerFilter, SignallingSender } from './signalling.ts';
import { StandIns } from './stand-ins.ts';
import { readDrops, readEdges, Tally, TrafficCounters, tallyMemory, trafficMemory } from './tally.ts';
import { IoThread, type Offload, type OffloadName, type ThreadHandlers } from './threads.ts';
import { TrafficNews } from './traffic-news.ts';

export type { Offload };

export type DataPlaneOptions = {
  /** Name or template with %d for the TUN; default `cyp%d`. */
  readonly interfaceName?: string;
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
  /** Packets go, come or are lost, after `traffic` found none. */
  readonly onTraffic?: () => void;
  /** Frames of the inner link that are for the control plane. */
  readonly onFrame?: (frame: Uint8Array) => void;
  /** An I/O thread ended without being asked to: the data plane is dead. */
  readonly onFailure: (error: unknown) => void;
  /** For trials and tests: switches single offloads off from the start. */
  readonly without?: readonly OffloadName[];
  /** One thread for both directions, or one for each; absent = by the number of processors. With workers, always two. */
  readonly ioThreads?: 1 | 2;
  /** Threads that seal and open beside the I/O threads; 0 or absent = the I/O threads do it; `auto` = measured. */
  readonly workers?: number | 'auto';
  /** Whether outer headers get the DSCP of inner ones. */
  readonly copyDscp?: boolean;
  /** An adapter's inner interface, its own addresses there, and whether the kernel routes from it to elsewhere. */
  readonly link?: {
    readonly interface: string;
    readonly capture: Capture;
    readonly gateways: readonly Address[];
    readonly internet: boolean;
  } | null;
};

export type DataPlane = {
  readonly interfaceName: string;
  readonly localPort: number;
  /** Threads that seal and open. */
  readonly workers: number;
  /** What is in use right now. */
  readonly offload: Offload;
  /** Datagrams and packets dropped since the start, by reason; reasons that never happened are absent. */
  readonly drops: Partial<Record<DropReason, number>>;
  command(command: PathCommand): void;
  /** Virtual addresses that packets may come from; replaces the former list. */
  setLocal(addresses: readonly Address[]): void;
  /** The devices on the inner link that may send and receive packets; replaces the former list. */
  setHosts(hosts: readonly LinkHost[]): void;
  /** The adapter's addresses at which name queries by TCP are taken. */
  setResolvers(addresses: readonly Address[]): void;
  /** Null without an inner link. */
  readonly link: FrameHandle | null;
  /** Datagrams for an endpoint reached inside a stream go to this local port, and those from there come from it; null = no more. */
  carry(remote: Endpoint, local: Endpoint | null): void;
  /** The prefix by which this network reaches IPv4; null = it needs none, or has none. */
  setNat64(prefix: Prefix | null): void;
  /**
   * Datagrams for that endpoint leave by these sockets, which are the data plane's from now on, and come in there; null = by
   * the usual port again.
   */
  branch(to: Endpoint, sockets: UdpSockets | null): void;
  /** Sends one signalling datagram from another port. */
  sendFrom(sockets: UdpSockets, to: Endpoint, datagram: Uint8Array): void;
  /** Sends one signalling datagram from the same port; what could not be sent is counted. */
  sendSignalling(to: Endpoint, datagram: Uint8Array): void;
  /** Totals of the paths by which packets went, came or were lost since the last call; if there are none, see `onTraffic`. */
  traffic(): PathTraffic[];
  /** Totals that are no drops: packets, datagrams and octets by edge and direction. */
  counters(): Record<string, number>;
  close(): Promise<void>;
};

/**
 * Signalling datagrams per source. Far more than any service or peer sends: whoever forges an NMS's address has to send
 * as many to keep that NMS from being heard, and the main thread opens as many in a fifth of its time.
 */
const SIGNALLING = { perSecond: 5_000, burst: 1_024 };

/** Threads look at what they are told after every batch. */
const LEFT_MS = 5_000;

/** Rows of the shared counters: the I/O threads (one for both directions has the first) and the main thread. */
const ROW = { inside: 0, outside: 1, main: 2 } as const;

/** Brings up the TUN and the port; resolves when packets flow. Addresses and routes of the TUN are the caller's business. */
export async function openDataPlane(options: DataPlaneOptions): Promise<DataPlane> {
  const { overlay, log } = options;
  const wanted = (name: OffloadName): boolean => !(options.without ?? []).includes(name);
  const tun = openTun({ name: options.interfaceName ?? 'cyp%d', tcp: wanted('tunTcp'), udp: wanted('tunUdp') });
  const udp = orUndo(
    () =>
      openUdp({
        address4: '0.0.0.0',
        address6: '::',
        port: options.port,
        orNext: options.portIsDefault,
        segment: wanted('udpSegment'),
        gro: wanted('udpGro'),
      }),
    () => closeTun(tun),
  );
  const link = orUndo(
    () => (options.link == null ? null : openFramePort(options.link.interface, options.link.capture)),
    () => {
      closeUdp(udp);
      closeTun(tun);
    },
  );
  const offload = { tunTcp: tun.tcp, tunUdp: tun.udp, udpSegment: udp.segment, udpGro: udp.gro };
  const shared = { tally: tallyMemory(3), traffic: trafficMemory() };
  const tally = new Tally(shared.tally, ROW.main);
  const standIns = new StandIns(outerFilter(overlay));
  const mayGoTo = (endpoint: Endpoint): boolean => standIns.mayGoTo(endpoint);
  const handlers: ThreadHandlers = {
    onEvent: (event) => {
      if (event.on === 'frame') options.onFrame?.(event.frame);
      else if (event.on !== 'datagram' || mayGoTo(event.from)) options.onEvent(standIns.event(event));
      else tally.drop('forbidden-address');
    },
    onTraffic: () => options.onTraffic?.(),
    onRefused: (name) => {
      offload[name] = false;
      log.warn('offload refused by the system, going on without it', { offload: name });
    },
    onFailure: options.onFailure,
  };
  const setup = {
    ...shared,
    tun,
    udp,
    link:
      link === null
        ? null
        : { port: link, gateways: options.link?.gateways ?? [], internet: options.link?.internet === true },
    overlay,
    // What comes from this host itself is looked at here: a stream's port is welcome.
    forbidden: forbiddenOuter(overlay).filter(({ address }) => address !== '127.0.0.0'),
    local: options.local ?? [],
    relay: false,
    copyDscp: options.copyDscp === true,
    signalling: SIGNALLING,
  };
  const pool = await startPool(options.workers ?? 0, log);
  const side = (board: 'seal' | 'open'): PoolSide | null =>
    pool === null ? null : { board: pool.memory[board], work: pool.memory.work, ordered: true };
  const started = await Promise.allSettled(
    pool === null && (options.ioThreads ?? bestIoThreads()) === 1
      ? [IoThread.start({ ...setup, direction: 'both', row: ROW.inside, pool: null }, handlers)]
      : [
          IoThread.start({ ...setup, direction: 'inside', row: ROW.inside, pool: side('seal') }, handlers),
          IoThread.start({ ...setup, direction: 'outside', row: ROW.outside, pool: side('open') }, handlers),
        ],
  );
  const threads = started.filter((result) => result.status === 'fulfilled').map((result) => result.value);
  const branches = new Map<string, UdpSockets>();
  const left = new Map<UdpSockets, NodeJS.Timeout>();
  /** Not before every thread has heard that these are used no more: the descriptor would soon be another file's. */
  const leave = (sockets: UdpSockets): void => {
    const timer = setTimeout(() => {
      left.delete(sockets);
      closeUdp(sockets);
    }, LEFT_MS);
    left.set(sockets, timer.unref());
  };
  const close = async (): Promise<void> => {
    await Promise.all(threads.map((thread) => thread.stop()));
    for (const timer of left.values()) clearTimeout(timer);
    for (const sockets of [...branches.values(), ...left.keys()]) closeUdp(sockets);
    await pool?.stop();
    if (link !== null) closeFramePort(link);
    closeUdp(udp);
    closeTun(tun);
  };
  const failed = started.find((result) => result.status === 'rejected');
  if (failed !== undefined) {
    await close();
    throw failed.reason;
  }

  const port = new UdpPort(udp, 0);
  const signalling = new SignallingSender(port, tally, mayGoTo);
  const places = new Places();
  const news = new TrafficNews(new TrafficCounters(shared.traffic), places);
  const queues = link === null ? null : new FrameQueues(link);
  const permitted = (command: PathCommand): PathCommand => {
    if (command.do !== 'setEndpoint') return command;
    const { also, ...rest } = command;
    if ([command.endpoint, also].every((to) => to == null || mayGoTo(to))) return command;
    tally.drop('forbidden-address');
    return { ...rest, endpoint: rest.endpoint !== null && mayGoTo(rest.endpoint) ? rest.endpoint : null };
  };
  return {
    interfaceName: tun.name,
    localPort: udp.port,
    workers: pool?.size ?? 0,
    get offload() {
      return { ...offload };
    },
    get drops() {
      return readDrops(shared.tally);
    },
    command(command) {
      const place = command.do === 'installPath' ? places.take(command.pathId) : 0;
      if (command.do === 'removePath') {
        places.release(command.pathId);
        news.forget(command.pathId);
      }
      for (const thread of threads) thread.send(permitted(standIns.command(command)), place);
    },
    setLocal(addresses) {
      for (const thread of threads) thread.send({ do: 'setLocal', addresses });
    },
    setHosts(hosts) {
      queues?.set(hosts.map(({ mac }) => mac));
      for (const thread of threads) thread.send({ do: 'setHosts', hosts });
    },
    setResolvers(addresses) {
      for (const thread of threads) thread.send({ do: 'setResolvers', addresses });
    },
    link,
    carry: (remote, local) => standIns.set(remote, local),
    setNat64(prefix) {
      standIns.nat64 = prefix;
    },
    branch(to, sockets) {
      const name = formatEndpoint(to);
      const former = branches.get(name);
      branches.delete(name);
      if (sockets !== null) branches.set(name, sockets);
      port.branch(to, sockets?.fd4 ?? null);
      for (const thread of threads) thread.send({ do: 'branch', to, fd: sockets?.fd4 ?? null });
      if (former !== undefined) leave(former);
    },
    sendFrom(sockets, to, datagram) {
      port.branch(to, sockets.fd4);
      signalling.send(to, datagram);
      port.branch(to, branches.get(formatEndpoint(to))?.fd4 ?? null);
    },
    sendSignalling(to, datagram) {
      const local = standIns.localOf(to);
      if (local === null) tally.drop('not-sent');
      else signalling.send(local, datagram);
    },
    traffic: () => news.look(),
    counters: () => readEdges(shared.tally),
    close,
  };
}

/**
 * One thread for both directions is woken half as often and answers from warm caches; a second one is worth it where a
 * processor is left for it beside the applications.
 */
function bestIoThreads(): 1 | 2 {
  return availableParallelism() > 2 ? 2 : 1;
}

/** Without workers not even their code is loaded. */
async function startPool(wanted: number | 'auto', log: Log): Promise<Pool | null> {
  const workers = wanted === 'auto' ? await (await import('./trial.ts')).bestWorkers(log) : wanted;
  return workers === 0 ? null : new (await import('./pool.ts')).Pool(workers, log);
}

function orUndo<T>(attempt: () => T, undo: () => void): T {
  try {
    return attempt();
  } catch (error) {
    undo();
    throw error;
  }
}
