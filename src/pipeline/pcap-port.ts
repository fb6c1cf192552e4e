/**
 * A frame port on libpcap, which knows no virtio-net header: what the kernel says in one beside a packet socket is found out
 * here, and what it does with one on the way out is done here.
 *
 * In: a TCP packet longer than the link takes was merged (GRO) or not yet cut (TSO), by the kernel itself, which had looked
 * at its checksum: it is cut as the link would have it. In anything else that long (UDP) nothing tells the pieces apart:
 * it is said to be in pieces of no length, as which nobody takes it. A checksum that is left to hardware has the
 * pseudo-header's sum in its place. A whole one may look the same by chance, and completing it then changes nothing.
 */

import { EtherType, VLAN_TAG } from '../net/ethernet.ts';
import { checksumOffset, foldSum, Ip4, Ip6, Protocol, pseudoSum, Tcp, Udp } from '../net/packet.ts';
import { ETHERNET_HEADER, FRAME_HEAD, type FramePort, type FrameSource } from '../sys/frame-port.ts';
import { libc } from '../sys/libc.ts';
import { allocate } from '../sys/memory.ts';
import { MAX_FRAME } from '../sys/packet.ts';
import { PacketPort, PacketQueues } from '../sys/packet-port.ts';
import { Pcap, type PcapHandle } from '../sys/pcap.ts';
import { GsoType, VIRTIO_HEADER, VirtioFlag } from '../sys/tun.ts';
import { IOVEC, vectorAddress, vectorLength } from '../sys/vectors.ts';
import { Splitter } from './segment.ts';

/** One thread's use of an open port. */
export function portOf(sources: readonly FrameSource[], mtu: number): FramePort {
  const [first, ...others] = sources as [FrameSource, ...FrameSource[]];
  if (first.pcap !== null) return new PcapPort(first, mtu);
  return others.length === 0 ? new PacketPort(first.fd) : new PacketQueues([first.fd, ...others.map(({ fd }) => fd)]);
}

const TAG = 4;
/** IEEE 802.1ad; the kernel puts either back where libpcap finds it. */
const SERVICE_TAG = 0x88a8;
const MACS = 12;
/** As much of a frame as is looked at: Ethernet with a tag, the longest IPv4 header or IPv6's, TCP without options. */
const PEEK = ETHERNET_HEADER + TAG + 60 + Tcp.length;
const MAX_VECTORS = 128;
const MORE_FRAGMENTS_OR_OFFSET = 0x3fff;
const EINVAL = 22;

const PEEK_AT = FRAME_HEAD;
const VECTORS_AT = PEEK_AT + PEEK + 2;
const FRAME_AT = VECTORS_AT + MAX_VECTORS * IOVEC;
/** Behind a frame its last word may be read. */
const SLACK = 4;

class PcapPort implements FramePort {
  readonly head: DataView;
  tag = -1;
  tagProtocol = 0;
  readonly #pcap: Pcap;
  readonly #mtu: number;
  readonly #memory = allocate(FRAME_AT + MAX_FRAME + SLACK);
  readonly #splitter = new Splitter(this.#memory.view);
  /** The Ethernet header of the frames that one is cut into. */
  readonly #link = new Uint8Array(ETHERNET_HEADER + TAG);

  constructor(handle: PcapHandle, mtu: number) {
    this.#pcap = new Pcap(handle);
    this.#mtu = mtu;
    this.head = new DataView(this.#memory.view.buffer, this.#memory.view.byteOffset, FRAME_HEAD);
  }

  read(into: number, room: number): number {
    const { view, bytes, address } = this.#memory;
    const octets = this.#pcap.read();
    if (octets < 0) return -1;
    libc().memcpy(address + PEEK_AT, this.#pcap.address, Math.min(octets, PEEK));
    bytes.fill(0, 0, VIRTIO_HEADER);
    bytes.copyWithin(VIRTIO_HEADER, PEEK_AT, PEEK_AT + ETHERNET_HEADER);
    const type = view.getUint16(PEEK_AT + MACS);
    const tagged = (type === VLAN_TAG || type === SERVICE_TAG) && octets >= ETHERNET_HEADER + TAG;
    this.tagProtocol = tagged ? type : 0;
    this.tag = tagged ? view.getUint16(PEEK_AT + MACS + 2) : -1;
    if (tagged) view.setUint16(FRAME_HEAD - 2, view.getUint16(PEEK_AT + MACS + TAG));
    const header = tagged ? ETHERNET_HEADER + TAG : ETHERNET_HEADER;
    const length = Math.max(0, Math.min(octets - header, room));
    libc().memcpy(into, this.#pcap.address + header, length);
    this.#describe(PEEK_AT + header, length);
    return length;
  }

  /** Says in the virtio-net header what the kernel left to others of a packet of this length. */
  #describe(ip: number, length: number): void {
    const { view } = this.#memory;
    const type = view.getUint16(FRAME_HEAD - 2);
    const six = type === EtherType.ipv6;
    const large = length > this.#mtu;
    if (type !== EtherType.ipv4 && !six) return;
    const header = six ? Ip6.length : (view.getUint8(ip) & 15) << 2;
    const protocol = view.getUint8(ip + (six ? Ip6.next : Ip4.protocol));
    const total = six ? Ip6.length + view.getUint16(ip + Ip6.payloadLength) : view.getUint16(ip + Ip4.totalLength);
    const fragment = !six && (view.getUint16(ip + Ip4.fragment) & MORE_FRAGMENTS_OR_OFFSET) !== 0;
    const tcp = protocol === Protocol.tcp;
    // What the kernel makes or merges has neither padding nor header that is not whole.
    const whole = header >= Ip4.length && length >= header + (tcp ? Tcp.length : Udp.headerLength);
    const usual = whole && !fragment && total === length;
    if (!usual || (!tcp && protocol !== Protocol.udp)) {
      if (large) this.#offload(GsoType.udp, 0, 0, 0);
      return;
    }
    const transport = ip + header;
    const field = checksumOffset(protocol);
    const start = ETHERNET_HEADER + header;
    if (large) {
      const size = tcp ? this.#mtu - header - ((view.getUint8(transport + Tcp.dataOffset) >> 4) << 2) : 0;
      this.#offload(!tcp ? GsoType.udp : six ? GsoType.tcp6 : GsoType.tcp4, Math.max(0, size), start, field);
    } else if (view.getUint16(transport + field) === foldSum(pseudoSum(view, ip, protocol) + length - header)) {
      this.#offload(GsoType.none, 0, start, field);
    }
  }

  #offload(type: number, size: number, start: number, field: number): void {
    const { head } = this;
    head.setUint8(0, VirtioFlag.needsChecksum);
    head.setUint8(1, type);
    head.setUint16(4, size, true);
    head.setUint16(6, start, true);
    head.setUint16(8, field, true);
  }

  write(vectors: number, count: number): number {
    const { view, address } = this.#memory;
    if (count > MAX_VECTORS) return EINVAL;
    libc().memcpy(address + VECTORS_AT, vectors, count * IOVEC);
    let end = FRAME_AT;
    for (let i = 0; i < count; i++) {
      const vector = VECTORS_AT + i * IOVEC;
      const length = vectorLength(view, vector);
      if (end + length > FRAME_AT + MAX_FRAME) return EINVAL;
      libc().memcpy(address + end, vectorAddress(view, vector), length);
      end += length;
    }
    const frame = FRAME_AT + VIRTIO_HEADER;
    if (view.getUint16(FRAME_AT) === 0) return this.#pcap.write(address + frame, end - frame);
    return this.#writeCut(frame, end);
  }

  /** Writes what a frame with a virtio-net header stands for. */
  #writeCut(frame: number, end: number): number {
    const { view, bytes, address } = this.#memory;
    const header = view.getUint16(frame + MACS) === VLAN_TAG ? ETHERNET_HEADER + TAG : ETHERNET_HEADER;
    for (let i = 0; i < header; i++) this.#link[i] = view.getUint8(frame + i);
    const start = view.getUint16(FRAME_AT + 6, true) - header;
    const virtio = frame + header - VIRTIO_HEADER;
    bytes.copyWithin(virtio, FRAME_AT, FRAME_AT + VIRTIO_HEADER);
    view.setUint16(virtio + 6, start, true);
    if (start < 0 || !this.#splitter.begin(virtio, end, false)) return EINVAL;
    for (let at = this.#splitter.next(); at >= 0; at = this.#splitter.next()) {
      for (let i = 0; i < header; i++) view.setUint8(at - header + i, this.#link[i]!);
      const refused = this.#pcap.write(address + at - header, header + this.#splitter.length);
      if (refused !== 0) return refused;
    }
    return 0;
  }
}
