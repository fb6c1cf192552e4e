/**
 * The device of an adapter: packets of the general nodes on its inner link beside those of its own TUN, so that the rest of
 * the data path knows nothing of frames. Going out, a packet is a general node's if its addresses, MAC address and tag are
 * what the control plane admitted; its Ethernet header is left behind. Coming in, what is for a general node's address goes
 * to that device in a frame, everything else to the TUN. Frames that are no packets for the overlay go to the control plane.
 */

import type { Address, Prefix } from '../lib/ip.ts';
import { EtherType, VLAN_TAG, vlanOf } from '../net/ethernet.ts';
import { completeChecksum, Ip4, Ip6, isIp6, Protocol, plainHeaderLength, protocolOf, Tcp, Udp } from '../net/packet.ts';
import { ETHERNET_HEADER, FRAME_HEAD, type FramePort } from '../sys/frame-port.ts';
import { libc } from '../sys/libc.ts';
import { allocate, memoryAt } from '../sys/memory.ts';
import { GsoType, type PacketDevice, VIRTIO_HEADER, VirtioFlag } from '../sys/tun.ts';
import { IOVEC, setVector, vectorAddress, vectorLength } from '../sys/vectors.ts';
import type { EventWriter } from './event-ring.ts';
import type { Host, HostTable } from './hosts.ts';
import { AddressSet, Ranges } from './ranges.ts';
import type { Tally } from './tally.ts';

export type LinkDeviceParts = {
  readonly tun: PacketDevice;
  readonly port: FramePort;
  /** Further ports that nothing but EAPOL comes from. */
  readonly eapol: readonly FramePort[];
  readonly hosts: HostTable;
  /** The overlay's ranges, and the addresses in them that are the adapter's own on the inner link. */
  readonly overlay: readonly Prefix[];
  readonly gateways: readonly Address[];
  /** Virtual addresses of the adapter itself, which are its TUN's. */
  readonly own: readonly Address[];
  /** Whether the kernel carries what is for elsewhere: then it is no business of ours. */
  readonly internet: boolean;
  readonly tally: Tally;
  readonly events: EventWriter;
  /** Whether the control plane takes one more frame of a device. */
  readonly admit: (macHigh: number, macLow: number) => boolean;
};

/** Frames for the control plane that are read in one go, before the others' turn. */
const FRAMES_AT_ONCE = 32;
/** Packets of the inner link after which the TUN has its turn. */
const TURN = 16;
/** As much of a packet as is looked at: IPv6 and TCP headers with all options. */
const PEEK = 128;
/** The longest frame for the control plane; DHCP has no longer ones. */
const MAX_FRAME = 1_600;
const MAX_PIECES = 66;

const PEEK_AT = 0;
const HEAD_AT = PEEK_AT + VIRTIO_HEADER + PEEK;
/** Virtio-net header, Ethernet header with a tag. */
const HEAD_ROOM = VIRTIO_HEADER + 18;
const VECTORS_AT = HEAD_AT + HEAD_ROOM + 4;

const Head = { type: 22, destinationHigh: 10, sourceHigh: 16, sourceLow: 18 } as const;
/** A device that keeps trying to reach the Internet has a share of its own for that: ARP and DHCP go on. */
const ELSEWHERE = 0x8000;
const LINK_HOP_LIMIT = 255;
const DNS_PORT = 53;
const ICMP6_NDP = { first: 133, last: 137 } as const;

export class LinkDevice implements PacketDevice {
  readonly #parts: LinkDeviceParts;
  readonly #overlay: Ranges;
  readonly #gateways: AddressSet;
  readonly #own: AddressSet;
  readonly #memory = allocate(VECTORS_AT + MAX_PIECES * IOVEC);
  #resolvers = new AddressSet();
  #turn = 0;

  constructor(parts: LinkDeviceParts) {
    this.#parts = parts;
    this.#overlay = new Ranges(parts.overlay);
    this.#gateways = new AddressSet(parts.gateways);
    this.#own = new AddressSet(parts.own);
  }

  /** Addresses whose TCP port 53 the kernel has; replaces the former list. */
  setResolvers(addresses: readonly Address[]): void {
    this.#resolvers = new AddressSet(addresses);
  }

  read(address: number, room: number): number {
    const { port, events } = this.#parts;
    if (++this.#turn % TURN === 0) {
      const length = this.#readTun(address, room);
      if (length > 0) return length;
    }
    for (let i = 0; i < FRAMES_AT_ONCE; i++) {
      const octets = port.read(address + VIRTIO_HEADER, room - VIRTIO_HEADER);
      if (octets < 0) break;
      const length = this.#frame(address, octets);
      if (length > 0) return length;
    }
    for (const side of this.#parts.eapol) {
      const octets = side.read(address + VIRTIO_HEADER, room - VIRTIO_HEADER);
      if (octets >= 0) this.#handOver(address, octets, side);
    }
    events.flush();
    return this.#readTun(address, room);
  }

  /** What the adapter itself sends to its general nodes goes straight to them. */
  #readTun(address: number, room: number): number {
    for (let i = 0; i < TURN; i++) {
      const length = this.#parts.tun.read(address, room);
      if (length === 0 || this.#hostOf(address, length) === undefined) return length;
      if (this.write(address, length) !== 0) this.#parts.tally.drop('not-written');
    }
    return 0;
  }

  write(address: number, octets: number): number {
    const host = this.#hostOf(address, octets);
    if (host === undefined) return this.#parts.tun.write(address, octets);
    const head = this.#writeHead(host, address);
    setVector(this.#memory, VECTORS_AT, this.#memory.address + HEAD_AT, head);
    setVector(this.#memory, VECTORS_AT + IOVEC, address + VIRTIO_HEADER, octets - VIRTIO_HEADER);
    return this.#parts.port.write(this.#memory.address + VECTORS_AT, 2);
  }

  writeVectors(vectors: number, count: number): number {
    const { address, view } = this.#memory;
    const own = VECTORS_AT + IOVEC;
    libc().memcpy(address + own, vectors, count * IOVEC);
    const first = vectorAddress(view, own);
    const length = vectorLength(view, own);
    const host = this.#hostOf(first, length);
    if (host === undefined) return this.#parts.tun.writeVectors(vectors, count);
    setVector(this.#memory, VECTORS_AT, address + HEAD_AT, this.#writeHead(host, first));
    setVector(this.#memory, own, first + VIRTIO_HEADER, length - VIRTIO_HEADER);
    return this.#parts.port.write(address + VECTORS_AT, count + 1);
  }

  /** The device that a packet behind its virtio-net header is for. */
  #hostOf(address: number, octets: number): Host | undefined {
    const { view } = this.#memory;
    libc().memcpy(this.#memory.address + PEEK_AT, address, Math.min(octets, VIRTIO_HEADER + Ip6.length));
    const ip = PEEK_AT + VIRTIO_HEADER;
    return view.getUint8(ip) >> 4 === 6
      ? this.#parts.hosts.find6(view, ip + Ip6.destination)
      : this.#parts.hosts.find4(view, ip + Ip4.destination);
  }

  /** Virtio-net header, as it was peeked at, and Ethernet header; returns their length. */
  #writeHead(host: Host, packet: number): number {
    const { view, bytes } = this.#memory;
    const six = isIp6(view, PEEK_AT + VIRTIO_HEADER);
    if (six) this.#leaveLink(packet);
    const header = six ? host.header6 : host.header4;
    bytes.copyWithin(HEAD_AT, PEEK_AT, PEEK_AT + VIRTIO_HEADER);
    bytes.set(header, HEAD_AT + VIRTIO_HEADER);
    shiftOffload(view, HEAD_AT, header.length);
    return VIRTIO_HEADER + header.length;
  }

  /**
   * A hop limit of 255 is how neighbour discovery knows what was said on this link (RFC 4861 section 7.1): a peer's packet
   * has one less, as from any router.
   */
  #leaveLink(packet: number): void {
    const { view, address } = this.#memory;
    const at = VIRTIO_HEADER + Ip6.hopLimit;
    if (view.getUint8(PEEK_AT + at) !== LINK_HOP_LIMIT) return;
    view.setUint8(PEEK_AT + at, LINK_HOP_LIMIT - 1);
    libc().memcpy(packet + at, address + PEEK_AT + at, 1);
  }

  /** Takes the frame just read, whose packet stands behind room for a virtio-net header; octets of the packet with it, or 0. */
  #frame(address: number, octets: number): number {
    const { port, tally } = this.#parts;
    const { head } = port;
    const type = head.getUint16(Head.type);
    if (type !== EtherType.ipv4 && type !== EtherType.ipv6) return this.#handOver(address, octets);
    const { view } = this.#memory;
    libc().memcpy(this.#memory.address, address + VIRTIO_HEADER, Math.min(octets, PEEK));
    const six = type === EtherType.ipv6;
    if (octets < (six ? Ip6.length : Ip4.length) || isIp6(view, 0) !== six) return this.#handOver(address, octets);
    const isForResolver = this.#isForResolver(view, octets, six);
    if (!isForResolver && !this.#isForOverlay(view, six)) {
      if (!this.#isElsewhere(view, six)) return this.#handOver(address, octets);
      return this.#parts.internet ? 0 : this.#handOver(address, octets, this.#parts.port, ELSEWHERE);
    }
    const { hosts } = this.#parts;
    const host = six ? hosts.find6(view, Ip6.source) : hosts.find4(view, Ip4.source);
    if (host === undefined) return this.#handOver(address, octets);
    const { tag, tagProtocol } = port;
    const genuine =
      head.getUint16(Head.sourceHigh) === host.macHigh &&
      head.getUint32(Head.sourceLow) === host.macLow &&
      vlanOf(tag < 0 ? null : tag) === host.vlan &&
      (tag < 0 || tagProtocol === VLAN_TAG);
    if (!genuine) {
      tally.drop('inner-source');
      return this.#handOver(address, octets);
    }
    const length = this.#packet(address, octets, six);
    const isOwn = six ? this.#own.has6(view, Ip6.destination) : this.#own.has4(view, Ip4.destination);
    if (length === 0 || !(isOwn || isForResolver)) return length;
    if (this.#parts.tun.write(address, length) !== 0) tally.drop('not-written');
    return 0;
  }

  /** Whether it is of a connection to the adapter's resolver, which the kernel has: it keeps TCP's state better than we could. */
  #isForResolver(view: DataView, octets: number, six: boolean): boolean {
    const resolvers = this.#resolvers;
    if (!(six ? resolvers.has6(view, Ip6.destination) : resolvers.has4(view, Ip4.destination))) return false;
    const transport = plainHeaderLength(view, 0);
    if (transport === 0 || octets < transport + Tcp.length || protocolOf(view, 0) !== Protocol.tcp) return false;
    return view.getUint16(transport + Tcp.destination) === DNS_PORT;
  }

  /** Whether a packet is to be carried: for an address of the overlay, and no neighbour discovery. */
  #isForOverlay(view: DataView, six: boolean): boolean {
    if (!six) return this.#overlay.has4(view, Ip4.destination) && !this.#gateways.has4(view, Ip4.destination);
    if (!this.#overlay.has6(view, Ip6.destination) || this.#gateways.has6(view, Ip6.destination)) return false;
    const type = view.getUint8(Ip6.length);
    return view.getUint8(Ip6.next) !== Protocol.icmp6 || type < ICMP6_NDP.first || type > ICMP6_NDP.last;
  }

  /** Whether a packet is to be routed: to our MAC address, and neither for the overlay nor for this link. */
  #isElsewhere(view: DataView, six: boolean): boolean {
    if ((this.#parts.port.head.getUint8(Head.destinationHigh) & 1) !== 0) return false;
    if (!six) return !this.#overlay.has4(view, Ip4.destination);
    const linkLocal = (view.getUint16(Ip6.destination) & 0xffc0) === 0xfe80;
    return !linkLocal && !this.#overlay.has6(view, Ip6.destination);
  }

  /** Puts the virtio-net header before the packet, and leaves out the link's padding. */
  #packet(address: number, octets: number, six: boolean): number {
    const { head } = this.#parts.port;
    const { view, bytes } = this.#memory;
    const gso = head.getUint8(1) !== GsoType.none;
    const length = six ? Ip6.length + view.getUint16(Ip6.payloadLength) : view.getUint16(Ip4.totalLength);
    for (let i = 0; i < VIRTIO_HEADER; i++) bytes[HEAD_AT + i] = head.getUint8(i);
    if (!shiftOffload(view, HEAD_AT, -ETHERNET_HEADER, six ? Ip6.length : Ip4.length)) {
      this.#parts.tally.drop('inner-malformed');
      return 0;
    }
    libc().memcpy(address, this.#memory.address + HEAD_AT, VIRTIO_HEADER);
    return VIRTIO_HEADER + (gso ? octets : Math.min(octets, length));
  }

  /** Gives the whole frame, with its tag, to the control plane. */
  #handOver(address: number, octets: number, port = this.#parts.port, account = 0): 0 {
    const { tally, events, admit } = this.#parts;
    const { head } = port;
    const admitted = admit(head.getUint16(Head.sourceHigh) ^ account, head.getUint32(Head.sourceLow));
    if (!admitted) tally.drop('rate-limited');
    else {
      const { bytes: payload, view } = memoryAt(address + VIRTIO_HEADER, Math.min(octets, MAX_FRAME));
      completeOffload(head, view);
      if (events.frame(headerOf(port), payload)) tally.add('handedOver', 1);
      else tally.drop('queue-full');
    }
    return 0;
  }
}

/**
 * Moves the place of a checksum to complete; false if it would be in what is left before `least`: completing it there would
 * change addresses that have been looked at.
 */
function shiftOffload(view: DataView, at: number, by: number, least = 0): boolean {
  if ((view.getUint8(at) & VirtioFlag.needsChecksum) === 0) return true;
  const start = view.getUint16(at + 6, true) + by;
  if (start < least) return false;
  view.setUint16(at + 6, start, true);
  view.setUint16(at + 2, Math.max(0, view.getUint16(at + 2, true) + by), true);
  return true;
}

/** Computes a checksum that the sender left to its hardware. */
function completeOffload(head: DataView, payload: DataView): void {
  if ((head.getUint8(0) & VirtioFlag.needsChecksum) === 0) return;
  const start = head.getUint16(6, true) - ETHERNET_HEADER;
  const field = head.getUint16(8, true);
  if (start < 0 || start + field + 2 > payload.byteLength) return;
  completeChecksum(payload, start, field, payload.byteLength, field === Udp.checksum);
}

/** The Ethernet header as it was on the link. */
function headerOf({ head, tag, tagProtocol }: FramePort): Uint8Array {
  const header = new DataView(new ArrayBuffer(tag < 0 ? ETHERNET_HEADER : ETHERNET_HEADER + 4));
  for (let i = 0; i < 12; i++) header.setUint8(i, head.getUint8(VIRTIO_HEADER + i));
  if (tag >= 0) {
    header.setUint16(12, tagProtocol);
    header.setUint16(14, tag);
  }
  header.setUint16(header.byteLength - 2, head.getUint16(FRAME_HEAD - 2));
  return new Uint8Array(header.buffer);
}
