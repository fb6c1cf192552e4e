/**
 * The way in: from the UDP port to the TUN, for one thread.
 *
 *  1. receive a batch: up to 64 datagrams of one size per message                (sequential)
 *  2. filter by the Base Header; forward relayed datagrams (TRS)
 *  3. capsule of a known path: open in place
 *  4. replay window, after the tag; inner addresses against the path's           (sequential)
 *  5. put the packets of a flow together, write them to the TUN
 *
 * With workers, opening is theirs, in any order; 4 and 5 follow in the order of arrival.
 * Everything else is signalling and goes to the control plane.
 */

import type { Prefix } from '../lib/ip.ts';
import type { PathCommand } from '../lib/path.ts';
import { clampMss } from '../net/mss.ts';
import { Ecn, handOnEcn, isWholePacket } from '../net/packet.ts';
import { MAX_SIGNALLING, MAX_SIZE_PROBE } from '../proto/constants.ts';
import type { DropReason } from '../proto/drop.ts';
import { HeaderOffset, plausible } from '../proto/header.ts';
import { CapsuleFlag, messageTable, partCount, partNumber } from '../proto/messages.ts';
import type { Memory } from '../sys/memory.ts';
import { ReceiveBatch } from '../sys/mmsg.ts';
import { AF_INET, decodeSockaddr, isSockaddr, SOCKADDR_ROOM } from '../sys/sockaddr.ts';
import type { PacketDevice } from '../sys/tun.ts';
import type { DatagramPort } from '../sys/udp.ts';
import { Assembly } from './assembly.ts';
import { CAPSULE_TYPE, capsuleBody, PREFACE } from './capsule.ts';
import { Coalescer } from './coalesce.ts';
import type { EventWriter } from './event-ring.ts';
import { OpenField } from './handling.ts';
import { JobBoard, RECORDS, recordAt } from './jobs.ts';
import { Ranges } from './ranges.ts';
import type { ReceiveKey, ReceivePath } from './receive-path.ts';
import { ReceivePaths } from './receive-paths.ts';
import type { Relay } from './relay.ts';
import type { PoolSide } from './seal-jobs.ts';
import { type SourceLimit, SourceLimiter } from './source-limiter.ts';
import { type Tally, Traffic, type TrafficCounters } from './tally.ts';

/** Messages per system call; a service has many flows of few datagrams each. */
const MESSAGES = { node: 4, service: 32 } as const;
const MOVED_INTERVAL_MS = 1_000;

export type OutsideParts = {
  readonly port: DatagramPort;
  /** Null = no data plane here, only a port for signalling. */
  readonly device: PacketDevice | null;
  readonly offload: { readonly tcp: boolean; readonly udp: boolean };
  /** Null = relayed datagrams are handled as if for us. */
  readonly relay: ((batch: ReceiveBatch) => Relay) | null;
  readonly tally: Tally;
  readonly traffic: TrafficCounters;
  readonly events: EventWriter;
  /** Where no datagram of ours may come from. */
  readonly forbidden: readonly Prefix[];
  readonly signalling: SourceLimit;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly pool?: PoolSide | null;
};

/** A capsule on its way through the workers. */
type Opening = { path: ReceivePath | null; key: ReceiveKey | null; from: number; ecn: number };

export class Outside {
  readonly relay: Relay | null;
  readonly coalescer: Coalescer | null;
  readonly #port: DatagramPort;
  readonly #tally: Tally;
  readonly #traffic: TrafficCounters;
  readonly #events: EventWriter;
  readonly #forbidden: Ranges;
  readonly #limiter: SourceLimiter;
  readonly #now: () => number;
  readonly #batch: ReceiveBatch;
  readonly #memory: Memory;
  readonly #view: DataView;
  readonly #names: DataView;
  readonly #jobs: JobBoard | null;
  readonly #openings: Opening[];
  /** The job being filled. */
  #slot = -1;
  #count = 0;
  /** ECN field of the outer header at hand. */
  #ecn = 0;
  readonly #paths: ReceivePaths;

  constructor(parts: OutsideParts) {
    this.#port = parts.port;
    this.#tally = parts.tally;
    this.#traffic = parts.traffic;
    this.#events = parts.events;
    this.#forbidden = new Ranges(parts.forbidden);
    this.#limiter = new SourceLimiter(parts.signalling);
    this.#now = parts.now;
    const pool = parts.pool ?? null;
    const messages = MESSAGES[parts.device === null ? 'service' : 'node'];
    this.#batch = new ReceiveBatch(pool === null ? messages : pool.board.slots * messages, messages);
    this.#memory = this.#batch.memory;
    this.#view = this.#memory.view;
    this.#names = this.#batch.names;
    this.#jobs = pool === null ? null : new JobBoard(pool.board, pool.work, this.#memory, pool.ordered);
    this.#paths = new ReceivePaths(parts.traffic);
    const length = (pool?.board.slots ?? 0) * RECORDS;
    this.#openings = Array.from({ length }, () => ({ path: null, key: null, from: 0, ecn: 0 }));
    this.relay = parts.relay?.(this.#batch) ?? null;
    this.coalescer =
      parts.device === null
        ? null
        : new Coalescer(this.#memory, parts.device, parts.offload, (place) => {
            this.#tally.drop('not-written');
            this.#traffic.add(place, Traffic.rxDropped, 1);
          });
  }

  /** Whether workers still have something. */
  get isBusy(): boolean {
    return this.#jobs !== null && this.#jobs.outstanding > 0;
  }

  /** Receives and handles one batch of a socket; returns the number of messages. */
  pump(socket: number): number {
    const jobs = this.#jobs;
    if (jobs === null) return this.#receive(socket);
    let all = 0;
    for (;;) {
      this.#slot = jobs.free();
      if (this.#slot < 0) break;
      this.#batch.first = this.#slot * this.#batch.room;
      this.#count = 0;
      const messages = this.#receive(socket);
      if (this.#count > 0) jobs.post(this.#slot, this.#count);
      all += messages;
      this.#stage(jobs);
      if (messages === 0) break;
    }
    this.settle();
    return all;
  }

  #receive(socket: number): number {
    const batch = this.#batch;
    const messages = this.#port.receive(socket, batch);
    let datagrams = 0;
    let octets = 0;
    for (let i = batch.first; i < batch.first + messages; i++) {
      octets += batch.octets(i);
      datagrams += this.#message(i);
    }
    if (messages === 0) return 0;
    this.relay?.flush();
    if (this.coalescer !== null) this.#write(this.coalescer);
    this.#events.flush();
    this.#tally.add('udpReceivedDatagrams', datagrams);
    this.#tally.add('udpReceivedBytes', octets);
    return messages;
  }

  /** Waits for a job of the workers, if there is one, and hands on what is done. */
  settle(): void {
    if (this.#jobs === null || this.#jobs.outstanding === 0) return;
    this.#jobs.wait();
    this.#stage(this.#jobs);
  }

  /** Checks and writes what the jobs whose turn it is have opened. */
  #stage(jobs: JobBoard): void {
    const { coalescer } = this;
    if (coalescer === null) return;
    for (let slot = jobs.settled(); slot >= 0; slot = jobs.settled()) {
      const count = jobs.count(slot);
      if (jobs.isLost(slot)) this.#tally.drop('worker-lost', count);
      else for (let i = 0; i < count; i++) this.#stageRecord(coalescer, jobs.records, slot * RECORDS + i);
      this.#write(coalescer);
      this.#events.flush();
      jobs.release(slot);
    }
  }

  #stageRecord(coalescer: Coalescer, records: Float64Array, index: number): void {
    const { path, key, from, ecn } = this.#openings[index]!;
    const record = recordAt(0, index);
    if (path === null || key === null) return;
    this.#ecn = ecn;
    const at = records[record + OpenField.at]!;
    const body = records[record + OpenField.body]!;
    const sequence = records[record + OpenField.sequence]!;
    const plain = records[record + OpenField.plain]!;
    const dropped = this.#opened(coalescer, path, key, at, body, plain, sequence, from);
    if (dropped !== null) this.#tally.drop(dropped);
  }

  #write(coalescer: Coalescer): void {
    const { packets, octets } = coalescer;
    coalescer.flush();
    this.#tally.add('tunWrittenPackets', coalescer.packets - packets);
    this.#tally.add('tunWrittenBytes', coalescer.octets - octets);
  }

  /** The datagrams of one message; returns how many. */
  #message(index: number): number {
    const segment = this.#batch.segment(index);
    const from = this.#batch.from(index);
    const tos = this.#batch.tos(index);
    this.#ecn = tos & Ecn.mask;
    let at = this.#batch.start(index);
    const end = at + this.#batch.octets(index);
    let datagrams = 0;
    while (at < end) {
      const length = Math.min(segment, end - at);
      const forwarded = this.relay === null ? 0 : this.relay.forward(at, end, segment, from, tos);
      if (forwarded === 0) {
        const dropped = this.#datagram(at, length, from);
        if (dropped !== null) this.#tally.drop(dropped);
      }
      at += forwarded === 0 ? length : forwarded;
      datagrams += forwarded === 0 ? 1 : Math.ceil(forwarded / segment);
    }
    return datagrams;
  }

  #datagram(at: number, length: number, from: number): DropReason | null {
    const implausible = plausible(this.#memory.bytes, at, length);
    if (implausible !== null) return implausible;
    if (this.coalescer !== null && this.#memory.bytes[at + HeaderOffset.type] === CAPSULE_TYPE) {
      return this.#capsule(this.coalescer, at, length, from);
    }
    return this.#handOver(at, length, from);
  }

  #handOver(at: number, length: number, from: number): DropReason | null {
    if (length > MAX_SIGNALLING && !this.#measures(at, length)) return 'length';
    if (this.#isForbidden(from)) return 'forbidden-address';
    if (!this.#limiter.admit(this.#names, from, this.#now())) return 'rate-limited';
    const datagram = this.#memory.bytes.subarray(at, at + length);
    const address = this.#batch.nameBytes.subarray(from, from + SOCKADDR_ROOM);
    if (!this.#events.datagram(datagram, address)) return 'queue-full';
    this.#tally.add('handedOver', 1);
    return null;
  }

  /** A Size Probe may be longer, but not from strangers: they would fill the ring of events with few of them. */
  #measures(at: number, length: number): boolean {
    return (
      length <= MAX_SIZE_PROBE &&
      this.#view.getUint8(at + HeaderOffset.type) === messageTable.sizeProbe.type &&
      this.#paths.find(this.#view, at + HeaderOffset.id) !== undefined
    );
  }

  #isForbidden(from: number): boolean {
    return this.#batch.nameBytes[from] === AF_INET
      ? this.#forbidden.has4(this.#names, from + 4)
      : this.#forbidden.has6(this.#names, from + 8);
  }

  #capsule(coalescer: Coalescer, at: number, length: number, from: number): DropReason | null {
    const view = this.#view;
    const path = this.#paths.find(view, at + HeaderOffset.id);
    if (path === undefined) return 'unknown-path';
    const key = path.key(view.getUint8(at + HeaderOffset.epoch));
    if (key === undefined) return this.#rejected(path, 'unknown-epoch');
    const sequence = view.getUint32(at + HeaderOffset.sequence);
    if (!key.window.check(sequence)) {
      this.#traffic.add(path.place, Traffic.rxReplayed, 1);
      return 'replayed';
    }
    const body = capsuleBody(view, at, length);
    if (body < 0) return this.#rejected(path, body === -1 ? 'option-malformed' : 'option-critical');
    if (this.#jobs !== null) {
      this.#enqueue(this.#jobs, path, key, at, body, length - body, sequence, from);
      return null;
    }
    const plain = key.aead.openAt(this.#memory.address + at, body, length - body, sequence);
    return this.#opened(coalescer, path, key, at, body, plain, sequence, from);
  }

  /** Leaves a capsule to the workers. A batch holds no more datagrams than a job has records. */
  #enqueue(
    jobs: JobBoard,
    path: ReceivePath,
    key: ReceiveKey,
    at: number,
    body: number,
    length: number,
    sequence: number,
    from: number,
  ): void {
    const record = recordAt(this.#slot, this.#count);
    const opening = this.#openings[this.#slot * RECORDS + this.#count++]!;
    opening.path = path;
    opening.key = key;
    opening.from = from;
    opening.ecn = this.#ecn;
    jobs.records[record + OpenField.suite] = key.aead.suite;
    jobs.records[record + OpenField.key] = key.aead.key;
    jobs.records[record + OpenField.at] = at;
    jobs.records[record + OpenField.body] = body;
    jobs.records[record + OpenField.length] = length;
    jobs.records[record + OpenField.sequence] = sequence;
  }

  /** The sequential half, after opening; `plain` is the length of what was opened, or -1. */
  #opened(
    coalescer: Coalescer,
    path: ReceivePath,
    key: ReceiveKey,
    at: number,
    body: number,
    plain: number,
    sequence: number,
    from: number,
  ): DropReason | null {
    const view = this.#view;
    if (plain < 0) return this.#rejected(path, 'tag');
    if (!key.window.check(sequence)) {
      this.#traffic.add(path.place, Traffic.rxReplayed, 1);
      return 'replayed';
    }
    key.window.accept(sequence);
    if (!key.opened || !isSockaddr(this.#names, from, path.from)) this.#cameFrom(path, key, from);

    let inner = at + body + key.aead.lead + PREFACE;
    let octets = plain < PREFACE ? -1 : view.getUint16(inner - PREFACE);
    if (octets < 0 || PREFACE + octets > plain) return this.#rejected(path, 'body-malformed');
    // Sealed options may stand behind the packet, if the header announced options at all.
    if (PREFACE + octets < plain && view.getUint8(at + HeaderOffset.nextOption) === 0) {
      return this.#rejected(path, 'body-trailing');
    }
    if (octets === 0) return null;
    const flags = view.getUint16(inner - PREFACE + 2);
    let ecn = this.#ecn;
    if (partCount(flags) > 0) {
      path.assembly ??= new Assembly();
      octets = this.#join(coalescer, path.assembly, key, sequence, flags, inner, octets);
      if (octets < 0) return this.#rejected(path, 'body-malformed');
      if (octets === 0) return null;
      inner = this.#batch.spare;
      ecn = path.assembly.ecn;
    }
    if (!isWholePacket(view, inner, inner + octets)) return this.#rejected(path, 'inner-malformed');
    const misaddressed = path.misaddressed(view, inner);
    if (misaddressed !== null) return this.#rejected(path, misaddressed);
    if (!handOnEcn(view, inner, ecn)) return this.#rejected(path, 'ecn-dropped');
    const partial = (flags & CapsuleFlag.partialChecksum) !== 0;
    clampMss(view, inner, inner + octets, path.mtu, partial);
    this.#traffic.add(path.place, Traffic.rxPackets, 1);
    this.#traffic.add(path.place, Traffic.rxBytes, octets);
    coalescer.add(inner, octets, partial, path.place);
    return null;
  }

  /** Keeps a part of a packet; once that is whole, puts it in the spare room. Its length, 0 before that, -1 if it can't be. */
  #join(
    coalescer: Coalescer,
    assembly: Assembly,
    key: ReceiveKey,
    sequence: number,
    flags: number,
    inner: number,
    octets: number,
  ): number {
    const part = this.#memory.bytes.subarray(inner, inner + octets);
    const length = assembly.add(key, sequence, partNumber(flags), partCount(flags), part, this.#ecn);
    if (length <= 0) return length;
    // What was put there before is still to be written.
    this.#write(coalescer);
    this.#memory.bytes.set(assembly.bytes.subarray(0, length), this.#batch.spare);
    return length;
  }

  /** The first capsule of an epoch, or one from a new address. */
  #cameFrom(path: ReceivePath, key: ReceiveKey, from: number): void {
    const now = this.#now();
    if (key.opened && now - path.movedAt < MOVED_INTERVAL_MS) return;
    const { pathId } = path;
    const endpoint = decodeSockaddr(this.#batch.nameBytes, from);
    const told = this.#events.other(
      key.opened ? { on: 'moved', pathId, from: endpoint } : { on: 'opened', pathId, epoch: key.epoch, from: endpoint },
    );
    // Without room for it, the next capsule tells.
    if (!told) return;
    if (key.opened) path.movedAt = now;
    key.opened = true;
    for (let i = 0; i < path.from.length; i++) path.from[i] = this.#names.getInt32(from + 4 * i);
  }

  #rejected(path: ReceivePath, reason: DropReason): DropReason {
    this.#traffic.add(path.place, Traffic.rxRejected, 1);
    return reason;
  }

  /** Carries out a command of the control plane; `place` is where the path's counters are. */
  command(command: PathCommand, place: number): void {
    while (this.isBusy) this.settle();
    this.#paths.command(command, place);
  }
}
