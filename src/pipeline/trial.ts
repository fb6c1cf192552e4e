/**
 * How fast this machine seals, by the I/O thread itself or by a pool: the same code as in use, between a device and a port
 * that are nothing but memory. By this `auto` decides; the bench repeats the thesis's experiment with it.
 */

import { availableParallelism } from 'node:os';
import type { Log } from '../lib/log.ts';
import { Suite } from '../proto/constants.ts';
import { HeaderOffset } from '../proto/header.ts';
import { libc } from '../sys/libc.ts';
import { allocate, memoryAt } from '../sys/memory.ts';
import type { SendBatch } from '../sys/mmsg.ts';
import type { PacketDevice } from '../sys/tun.ts';
import type { DatagramPort } from '../sys/udp.ts';
import { vectorAddress } from '../sys/vectors.ts';
import { EventWriter, eventMemory } from './event-ring.ts';
import { Inside } from './inside.ts';
import { Pool } from './pool.ts';
import { Tally, TrafficCounters, tallyMemory, trafficMemory } from './tally.ts';
import { largeTcpPacket } from './warmup.ts';

export type TrialOptions = {
  readonly workers: number;
  readonly ordered?: boolean;
  readonly suite?: number;
  readonly milliseconds: number;
  readonly log: Log;
};

export type TrialResult = {
  readonly datagramsPerSecond: number;
  readonly megabitsPerSecond: number;
  /** Messages that left before an earlier one. */
  readonly reordered: number;
};

const a = { vip4: '192.0.2.1', vip6: null };
const b = { vip4: '192.0.2.2', vip6: null };
const pathId = '00'.repeat(16);

/** Always has the same packet of 60,000 octets to read. */
class Source implements PacketDevice {
  readonly #packet = allocate(1 << 16);
  readonly #length: number;
  open = true;

  constructor() {
    const packet = largeTcpPacket();
    this.#length = packet.length;
    this.#packet.bytes.set(packet);
  }

  read(address: number): number {
    if (!this.open) return 0;
    libc().memcpy(address, this.#packet.address, this.#length);
    return this.#length;
  }

  write(): number {
    return 0;
  }

  writeVectors(): number {
    return 0;
  }
}

/** Counts what is sent, and looks at the first sequence number of every message. */
class Sink implements DatagramPort {
  datagrams = 0;
  octets = 0;
  reordered = 0;
  #last = 0;

  send(batch: SendBatch): number {
    for (let i = 0; i < batch.count; i++) {
      const first = memoryAt(vectorAddress(batch.memory.view, batch.vectors(i)), HeaderOffset.sequence + 4);
      const sequence = first.view.getUint32(HeaderOffset.sequence);
      if (sequence < this.#last) this.reordered++;
      this.#last = sequence;
      this.datagrams += batch.datagrams(i);
      this.octets += batch.datagrams(i) * batch.segment(i);
    }
    return 0;
  }

  receive(): number {
    return 0;
  }
}

export async function trial(options: TrialOptions): Promise<TrialResult> {
  const { workers, ordered = true, suite = Suite.aes256Gcm, milliseconds, log } = options;
  const pool = workers === 0 ? null : new Pool(workers, log);
  await pool?.ready;
  const device = new Source();
  const port = new Sink();
  const inside = new Inside({
    ...{ device, port, overlay: [], localPort: 1, now: () => 0 },
    tally: new Tally(tallyMemory(1), 0),
    traffic: new TrafficCounters(trafficMemory()),
    events: new EventWriter(eventMemory(), () => {}),
    pool: pool === null ? null : { board: pool.memory.seal, work: pool.memory.work, ordered },
  });
  const key = new Uint8Array(32);
  inside.command({ do: 'installPath', pathId, local: a, peer: b }, 0);
  const keys = { epoch: 0, suite, sendKey: key, receiveKey: key, activate: true, partialChecksum: true };
  inside.command({ do: 'installKey', pathId, ...keys }, 0);
  inside.command({ do: 'setEndpoint', pathId, endpoint: { address: '192.0.2.3', port: 1 }, relayed: false }, 0);
  inside.command({ do: 'route', local: a, peer: b, pathId }, 0);
  const run = (forMs: number): number => {
    const began = performance.now();
    while (performance.now() - began < forMs) inside.pump();
    return performance.now() - began;
  };
  run(milliseconds / 2);
  const before = { datagrams: port.datagrams, octets: port.octets };
  const elapsed = run(milliseconds);
  const result = {
    datagramsPerSecond: (1000 * (port.datagrams - before.datagrams)) / elapsed,
    megabitsPerSecond: (8 * (port.octets - before.octets)) / elapsed / 1000,
    reordered: port.reordered,
  };
  device.open = false;
  inside.command({ do: 'removePath', pathId }, 0);
  await pool?.stop();
  return result;
}

const AUTO_MS = 100;
/** A pool has to be this much better: it takes processors from applications. */
const AUTO_GAIN = 1.2;

/** The number of workers with which this machine does best; 0 = none. */
export async function bestWorkers(log: Log): Promise<number> {
  const workers = Math.min(8, Math.max(1, availableParallelism() - 2));
  const alone = await trial({ workers: 0, milliseconds: AUTO_MS, log });
  const pooled = await trial({ workers, milliseconds: AUTO_MS, log });
  const ratio = pooled.datagramsPerSecond / alone.datagramsPerSecond;
  const chosen = ratio >= AUTO_GAIN ? workers : 0;
  log.info('workers chosen', { tried: workers, ratio: Number(ratio.toFixed(2)), chosen });
  return chosen;
}
