/**
 * The way out: from the TUN to the UDP port, for one thread.
 *
 *  1. read one packet, up to 64 KiB of one flow                        (sequential)
 *  2. find its path by the pair of virtual addresses, check its source (sequential)
 *  3. split it into packets of the size the flow wants, in place
 *  4. seal each straight into the send buffer, numbered in order
 *  5. send everything that was read together, many datagrams per message; drain the TUN first
 *
 * With workers, 3 and 4 are theirs, in any order: 1 and 2 fill jobs and number the packets, 5 sends the jobs as they came.
 * A packet without a path goes to the control plane.
 */

import type { Address, Prefix } from '../lib/ip.ts';
import { LARGE_PACKET, type PathCommand } from '../lib/path.ts';
import { clampMss } from '../net/mss.ts';
import { Ip4, Ip6, isIp6, isWholePacket } from '../net/packet.ts';
import { HEADER_LENGTH, MAX_CAPSULE_PARTS, REJECT_AFTER_PACKETS } from '../proto/constants.ts';
import type { DropReason } from '../proto/drop.ts';
import { CapsuleFlag, partFlags } from '../proto/messages.ts';
import { allocate, type Memory } from '../sys/memory.ts';
import { SendBatch } from '../sys/mmsg.ts';
import { type PacketDevice, VIRTIO_HEADER, VirtioFlag } from '../sys/tun.ts';
import type { DatagramPort } from '../sys/udp.ts';
import { isOwnDatagram, PREFACE, sealCapsule } from './capsule.ts';
import type { EventWriter } from './event-ring.ts';
import { SealField, sealedBound } from './handling.ts';
import { recordAt } from './jobs.ts';
import { AddressSet, Ranges } from './ranges.ts';
import { type PoolSide, SealJobs } from './seal-jobs.ts';
import { Splitter } from './segment.ts';
import { outerTos, type SendPath } from './send-path.ts';
import { SendPaths } from './send-paths.ts';
import { type Tally, Traffic, type TrafficCounters } from './tally.ts';
import { mayRefuse, TooBig } from './too-big.ts';

/** Room for a packet and its virtio-net header; as much again would not be read in one piece. */
const READ_ROOM = VIRTIO_HEADER + 65_536;
const READ_AT = 64;
const SEAL_AT = READ_AT + READ_ROOM + 64;
/** Several split packets of 64 KiB, still inside a second-level cache. */
const SEAL_ROOM = 256 * 1024;
const MESSAGES = 128;
/** Owner of datagrams that are sent once more, elsewhere: they count for no path. */
const REPETITION = -1;
/** Largest datagram, with room for the outer headers. */
const MAX_DATAGRAM = 65_000;
/**
 * Packets read before they are sent and commands are looked at again. Small ones leave in one message of this many: more
 * would arrive as a burst that overflows the receiving application's socket buffer, as it is by default.
 */
export const PACKETS_AT_ONCE = 32;

export type InsideParts = {
  readonly device: PacketDevice;
  readonly port: DatagramPort;
  readonly tally: Tally;
  readonly traffic: TrafficCounters;
  readonly events: EventWriter;
  readonly overlay: readonly Prefix[];
  readonly localPort: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Whether outer headers get the DSCP of inner ones. */
  readonly copyDscp?: boolean;
  readonly pool?: PoolSide | null;
};

export class Inside {
  readonly #device: PacketDevice;
  readonly #port: DatagramPort;
  readonly #tally: Tally;
  readonly #traffic: TrafficCounters;
  readonly #events: EventWriter;
  readonly #overlay: Ranges;
  readonly #localPort: number;
  readonly #memory: Memory;
  readonly #view: DataView;
  readonly #splitter: Splitter;
  readonly #jobs: SealJobs<SendPath> | null;
  readonly #copyDscp: boolean;
  readonly #batch = new SendBatch(MESSAGES);
  readonly #paths: SendPaths;
  readonly #tooBig: TooBig;
  #local = new AddressSet();
  #packets = 0;
  #octets = 0;
  #readAt = READ_AT;
  #sealAt = SEAL_AT;
  /** Octets in the batch. */
  #sealed = 0;

  constructor(parts: InsideParts) {
    this.#device = parts.device;
    this.#port = parts.port;
    this.#tally = parts.tally;
    this.#traffic = parts.traffic;
    this.#events = parts.events;
    this.#overlay = new Ranges(parts.overlay);
    this.#localPort = parts.localPort;
    this.#copyDscp = parts.copyDscp === true;
    const pool = parts.pool ?? null;
    const jobsAt = SEAL_AT + SEAL_ROOM;
    this.#memory = allocate(jobsAt + (pool === null ? 0 : SealJobs.room(pool, READ_ROOM)));
    this.#view = this.#memory.view;
    this.#splitter = new Splitter(this.#memory.view);
    this.#jobs = pool === null ? null : new SealJobs(pool, this.#memory, jobsAt, READ_ROOM);
    this.#paths = new SendPaths(parts.traffic);
    this.#tooBig = new TooBig(parts.device, parts.now);
  }

  /** Addresses that packets to peers without a path may come from. */
  setLocal(addresses: readonly Address[]): void {
    this.#local = new AddressSet(addresses);
  }

  /** Reads and sends what waits at the device, up to a bound; less than `PACKETS_AT_ONCE` if nothing is left to do. */
  pump(): number {
    const before = this.#packets;
    if (this.#jobs === null) this.#read();
    else this.#pumpJobs(this.#jobs);
    const packets = this.#packets - before;
    if (packets > 0) {
      this.flush();
      this.#tally.add('tunReadPackets', packets);
      this.#tally.add('tunReadBytes', this.#octets);
      this.#octets = 0;
    }
    return this.#jobs !== null && this.#jobs.board.outstanding > 0 ? PACKETS_AT_ONCE : packets;
  }

  /** Reads packets one behind the other, in jobs, or each where the last one was. */
  #read(): void {
    const jobs = this.#jobs;
    for (let i = 0; i < PACKETS_AT_ONCE && (jobs === null || jobs.hasRoom); i++) {
      if (jobs !== null) this.#readAt = jobs.readAt;
      const read = this.#device.read(this.#memory.address + this.#readAt, READ_ROOM);
      if (read === 0) return;
      this.#packets++;
      this.#octets += read - VIRTIO_HEADER;
      const dropped = this.#packet(this.#readAt + read);
      if (dropped !== null) this.#tally.drop(dropped);
    }
  }

  #pumpJobs(jobs: SealJobs<SendPath>): void {
    for (let before = -1; before !== this.#packets && jobs.begin(); ) {
      before = this.#packets;
      this.#read();
      jobs.post();
      this.#stage(jobs);
    }
    this.#readAt = READ_AT;
    if (jobs.board.outstanding === 0) return;
    jobs.board.wait();
    this.#stage(jobs);
  }

  #packet(end: number): DropReason | null {
    const view = this.#view;
    const ip = this.#readAt + VIRTIO_HEADER;
    if (!isWholePacket(view, ip, end)) return 'inner-malformed';
    if (isOwnDatagram(view, ip, end, this.#localPort)) return 'outer-loop';
    const path = isIp6(view, ip)
      ? this.#paths.routes.find6(view, ip + Ip6.source)
      : this.#paths.routes.find4(view, ip + Ip4.source);
    if (path === undefined) return this.#handOver(ip, end);
    const splitter = this.#splitter;
    if (!splitter.begin(this.#readAt, end, path.active?.partial === true, path.mtu)) return 'inner-malformed';
    if (splitter.count === 1) {
      clampMss(view, ip, end, path.mtu, (view.getUint8(this.#readAt) & VirtioFlag.needsChecksum) !== 0);
    }
    if (this.#jobs !== null && splitter.largest <= path.mtu) {
      const dropped = this.#enqueue(this.#jobs, path, end);
      if (dropped !== null) this.#dropped(path, dropped);
      return null;
    }
    for (let at = splitter.next(); at >= 0; at = splitter.next()) {
      this.#seal(path, at, splitter.length, splitter.partial ? CapsuleFlag.partialChecksum : 0);
    }
    return null;
  }

  /** Numbers the packets of a read and leaves them to the workers. */
  #enqueue(jobs: SealJobs<SendPath>, path: SendPath, end: number): DropReason | null {
    const key = path.active;
    if (key === null || path.destination === null) return 'no-route';
    const { count, largest } = this.#splitter;
    if (key.next + count - 1 > REJECT_AFTER_PACKETS) return 'key-exhausted';
    const bound = sealedBound(count, largest, key.aead);
    if (bound / count > MAX_DATAGRAM || !jobs.fits(bound)) return 'inner-too-large';
    const at = jobs.add(path, end, bound);
    const { records } = jobs.board;
    records[at + SealField.suite] = key.aead.suite;
    records[at + SealField.key] = key.aead.key;
    records[at + SealField.sequence] = key.next;
    records[at + SealField.partial] = key.partial ? 1 : 0;
    records[at + SealField.relayed] = path.relayed ? 1 : 0;
    records[at + SealField.epoch] = key.epoch;
    records[at + SealField.datagrams] = count;
    records[at + SealField.limit] = path.mtu;
    records[at + SealField.tos] = outerTos(key, this.#view, this.#readAt + VIRTIO_HEADER, this.#copyDscp);
    for (let i = 0; i < 4; i++) records[at + SealField.id + i] = path.id[i]!;
    key.next += count;
    return null;
  }

  /** Sends the jobs whose turn it is. */
  #stage(jobs: SealJobs<SendPath>): void {
    for (let slot = jobs.board.settled(); slot >= 0; slot = jobs.board.settled()) {
      const lost = jobs.board.isLost(slot);
      const count = jobs.board.count(slot);
      for (let i = 0; i < count; i++) this.#stageRecord(jobs, jobs.owner(slot, i), recordAt(slot, i), lost);
      this.flush();
      jobs.board.release(slot);
    }
  }

  #stageRecord({ board }: SealJobs<SendPath>, path: SendPath, at: number, lost: boolean): void {
    const { records } = board;
    const datagrams = records[at + SealField.datagrams]!;
    if (lost || path.destination === null) {
      this.#dropped(path, lost ? 'worker-lost' : 'no-route', datagrams);
      return;
    }
    const size = records[at + SealField.size]!;
    let out = records[at + SealField.out]!;
    let left = records[at + SealField.octets]!;
    for (; left > 0; left -= size, out += size) {
      if (this.#batch.room < 2) this.flush();
      this.#add(path, path.destination, out, Math.min(size, left), records[at + SealField.tos]!);
    }
    this.#traffic.add(path.place, Traffic.txPackets, datagrams);
    this.#traffic.add(path.place, Traffic.txBytes, records[at + SealField.inner]!);
    if (size > LARGE_PACKET) this.#traffic.add(path.place, Traffic.txLarge, datagrams);
  }

  /** Waits for the workers: before keys are freed, and before anything is sent past them. */
  #settle(): void {
    const jobs = this.#jobs;
    if (jobs === null) return;
    while (jobs.board.outstanding > 0) {
      jobs.board.wait();
      this.#stage(jobs);
    }
  }

  /** A packet without a path: the control plane keeps it until there is one. */
  #handOver(ip: number, end: number): DropReason | null {
    const view = this.#view;
    const v6 = isIp6(view, ip);
    const source = ip + (v6 ? Ip6.source : Ip4.source);
    const destination = ip + (v6 ? Ip6.destination : Ip4.destination);
    if (!(v6 ? this.#overlay.has6(view, destination) : this.#overlay.has4(view, destination))) {
      return 'inner-destination';
    }
    if (!(v6 ? this.#local.has6(view, source) : this.#local.has4(view, source))) return 'inner-source';
    const splitter = this.#splitter;
    if (!splitter.begin(this.#readAt, end, false)) return 'inner-malformed';
    for (let at = splitter.next(); at >= 0; at = splitter.next()) {
      const packet = this.#memory.bytes.subarray(at, at + splitter.length);
      if (this.#events.unrouted(packet)) this.#tally.add('handedOver', 1);
      else this.#tally.drop('queue-full');
    }
    return null;
  }

  #seal(path: SendPath, at: number, length: number, flags: number): void {
    const dropped =
      length > path.mtu ? this.#sealLarge(path, at, length, flags) : this.#trySeal(path, at, length, flags);
    if (dropped !== null) this.#dropped(path, dropped);
    else if (length > 0) {
      this.#traffic.add(path.place, Traffic.txPackets, 1);
      this.#traffic.add(path.place, Traffic.txBytes, length);
      if (length > LARGE_PACKET) this.#traffic.add(path.place, Traffic.txLarge, 1);
    }
  }

  /** A packet longer than the path carries: its sender is told, or it goes in parts. */
  #sealLarge(path: SendPath, at: number, length: number, flags: number): DropReason | null {
    const { mtu } = path;
    if (mayRefuse(this.#view, at, length)) {
      const packet = this.#memory.bytes.subarray(at, at + length);
      if (this.#tooBig.tell(packet, mtu)) this.#tally.add('tooBigSent', 1);
      return 'inner-too-large';
    }
    const count = Math.ceil(length / mtu);
    if (path.active?.parts !== true || count > MAX_CAPSULE_PARTS) return 'inner-too-large';
    for (let i = 0, done = 0; i < count; i++, done += mtu) {
      const dropped = this.#trySeal(path, at + done, Math.min(mtu, length - done), flags | partFlags(i, count), at);
      if (dropped !== null) return dropped;
    }
    return null;
  }

  /** Seals what is at `at`, the packet that begins at `ip` or a part of it, and adds it to the batch. */
  #trySeal(path: SendPath, at: number, length: number, flags: number, ip = at): DropReason | null {
    const key = path.active;
    const destination = path.destination;
    if (key === null || destination === null) return 'no-route';
    if (key.next > REJECT_AFTER_PACKETS) return 'key-exhausted';
    const size = HEADER_LENGTH + key.aead.sealedSize(PREFACE + length);
    if (size > MAX_DATAGRAM) return 'inner-too-large';
    if (this.#batch.room < 2 || this.#sealAt + size > SEAL_AT + SEAL_ROOM) this.flush();
    const out = this.#sealAt;
    this.#sealAt += size;
    const tos = length === 0 ? 0 : outerTos(key, this.#view, ip, this.#copyDscp);
    sealCapsule(this.#memory, key.aead, at, length, flags, out, path.id, path.relayed, key.next++, key.epoch);
    this.#add(path, destination, out, size, tos);
    return null;
  }

  #add(path: SendPath, destination: Uint8Array, out: number, size: number, tos: number): void {
    const joins = path.round === this.#batch.round;
    const at = this.#memory.address + out;
    path.message = this.#batch.add(joins ? path.message : -1, destination, path.place, at, size, size, tos);
    path.round = this.#batch.round;
    this.#sealed += size;
    if (path.also === null) return;
    path.alsoMessage = this.#batch.add(joins ? path.alsoMessage : -1, path.also, REPETITION, at, size, size, tos);
    this.#sealed += size;
  }

  #dropped(path: SendPath, reason: DropReason, datagrams = 1): void {
    this.#tally.drop(reason, datagrams);
    this.#traffic.add(path.place, Traffic.txDropped, datagrams);
  }

  /** Sends the batch and hands over the events. */
  flush(): void {
    const batch = this.#batch;
    this.#events.flush();
    if (batch.count === 0) return;
    const failed = this.#port.send(batch);
    let datagrams = -failed;
    for (let i = 0; i < batch.count; i++) datagrams += batch.datagrams(i);
    this.#tally.add('udpSentDatagrams', datagrams);
    this.#tally.add('udpSentBytes', this.#sealed);
    if (failed > 0) this.#accountFailures(failed);
    batch.clear();
    this.#sealAt = SEAL_AT;
    this.#sealed = 0;
  }

  #accountFailures(failed: number): void {
    this.#tally.drop('not-sent', failed);
    for (let i = 0; i < this.#batch.count; i++) {
      const lost = this.#batch.failed(i);
      if (lost === 0 || this.#batch.owner(i) === REPETITION) continue;
      this.#traffic.add(this.#batch.owner(i), Traffic.txDropped, lost);
      this.#traffic.add(this.#batch.owner(i), Traffic.txPackets, -lost);
    }
  }

  /** Carries out a command of the control plane; `place` is where the path's counters are. */
  command(command: PathCommand, place: number): void {
    if (command.do !== 'route') this.#settle();
    if (command.do !== 'sendPackets') {
      this.#paths.command(command, place);
      return;
    }
    const path = this.#paths.get(command.pathId);
    if (path !== undefined) this.#sendPackets(path, command.packets);
  }

  #sendPackets(path: SendPath, packets: readonly Uint8Array[]): void {
    const at = READ_AT + VIRTIO_HEADER;
    for (const packet of packets) {
      if (packet.length > READ_ROOM - VIRTIO_HEADER) {
        this.#dropped(path, 'inner-too-large');
        continue;
      }
      this.#memory.bytes.set(packet, at);
      this.#seal(path, at, packet.length, 0);
    }
    if (packets.length === 0) this.#seal(path, at, 0, 0);
    this.flush();
  }
}
