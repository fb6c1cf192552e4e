/**
 * The way out: from the TUN to the UDP port, for one thread.
 *
 *  1. read one packet, up to 64 KiB of one flow                        (sequential)
 *  2. find its path by the pair of virtual addresses, check its source (sequential)
 *  3. split it into packets of the size the flow wants, in place
 *  4. seal each straight into the send buffer, numbered in order
 *  5. send everything that was read together, many datagrams per message; drain the TUN first
 *
 * A packet without a path goes to the control plane.
 */

import type { Address, Prefix } from '../lib/ip.ts';
import type { PathCommand, VirtualAddresses } from '../lib/path.ts';
import { Ip4, Ip6, isIp6, isWholePacket, Protocol, plainHeaderLength, protocolOf, Udp } from '../net/packet.ts';
import { HEADER_LENGTH, REJECT_AFTER_PACKETS, VERSION } from '../proto/constants.ts';
import type { DropReason } from '../proto/drop.ts';
import { HeaderOffset } from '../proto/header.ts';
import { CapsuleFlag } from '../proto/messages.ts';
import type { EvpAead } from '../sys/evp.ts';
import { allocate } from '../sys/memory.ts';
import { SendBatch } from '../sys/mmsg.ts';
import { encodeSockaddr } from '../sys/sockaddr.ts';
import { type PacketDevice, VIRTIO_HEADER } from '../sys/tun.ts';
import type { DatagramPort } from '../sys/udp.ts';
import { PREFACE, writeCapsuleHeader } from './capsule.ts';
import type { EventWriter } from './event-ring.ts';
import { endKey } from './keys.ts';
import { AddressSet, Ranges } from './ranges.ts';
import { Splitter } from './segment.ts';
import { PathTable, RouteTable } from './table.ts';
import { type Tally, TRAFFIC_RECEIVED, Traffic, type TrafficCounters } from './tally.ts';

/** Room for a packet and its virtio-net header; as much again would not be read in one piece. */
const READ_ROOM = VIRTIO_HEADER + 65_536;
const READ_AT = 64;
const SEAL_AT = READ_AT + READ_ROOM + 64;
/** Several split packets of 64 KiB, still inside a second-level cache. */
const SEAL_ROOM = 256 * 1024;
const MESSAGES = 128;
/** Largest datagram, with room for the outer headers. */
const MAX_DATAGRAM = 65_000;
/**
 * Packets read before they are sent and commands are looked at again. Small ones leave in one message of this many: more
 * would arrive as a burst that overflows the receiving application's socket buffer, as it is by default.
 */
export const PACKETS_AT_ONCE = 32;

type SendKey = {
  readonly epoch: number;
  readonly aead: EvpAead;
  readonly partial: boolean;
  next: number;
};

class SendPath {
  readonly pathId: string;
  readonly place: number;
  readonly id: DataView;
  readonly local: VirtualAddresses;
  readonly peer: VirtualAddresses;
  keys: SendKey[] = [];
  active: SendKey | null = null;
  destination: Uint8Array | null = null;
  relayed = false;
  /** The message of the current batch that this path's next datagram may join. */
  message = -1;
  round = -1;

  constructor(pathId: string, place: number, local: VirtualAddresses, peer: VirtualAddresses) {
    this.pathId = pathId;
    this.place = place;
    this.id = new DataView(Uint8Array.fromHex(pathId).buffer);
    this.local = local;
    this.peer = peer;
  }

  key(epoch: number): SendKey | undefined {
    return this.keys.find((key) => key.epoch === epoch);
  }

  retire(epoch: number): void {
    this.key(epoch)?.aead.close();
    this.keys = this.keys.filter((key) => key.epoch !== epoch);
    if (this.active?.epoch === epoch) this.active = null;
  }
}

export type InsideParts = {
  readonly device: PacketDevice;
  readonly port: DatagramPort;
  readonly tally: Tally;
  readonly traffic: TrafficCounters;
  readonly events: EventWriter;
  readonly overlay: readonly Prefix[];
  readonly localPort: number;
};

export class Inside {
  readonly #device: PacketDevice;
  readonly #port: DatagramPort;
  readonly #tally: Tally;
  readonly #traffic: TrafficCounters;
  readonly #events: EventWriter;
  readonly #overlay: Ranges;
  readonly #localPort: number;
  readonly #memory = allocate(SEAL_AT + SEAL_ROOM);
  readonly #view = this.#memory.view;
  readonly #splitter = new Splitter(this.#memory.view);
  readonly #batch = new SendBatch(MESSAGES);
  readonly #paths = new PathTable<SendPath>();
  readonly #routes = new RouteTable<SendPath>();
  #local = new AddressSet();
  #sealAt = SEAL_AT;

  constructor(parts: InsideParts) {
    this.#device = parts.device;
    this.#port = parts.port;
    this.#tally = parts.tally;
    this.#traffic = parts.traffic;
    this.#events = parts.events;
    this.#overlay = new Ranges(parts.overlay);
    this.#localPort = parts.localPort;
  }

  /** Addresses that packets to peers without a path may come from. */
  setLocal(addresses: readonly Address[]): void {
    this.#local = new AddressSet(addresses);
  }

  /** Reads and sends what waits at the device, up to a bound; returns the number of packets read. */
  pump(): number {
    let packets = 0;
    let octets = 0;
    while (packets < PACKETS_AT_ONCE) {
      const read = this.#device.read(this.#memory.address + READ_AT, READ_ROOM);
      if (read === 0) break;
      packets++;
      octets += read;
      const dropped = this.#packet(READ_AT + read);
      if (dropped !== null) this.#tally.drop(dropped);
    }
    if (packets > 0) {
      this.flush();
      this.#tally.add('tunReadPackets', packets);
      this.#tally.add('tunReadBytes', octets - packets * VIRTIO_HEADER);
    }
    return packets;
  }

  #packet(end: number): DropReason | null {
    const view = this.#view;
    const ip = READ_AT + VIRTIO_HEADER;
    if (!isWholePacket(view, ip, end)) return 'inner-malformed';
    if (this.#isOwnDatagram(ip, end)) return 'outer-loop';
    const path = isIp6(view, ip)
      ? this.#routes.find6(view, ip + Ip6.source)
      : this.#routes.find4(view, ip + Ip4.source);
    if (path === undefined) return this.#handOver(ip, end);
    const splitter = this.#splitter;
    if (!splitter.begin(READ_AT, end, path.active?.partial === true)) return 'inner-malformed';
    for (let at = splitter.next(); at >= 0; at = splitter.next()) {
      this.#seal(path, at, splitter.length, splitter.partial ? CapsuleFlag.partialChecksum : 0);
    }
    return null;
  }

  /** Whether this is one of our own outer datagrams: routed into the TUN it would go round for ever. */
  #isOwnDatagram(ip: number, end: number): boolean {
    const view = this.#view;
    if (protocolOf(view, ip) !== Protocol.udp) return false;
    const transport = ip + plainHeaderLength(view, ip);
    const body = transport + Udp.headerLength;
    return (
      transport > ip &&
      body + HEADER_LENGTH <= end &&
      view.getUint16(transport + Udp.source) === this.#localPort &&
      view.getUint8(body + HeaderOffset.version) === VERSION &&
      view.getUint8(body + HeaderOffset.count) === 0
    );
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
    if (!splitter.begin(READ_AT, end, false)) return 'inner-malformed';
    for (let at = splitter.next(); at >= 0; at = splitter.next()) {
      const packet = this.#memory.bytes.subarray(at, at + splitter.length);
      if (this.#events.unrouted(packet)) this.#tally.add('handedOver', 1);
      else this.#tally.drop('queue-full');
    }
    return null;
  }

  #seal(path: SendPath, at: number, length: number, flags: number): void {
    const dropped = this.#trySeal(path, at, length, flags);
    if (dropped !== null) this.#dropped(path, dropped);
  }

  /** Seals the packet at `at` into the send buffer and adds it to the batch. */
  #trySeal(path: SendPath, at: number, length: number, flags: number): DropReason | null {
    const key = path.active;
    const destination = path.destination;
    if (key === null || destination === null) return 'no-route';
    if (key.next > REJECT_AFTER_PACKETS) return 'key-exhausted';
    const { view, address } = this.#memory;
    const size = HEADER_LENGTH + key.aead.sealedSize(PREFACE + length);
    if (size > MAX_DATAGRAM) return 'inner-too-large';
    if (this.#batch.full || this.#sealAt + size > SEAL_AT + SEAL_ROOM) this.flush();
    const out = this.#sealAt;
    this.#sealAt += size;
    const sequence = key.next++;
    writeCapsuleHeader(view, out, path.id, path.relayed, sequence, size, key.epoch);
    view.setUint16(at - PREFACE, length);
    view.setUint16(at - PREFACE + 2, flags);
    key.aead.sealAt(address + out, HEADER_LENGTH, PREFACE + length, sequence, address + at - PREFACE);
    const message = path.round === this.#batch.round ? path.message : -1;
    path.message = this.#batch.add(message, destination, path.place, address + out, size);
    path.round = this.#batch.round;
    if (length > 0) {
      this.#traffic.add(path.place, Traffic.txPackets, 1);
      this.#traffic.add(path.place, Traffic.txBytes, length);
    }
    return null;
  }

  #dropped(path: SendPath, reason: DropReason): void {
    this.#tally.drop(reason);
    this.#traffic.add(path.place, Traffic.txDropped, 1);
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
    this.#tally.add('udpSentBytes', this.#sealAt - SEAL_AT);
    if (failed > 0) this.#accountFailures(failed);
    batch.clear();
    this.#sealAt = SEAL_AT;
  }

  #accountFailures(failed: number): void {
    this.#tally.drop('not-sent', failed);
    for (let i = 0; i < this.#batch.count; i++) {
      const lost = this.#batch.failed(i);
      if (lost === 0) continue;
      this.#traffic.add(this.#batch.owner(i), Traffic.txDropped, lost);
      this.#traffic.add(this.#batch.owner(i), Traffic.txPackets, -lost);
    }
  }

  /** Carries out a command of the control plane; `place` is where the path's counters are. */
  command(command: PathCommand, place: number): void {
    if (command.do === 'route') {
      const target = command.pathId === null ? null : (this.#paths.get(command.pathId) ?? null);
      this.#routes.set(command.local, command.peer, target);
      return;
    }
    if (command.do === 'installPath') {
      this.#remove(command.pathId);
      this.#traffic.clear(place, 0, TRAFFIC_RECEIVED);
      this.#paths.set(command.pathId, new SendPath(command.pathId, place, command.local, command.peer));
      return;
    }
    const path = this.#paths.get(command.pathId);
    if (path === undefined) return;
    switch (command.do) {
      case 'installKey': {
        path.retire(command.epoch);
        const key: SendKey = {
          epoch: command.epoch,
          aead: endKey(command.suite, command.sendKey),
          partial: command.partialChecksum === true,
          next: 1,
        };
        path.keys.push(key);
        if (command.activate) path.active = key;
        break;
      }
      case 'activateKey':
        path.active = path.key(command.epoch) ?? path.active;
        break;
      case 'retireKey':
        path.retire(command.epoch);
        break;
      case 'setEndpoint':
        path.destination = command.endpoint === null ? null : encodeSockaddr(command.endpoint);
        path.relayed = command.relayed;
        // What was sealed for the old endpoint is sent there; new datagrams begin a new message.
        path.message = -1;
        break;
      case 'removePath':
        this.#remove(command.pathId);
        break;
      case 'sendPackets':
        this.#sendPackets(path, command.packets);
    }
  }

  #remove(pathId: string): void {
    const path = this.#paths.get(pathId);
    if (path === undefined) return;
    for (const key of path.keys) key.aead.close();
    this.#routes.removeIf(path.local, path.peer, path);
    this.#paths.remove(pathId);
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
