/** Two data planes without a kernel: what one sends is what the other receives, unless a test steps in between. */

import { parsePrefix } from '../../src/lib/ip.ts';
import type { LinkEvent, PathCommand, PathEvent, PathTraffic } from '../../src/lib/path.ts';
import { EventReader, EventWriter, eventMemory } from '../../src/pipeline/event-ring.ts';
import type { PoolMemory } from '../../src/pipeline/handling.ts';
import { Inside } from '../../src/pipeline/inside.ts';
import type { BoardMemory } from '../../src/pipeline/jobs.ts';
import { Outside } from '../../src/pipeline/outside.ts';
import type { PoolSide } from '../../src/pipeline/seal-jobs.ts';
import type { SourceLimit } from '../../src/pipeline/source-limiter.ts';
import { readDrops, Tally, TrafficCounters, tallyMemory, trafficMemory } from '../../src/pipeline/tally.ts';
import { type DatagramRun, MemoryDevice, MemoryPort } from '../../src/sys/edges.ts';
import { encodeSockaddr } from '../../src/sys/sockaddr.ts';

export const PATH = 'c0ffee'.padEnd(32, '0');
export const overlay = [parsePrefix('100.80.0.0/16')!, parsePrefix('fd00:80::/64')!];
export const virtual = (host: number) => ({ vip4: `100.80.0.${host}`, vip6: `fd00:80::${host}` });
export const real = (host: number) => ({ address: `198.51.100.${host}`, port: 7444 });

export type EndOptions = {
  readonly signalling?: SourceLimit;
  /** What the device takes merged. */
  readonly offload?: { readonly tcp: boolean; readonly udp: boolean };
  /** Workers that seal and open. */
  readonly pool?: PoolMemory;
};

/** One node: host number 1 or 2. */
export class End {
  readonly device = new MemoryDevice();
  readonly port = new MemoryPort();
  readonly inside: Inside;
  readonly outside: Outside;
  now = 0;
  readonly #ring = eventMemory();
  readonly #reader = new EventReader(this.#ring);
  readonly #events: (PathEvent | LinkEvent)[] = [];
  readonly #tally = tallyMemory(1);
  readonly #traffic = new TrafficCounters(trafficMemory());

  constructor(host: number, options: EndOptions = {}) {
    const { signalling = { perSecond: 1, burst: 20_000 }, offload = { tcp: true, udp: true }, pool } = options;
    const side = (board: BoardMemory | undefined): PoolSide | null =>
      pool === undefined || board === undefined ? null : { board, work: pool.work, ordered: true };
    const parts = {
      device: this.device,
      port: this.port,
      tally: new Tally(this.#tally, 0),
      traffic: this.#traffic,
      events: new EventWriter(this.#ring, () => {}),
      now: () => this.now,
    };
    this.inside = new Inside({ ...parts, overlay, localPort: 7444, pool: side(pool?.seal) });
    this.inside.setLocal(Object.values(virtual(host)));
    this.outside = new Outside({
      ...parts,
      offload,
      relay: null,
      forbidden: overlay,
      signalling,
      pool: side(pool?.open),
    });
  }

  command(command: PathCommand): void {
    this.inside.command(command, 0);
    this.outside.command(command, 0);
  }

  /** All events so far; tests take away what they have seen. */
  get events(): (PathEvent | LinkEvent)[] {
    for (let event = this.#reader.read(); event !== null; event = this.#reader.read()) this.#events.push(event);
    return this.#events;
  }

  get drops(): Record<string, number> {
    return readDrops(this.#tally);
  }

  get traffic(): Omit<PathTraffic, 'pathId'> {
    return this.#traffic.read(0);
  }

  /** Reads everything the device has and returns what was sent. */
  send(...read: Uint8Array[]): DatagramRun[] {
    this.device.toRead.push(...read);
    while (this.inside.pump() > 0 || this.device.toRead.length > 0);
    return this.port.sent.splice(0);
  }

  /** Receives these runs from `from` and returns what was written to the device. */
  receive(runs: readonly DatagramRun[], from = real(1)): Uint8Array[] {
    const address = encodeSockaddr(from);
    this.port.toReceive.push(...runs.map((run) => ({ ...run, address })));
    while (this.outside.pump(0) > 0 || this.outside.isBusy || this.port.toReceive.length > 0);
    return this.device.written.splice(0);
  }
}

export type PairOptions = {
  readonly suite?: number;
  readonly partialChecksum?: boolean;
  readonly ecn?: boolean;
  readonly parts?: boolean;
  readonly epoch?: number;
};

export const keyOf = (host: number, epoch: number): Uint8Array => new Uint8Array(32).fill(16 * host + epoch);

export function installKey(end: End, host: number, options: PairOptions = {}): void {
  const { suite = 2, epoch = 1, partialChecksum = false, ecn = false, parts = false } = options;
  const peer = 3 - host;
  end.command({
    do: 'installKey',
    pathId: PATH,
    epoch,
    suite,
    sendKey: keyOf(host, epoch),
    receiveKey: keyOf(peer, epoch),
    activate: true,
    partialChecksum,
    ecn,
    parts,
  });
}

export type ConnectedPair = { readonly a: End; readonly b: End };

export function connectedPair(
  options: PairOptions = {},
  ends: readonly [EndOptions, EndOptions] = [{}, {}],
): ConnectedPair {
  const a = new End(1, ends[0]);
  const b = new End(2, ends[1]);
  for (const [end, host, peer] of [
    [a, 1, 2],
    [b, 2, 1],
  ] as const) {
    end.command({ do: 'installPath', pathId: PATH, local: virtual(host), peer: virtual(peer) });
    installKey(end, host, options);
    end.command({ do: 'setEndpoint', pathId: PATH, endpoint: real(peer), relayed: false });
    end.command({ do: 'route', local: virtual(host), peer: virtual(peer), pathId: PATH });
  }
  return { a, b };
}

/** The single datagrams of some runs. */
export function datagrams(runs: readonly DatagramRun[]): Uint8Array[] {
  return runs.flatMap(({ octets, segment }) =>
    Array.from({ length: Math.ceil(octets.length / segment) }, (_, i) => octets.slice(i * segment, (i + 1) * segment)),
  );
}

export function single(octets: Uint8Array): DatagramRun {
  return { octets, segment: octets.length, address: encodeSockaddr(real(1)) };
}
