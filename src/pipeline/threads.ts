/** What the main thread and its I/O threads tell each other, and how the threads are started, driven and ended. */

import type { Address, Endpoint, Prefix } from '../lib/ip.ts';
import type { LinkEvent, PathCommand, PathEvent, RelayCommand } from '../lib/path.ts';
import type { FrameHandle } from '../sys/frame-port.ts';
import { EventFd } from '../sys/poll.ts';
import type { TunHandle } from '../sys/tun.ts';
import type { UdpSockets } from '../sys/udp.ts';
import { startWorker } from '../sys/worker.ts';
import { EventReader, eventMemory } from './event-ring.ts';
import type { LinkHost } from './hosts.ts';
import { MailboxSender } from './mailbox.ts';
import type { PoolSide } from './seal-jobs.ts';
import type { SourceLimit } from './source-limiter.ts';

/** What the kernel does for us; each is negotiated at the start and given up when the kernel or a device refuses. */
export type Offload = {
  readonly tunTcp: boolean;
  readonly tunUdp: boolean;
  readonly udpSegment: boolean;
  readonly udpGro: boolean;
};
export type OffloadName = keyof Offload;

/** A command and the place of its path's counters in shared memory. */
export type ThreadCommand = {
  readonly place: number;
  readonly command:
    | PathCommand
    | RelayCommand
    | { readonly do: 'setLocal'; readonly addresses: readonly Address[] }
    | { readonly do: 'setHosts'; readonly hosts: readonly LinkHost[] }
    /** Addresses on the inner link whose TCP port 53 the kernel has. */
    | { readonly do: 'setResolvers'; readonly addresses: readonly Address[] }
    /** Datagrams for `to` leave by this socket and come in there; null = no more. */
    | { readonly do: 'branch'; readonly to: Endpoint; readonly fd: number | null }
    | { readonly do: 'stop' };
};

export type Report =
  | { readonly ready: true }
  /** There are events in the ring. */
  | { readonly events: true }
  /** There is traffic, which was awaited. */
  | { readonly traffic: true }
  /** An offload that worked at the start was refused later and is off now. */
  | { readonly refused: OffloadName };

/** An inner link: its port, the adapter's own addresses there, and whether the kernel routes from it to elsewhere. */
export type LinkSetup = {
  readonly port: FrameHandle;
  readonly gateways: readonly Address[];
  readonly internet: boolean;
};

/** What a thread is started with; descriptors and shared memory are the same in all threads. */
export type ThreadSetup = {
  readonly direction: 'inside' | 'outside' | 'both';
  readonly row: number;
  readonly tun: TunHandle | null;
  /** The inner link of an adapter. */
  readonly link: LinkSetup | null;
  readonly udp: UdpSockets;
  readonly wakeFd: number;
  readonly pending: SharedArrayBuffer;
  readonly tally: SharedArrayBuffer;
  readonly traffic: SharedArrayBuffer;
  readonly events: SharedArrayBuffer;
  readonly overlay: readonly Prefix[];
  readonly forbidden: readonly Prefix[];
  readonly local: readonly Address[];
  readonly relay: boolean;
  /** Whether outer headers get the DSCP of inner ones. */
  readonly copyDscp: boolean;
  /** Where jobs for the workers go; null = the thread does everything itself. */
  readonly pool: PoolSide | null;
  readonly signalling: SourceLimit;
};

export type ThreadHandlers = {
  readonly onEvent: (event: PathEvent | LinkEvent) => void;
  readonly onTraffic?: () => void;
  readonly onRefused: (offload: OffloadName) => void;
  readonly onFailure: (error: unknown) => void;
};

/** Room for new objects in the heap of an I/O thread, which makes next to none: more would only be held. */
const YOUNG_MIB = 3;

type ThreadOptions = Omit<ThreadSetup, 'wakeFd' | 'pending' | 'events'>;

/** Events handled before the main thread looks at its other work. */
const AT_ONCE = 64;

/** A running I/O thread. */
export class IoThread {
  readonly #wake = new EventFd();
  readonly #mailbox: MailboxSender<ThreadCommand>;
  readonly #ready = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  #stopping = false;

  readonly #reader: EventReader;
  readonly #onEvent: ThreadHandlers['onEvent'];
  #reading = false;

  private constructor(setup: ThreadOptions, handlers: ThreadHandlers) {
    const pending = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
    const events = eventMemory();
    const workerData: ThreadSetup = { ...setup, wakeFd: this.#wake.fd, pending, events };
    this.#reader = new EventReader(events);
    this.#onEvent = handlers.onEvent;
    const worker = startWorker('pipeline/io', { workerData, resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MIB } });
    this.#mailbox = new MailboxSender((message) => worker.postMessage(message), pending, this.#wake);
    let ready = false;
    worker.on('message', (report: Report) => {
      if ('events' in report) this.#woken();
      else if ('traffic' in report) handlers.onTraffic?.();
      else if ('refused' in report) handlers.onRefused(report.refused);
      else {
        ready = true;
        this.#ready.resolve();
      }
    });
    worker.on('error', (error) => {
      if (ready) handlers.onFailure(error);
      else this.#ready.reject(error);
    });
    worker.on('exit', () => {
      // A descriptor that is closed may soon be another file's.
      this.#stopping = true;
      this.#wake.close();
      this.#ended.resolve();
    });
  }

  /** Resolves when the thread is ready for traffic. */
  static async start(setup: ThreadOptions, handlers: ThreadHandlers): Promise<IoThread> {
    const thread = new IoThread(setup, handlers);
    await thread.#ready.promise;
    return thread;
  }

  #woken(): void {
    this.#reader.listen();
    if (!this.#reading) this.#read();
  }

  #read(): void {
    this.#reading = true;
    for (let i = 0; i < AT_ONCE; i++) {
      const event = this.#reader.read();
      if (event === null) {
        this.#reading = false;
        return;
      }
      this.#onEvent(event);
    }
    setImmediate(() => this.#read());
  }

  send(command: ThreadCommand['command'], place = 0): void {
    if (!this.#stopping) this.#mailbox.send({ command, place });
  }

  async stop(): Promise<void> {
    this.send({ do: 'stop' });
    this.#stopping = true;
    await this.#ended.promise;
  }
}
