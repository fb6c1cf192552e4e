/**
 * The way in: from the UDP port to the TUN, for one thread.
 *
 *  1. receive a batch: up to 64 datagrams of one size per message                (sequential)
 *  2. filter by the Base Header; forward relayed datagrams (TRS)
 *  3. capsule of a known path: open in place
 *  4. replay window, after the tag; inner addresses against the path's           (sequential)
 *  5. put the packets of a flow together, write them to the TUN
 *
 * Everything else is signalling and goes to the control plane.
 */

import { ReplayWindow } from '../crypto/replay.ts';
import type { Prefix } from '../lib/ip.ts';
import type { PathCommand, VirtualAddresses } from '../lib/path.ts';
import { Ip4, Ip6, isIp6, isWholePacket } from '../net/packet.ts';
import { CAPSULE_WINDOW, MAX_SIGNALLING } from '../proto/constants.ts';
import type { DropReason } from '../proto/drop.ts';
import { HeaderOffset, plausible } from '../proto/header.ts';
import { CapsuleFlag } from '../proto/messages.ts';
import type { EvpAead } from '../sys/evp.ts';
import type { Memory } from '../sys/memory.ts';
import { ReceiveBatch } from '../sys/mmsg.ts';
import { AF_INET, decodeSockaddr, isSockaddr, SOCKADDR_ROOM } from '../sys/sockaddr.ts';
import type { PacketDevice } from '../sys/tun.ts';
import type { DatagramPort } from '../sys/udp.ts';
import { CAPSULE_TYPE, capsuleBody, PREFACE } from './capsule.ts';
import { Coalescer } from './coalesce.ts';
import type { EventWriter } from './event-ring.ts';
import { endKey } from './keys.ts';
import { Ranges } from './ranges.ts';
import type { Relay } from './relay.ts';
import { type SourceLimit, SourceLimiter } from './source-limiter.ts';
import { PathTable, pairOf } from './table.ts';
import { type Tally, TRAFFIC_END, TRAFFIC_RECEIVED, Traffic, type TrafficCounters } from './tally.ts';

/** Messages per system call. */
const MESSAGES = 4;
const MOVED_INTERVAL_MS = 1_000;

type ReceiveKey = {
  readonly epoch: number;
  readonly aead: EvpAead;
  readonly window: ReplayWindow;
  opened: boolean;
};

class ReceivePath {
  readonly pathId: string;
  readonly place: number;
  /** Source and destination that inner packets must have, as they stand side by side in the header. */
  readonly pair4: DataView | null;
  readonly pair6: DataView | null;
  keys: ReceiveKey[] = [];
  /** Where the control plane knows capsules to come from. */
  readonly from = new DataView(new ArrayBuffer(SOCKADDR_ROOM));
  movedAt = Number.NEGATIVE_INFINITY;

  constructor(pathId: string, place: number, local: VirtualAddresses, peer: VirtualAddresses) {
    this.pathId = pathId;
    this.place = place;
    this.pair4 = viewOf(pairOf(peer.vip4, local.vip4));
    this.pair6 = viewOf(pairOf(peer.vip6, local.vip6));
  }

  key(epoch: number): ReceiveKey | undefined {
    const { keys } = this;
    for (let i = 0; i < keys.length; i++) if (keys[i]!.epoch === epoch) return keys[i];
    return undefined;
  }

  retire(epoch: number): void {
    this.key(epoch)?.aead.close();
    this.keys = this.keys.filter((key) => key.epoch !== epoch);
  }
}

function viewOf(octets: Uint8Array<ArrayBuffer> | null): DataView | null {
  return octets === null ? null : new DataView(octets.buffer);
}

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
};

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
  readonly #batch = new ReceiveBatch(MESSAGES);
  readonly #memory: Memory = this.#batch.memory;
  readonly #view = this.#memory.view;
  readonly #names = this.#batch.names;
  readonly #paths = new PathTable<ReceivePath>();

  constructor(parts: OutsideParts) {
    this.#port = parts.port;
    this.#tally = parts.tally;
    this.#traffic = parts.traffic;
    this.#events = parts.events;
    this.#forbidden = new Ranges(parts.forbidden);
    this.#limiter = new SourceLimiter(parts.signalling);
    this.#now = parts.now;
    this.relay = parts.relay?.(this.#batch) ?? null;
    this.coalescer =
      parts.device === null
        ? null
        : new Coalescer(this.#memory, parts.device, parts.offload, (place) => {
            this.#tally.drop('not-written');
            this.#traffic.add(place, Traffic.rxDropped, 1);
          });
  }

  /** Receives and handles one batch of a socket; returns the number of messages. */
  pump(socket: 0 | 1): number {
    const batch = this.#batch;
    const messages = this.#port.receive(socket, batch);
    let datagrams = 0;
    let octets = 0;
    for (let i = 0; i < messages; i++) {
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
    const start = this.#batch.start(index);
    const end = start + this.#batch.octets(index);
    let datagrams = 0;
    for (let at = start; at < end; ) {
      const length = Math.min(segment, end - at);
      const forwarded = this.relay === null ? 0 : this.relay.forward(at, end, segment, from);
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
    if (length > MAX_SIGNALLING) return 'length';
    if (this.#isForbidden(from)) return 'forbidden-address';
    if (!this.#limiter.admit(this.#names, from, this.#now())) return 'rate-limited';
    const datagram = this.#memory.bytes.subarray(at, at + length);
    const address = this.#batch.nameBytes.subarray(from, from + SOCKADDR_ROOM);
    if (!this.#events.datagram(datagram, address)) return 'queue-full';
    this.#tally.add('handedOver', 1);
    return null;
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
    const plain = key.aead.openAt(this.#memory.address + at, body, length - body, sequence);
    if (plain < 0) return this.#rejected(path, 'tag');
    key.window.accept(sequence);
    if (!key.opened || !isSockaddr(this.#names, from, path.from)) this.#cameFrom(path, key, from);

    const inner = at + body + key.aead.lead + PREFACE;
    const octets = plain < PREFACE ? -1 : view.getUint16(inner - PREFACE);
    if (octets < 0 || PREFACE + octets > plain) return this.#rejected(path, 'body-malformed');
    // Sealed options may stand behind the packet, if the header announced options at all.
    if (PREFACE + octets < plain && view.getUint8(at + HeaderOffset.nextOption) === 0) {
      return this.#rejected(path, 'body-trailing');
    }
    if (octets === 0) return null;
    if (!isWholePacket(view, inner, inner + octets)) return this.#rejected(path, 'inner-malformed');
    const misaddressed = this.#misaddressed(path, inner);
    if (misaddressed !== null) return this.#rejected(path, misaddressed);
    const partial = (view.getUint16(inner - PREFACE + 2) & CapsuleFlag.partialChecksum) !== 0;
    this.#traffic.add(path.place, Traffic.rxPackets, 1);
    this.#traffic.add(path.place, Traffic.rxBytes, octets);
    coalescer.add(inner, octets, partial, path.place);
    return null;
  }

  /** Protocol section 2.4: from the peer's virtual address to ours, nothing else. */
  #misaddressed(path: ReceivePath, inner: number): DropReason | null {
    const view = this.#view;
    const v6 = isIp6(view, inner);
    const pair = v6 ? path.pair6 : path.pair4;
    if (pair === null) return 'inner-source';
    const source = inner + (v6 ? Ip6.source : Ip4.source);
    const middle = pair.byteLength / 2;
    for (let i = 0; i < middle; i += 4) if (view.getInt32(source + i) !== pair.getInt32(i)) return 'inner-source';
    for (let i = middle; i < 2 * middle; i += 4) {
      if (view.getInt32(source + i) !== pair.getInt32(i)) return 'inner-destination';
    }
    return null;
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
    for (let i = 0; i < SOCKADDR_ROOM; i += 4) path.from.setInt32(i, this.#names.getInt32(from + i));
  }

  #rejected(path: ReceivePath, reason: DropReason): DropReason {
    this.#traffic.add(path.place, Traffic.rxRejected, 1);
    return reason;
  }

  /** Carries out a command of the control plane; `place` is where the path's counters are. */
  command(command: PathCommand, place: number): void {
    if (command.do === 'installPath') {
      this.#remove(command.pathId);
      this.#traffic.clear(place, TRAFFIC_RECEIVED, TRAFFIC_END);
      this.#paths.set(command.pathId, new ReceivePath(command.pathId, place, command.local, command.peer));
    } else if (command.do === 'installKey') {
      const path = this.#paths.get(command.pathId);
      path?.retire(command.epoch);
      path?.keys.push({
        epoch: command.epoch,
        aead: endKey(command.suite, command.receiveKey),
        window: new ReplayWindow(CAPSULE_WINDOW),
        opened: false,
      });
    } else if (command.do === 'retireKey') {
      this.#paths.get(command.pathId)?.retire(command.epoch);
    } else if (command.do === 'removePath') {
      this.#remove(command.pathId);
    }
  }

  #remove(pathId: string): void {
    for (const key of this.#paths.get(pathId)?.keys ?? []) key.aead.close();
    this.#paths.remove(pathId);
  }
}
