/**
 * `npm run bench:paths`: what a packet costs from device to device, and what a data plane holds in memory, with 1, 1,000
 * and 10,000 paths. Small packets: one path at a time, and a different one each time, so that its keys are never at hand.
 * Memory is measured by a run of its own, with the room for new objects that an I/O thread has: more would count as the paths'.
 */

import { EventWriter, eventMemory } from '../src/pipeline/event-ring.ts';
import { Inside } from '../src/pipeline/inside.ts';
import { Outside } from '../src/pipeline/outside.ts';
import { Tally, TrafficCounters, tallyMemory, trafficMemory } from '../src/pipeline/tally.ts';
import { smallUdpPacket } from '../src/pipeline/warmup.ts';
import { Suite } from '../src/proto/constants.ts';
import { MemoryDevice, MemoryPort } from '../src/sys/edges.ts';
import { releaseUnused } from '../src/sys/memory.ts';
import { encodeSockaddr } from '../src/sys/sockaddr.ts';
import { VIRTIO_HEADER } from '../src/sys/tun.ts';

const ROUNDS = 15;
const PACKETS = 20_000;
const AT_ONCE = 32;
const endpoint = { address: '192.0.2.3', port: 1 };
const address = encodeSockaddr(endpoint);
const local = { vip4: '192.0.2.1', vip6: null };

const peerOf = (i: number) => ({ vip4: `198.18.${i >> 8}.${i & 255}`, vip6: null });

/** The packet to peer `i`: the checksum of its header is made wrong, which nobody looks at who does not merge. */
function packetTo(i: number): Uint8Array {
  const packet = smallUdpPacket(i);
  packet.set([198, 18, i >> 8, i & 255], VIRTIO_HEADER + 16);
  return packet;
}

const packets = Array.from({ length: 10_000 }, (_, i) => packetTo(i));

class Plane {
  readonly #device = new MemoryDevice();
  readonly #port = new MemoryPort();
  readonly #inside: Inside;
  readonly #outside: Outside;
  readonly #paths: number;

  constructor(paths: number) {
    const parts = {
      device: this.#device,
      port: this.#port,
      tally: new Tally(tallyMemory(1), 0),
      traffic: new TrafficCounters(trafficMemory()),
      events: new EventWriter(eventMemory(), () => {}),
    };
    this.#inside = new Inside({ ...parts, now: () => 0, overlay: [], localPort: 1 });
    this.#outside = new Outside({
      ...parts,
      offload: { tcp: true, udp: true },
      relay: null,
      forbidden: [],
      signalling: { perSecond: 0, burst: 0 },
      now: () => 0,
    });
    this.#paths = paths;
    for (let i = 0; i < paths; i++) this.#install(i);
  }

  #install(i: number): void {
    const pathId = Math.imul(i + 1, 0x9e3779b1)
      .toString(16)
      .replace('-', 'f')
      .padStart(8, '0')
      .repeat(4)
      .slice(0, 32);
    const peer = peerOf(i);
    const key = new Uint8Array(32).fill(i);
    const keys = { epoch: 0, suite: Suite.aes256Gcm, sendKey: key, receiveKey: key, activate: true } as const;
    this.#inside.command({ do: 'installPath', pathId, local, peer }, i);
    this.#outside.command({ do: 'installPath', pathId, local: peer, peer: local }, i);
    for (const side of [this.#inside, this.#outside]) side.command({ do: 'installKey', pathId, ...keys }, 0);
    this.#inside.command({ do: 'setEndpoint', pathId, endpoint, relayed: false }, 0);
    this.#inside.command({ do: 'route', local, peer, pathId }, 0);
  }

  /** Sends one packet on every path; `lose` lets none arrive. */
  once(lose: boolean): void {
    for (let i = 0; i < this.#paths; ) {
      for (const end = Math.min(i + AT_ONCE, this.#paths); i < end; i++) this.#device.toRead.push(packets[i]!);
      this.#inside.pump();
      const sent = this.#port.sent.splice(0);
      if (lose) continue;
      this.#port.toReceive.push(...sent.map((run) => ({ ...run, address })));
      while (this.#outside.pump(0) > 0);
      this.#device.written.length = 0;
    }
  }

  /** Nanoseconds of processor time per packet; each goes `step` paths further than the one before. */
  run(step: number): number {
    const began = process.cpuUsage();
    let written = 0;
    for (let sent = 0; sent < PACKETS; sent += AT_ONCE) {
      for (let i = sent; i < sent + AT_ONCE; i++) this.#device.toRead.push(packets[(i * step) % this.#paths]!);
      this.#inside.pump();
      this.#port.toReceive.push(...this.#port.sent.splice(0).map((run) => ({ ...run, address })));
      while (this.#outside.pump(0) > 0);
      written += this.#device.written.splice(0).length;
    }
    if (written === 0) throw new Error('nothing arrived');
    const { user, system } = process.cpuUsage(began);
    return (1000 * (user + system)) / PACKETS;
  }
}

const resident = (): number => {
  globalThis.gc?.();
  releaseUnused();
  return process.memoryUsage.rss() / 2 ** 20;
};

/** Every path has received, then every one has lost a packet. */
function showMemory(paths: number): void {
  const before = resident();
  const plane = new Plane(paths);
  plane.once(false);
  const received = resident() - before;
  plane.once(true);
  plane.once(false);
  const lost = resident() - before;
  console.log(`${paths} paths: ${received.toFixed(1)} MiB, ${lost.toFixed(1)} after a lost packet on each`);
}

function showCosts(): void {
  const planes = [1, AT_ONCE, 1_000, 10_000].map((paths) => {
    return { paths, plane: new Plane(paths), one: [] as number[], all: [] as number[] };
  });
  for (const { plane } of planes) {
    plane.once(true);
    plane.run(1);
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const { plane, one, all } of planes) {
      one.push(plane.run(0));
      all.push(plane.run(1));
    }
  }
  const best = (values: readonly number[]): number => Math.min(...values);
  const text = (values: number[], against: number[]): string =>
    `${best(values).toFixed(0).padStart(6)} ns (${(best(values) / best(against)).toFixed(2)})`;
  // With fewer paths than packets in a batch, packets of one path would leave in one message: another measure.
  const [single, few] = planes;
  for (const { paths, one, all } of planes) {
    const inTurn = paths < AT_ONCE ? '' : `, to all in turn ${text(all, few!.all)}`;
    console.log(`${String(paths).padStart(6)} paths: to one of them ${text(one, single!.one)}${inTurn}`);
  }
}

if (process.argv[2] === 'memory') showMemory(10_000);
else showCosts();
