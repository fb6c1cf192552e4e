/**
 * Splits what a TUN with segmentation offload gives (a packet of up to 64 KiB with headers for the first piece) into the
 * packets it stands for, in place: a packet's headers are written over the end of the one before it, which therefore must
 * be done with. Costs no copy of the payload.
 *
 *   | virtio | IP TCP | payload 0 | payload 1 | payload 2 |
 *            |<---- packet 0 ---->|
 *                        |<-- packet 1 -->|            (its headers over the end of payload 0)
 */

import { LARGEST_PACKET } from '../lib/path.ts';
import {
  checksumOffset,
  completeChecksum,
  foldSum,
  Ip4,
  Ip6,
  isIp6,
  Protocol,
  pseudoSum,
  Tcp,
  TcpFlag,
  Udp,
  writeIp4Checksum,
} from '../net/packet.ts';
import { GSO_ECN, GsoType, VIRTIO_HEADER, VirtioFlag } from '../sys/tun.ts';

/** More than IPv6 with extension headers and TCP with options ever need. */
const MAX_HEADERS = 512;

export class Splitter {
  /** Length of the packet that `next` gave. */
  length = 0;
  /** Whether its transport checksum is left to the receiver: the field holds the pseudo-header sum. */
  partial = false;

  readonly #view: DataView;
  readonly #headers = new DataView(new ArrayBuffer(MAX_HEADERS));
  #at = 0;
  #payload = 0;
  #end = 0;
  #headerLength = 0;
  #transport = 0;
  #protocol = 0;
  /** Payload octets per packet; 0 = a single packet as it is. */
  #size = 0;
  #sequence = 0;
  #id = 0;
  #flags = 0;
  #pseudo = 0;
  #index = 0;
  #checksum = false;
  #leavePartial = false;

  constructor(view: DataView) {
    this.#view = view;
  }

  /**
   * Begins with the virtio-net header at `header` and the packet behind it, which ends at `end`. `leavePartial`: don't
   * compute transport checksums. No piece of a TCP flow is longer than `limit`, whatever the flow wants: to its receiver that
   * is the same. False if header and packet don't fit together.
   */
  begin(header: number, end: number, leavePartial: boolean, limit = LARGEST_PACKET): boolean {
    const view = this.#view;
    const ip = header + VIRTIO_HEADER;
    const gsoType = view.getUint8(header + 1) & ~GSO_ECN;
    this.#at = ip;
    this.#end = end;
    this.#index = 0;
    this.#size = 0;
    this.#leavePartial = leavePartial;
    this.#checksum = (view.getUint8(header) & VirtioFlag.needsChecksum) !== 0;
    this.#transport = view.getUint16(header + 6, true);
    const field = view.getUint16(header + 8, true);
    if (this.#checksum && ip + this.#transport + field + 2 > end) return false;
    this.#protocol = field === Tcp.checksum ? Protocol.tcp : Protocol.udp;
    if (gsoType === GsoType.none) return true;

    this.#size = view.getUint16(header + 4, true);
    const tcp = gsoType !== GsoType.udp;
    const transport = ip + this.#transport;
    if (!this.#checksum || this.#size === 0 || tcp !== (field === Tcp.checksum)) return false;
    if (transport + (tcp ? Tcp.length : Udp.headerLength) > end) return false;
    const transportLength = tcp ? (view.getUint8(transport + Tcp.dataOffset) >> 4) << 2 : Udp.headerLength;
    this.#headerLength = this.#transport + transportLength;
    this.#payload = ip + this.#headerLength;
    if (this.#headerLength > MAX_HEADERS || this.#payload > end) return false;
    for (let i = 0; i < this.#headerLength; i += 4) {
      this.#headers.setInt32(i, view.getInt32(ip + i, true), true);
    }
    this.#pseudo = pseudoSum(view, ip, this.#protocol);
    this.#id = view.getUint16(ip + Ip4.id);
    if (tcp) {
      if (limit > this.#headerLength) this.#size = Math.min(this.#size, limit - this.#headerLength);
      this.#sequence = view.getUint32(transport + Tcp.sequence);
      this.#flags = view.getUint8(transport + Tcp.flags);
    }
    return true;
  }

  /** How many packets there will be. */
  get count(): number {
    return this.#size === 0 ? 1 : Math.max(1, Math.ceil((this.#end - this.#payload) / this.#size));
  }

  /** The most octets that one of them has. */
  get largest(): number {
    return this.#size === 0 ? this.#end - this.#at : Math.min(this.#headerLength + this.#size, this.#end - this.#at);
  }

  /** Offset of the next packet, or -1 after the last one. */
  next(): number {
    return this.#size === 0 ? this.#single() : this.#segment();
  }

  #single(): number {
    if (this.#index++ > 0) return -1;
    const ip = this.#at;
    this.length = this.#end - ip;
    // Only TCP and UDP checksums can be left to the receiver: it finds their place by the protocol.
    this.partial = this.#checksum && this.#leavePartial && this.#findable(ip);
    if (this.#checksum && !this.partial) {
      const udp = this.#protocol === Protocol.udp;
      completeChecksum(this.#view, ip + this.#transport, checksumOffset(this.#protocol), this.#end, udp);
    }
    return ip;
  }

  /** Whether the receiver can tell from the packet alone where its transport checksum is. */
  #findable(ip: number): boolean {
    const view = this.#view;
    return isIp6(view, ip)
      ? this.#transport === Ip6.length && view.getUint8(ip + Ip6.next) === this.#protocol
      : this.#transport === Ip4.length && view.getUint8(ip + Ip4.protocol) === this.#protocol;
  }

  #segment(): number {
    const view = this.#view;
    const index = this.#index;
    const payload = this.#payload + index * this.#size;
    if (payload >= this.#end && index > 0) return -1;
    this.#index++;
    const end = Math.min(payload + this.#size, this.#end);
    const ip = payload - this.#headerLength;
    const headers = this.#headers;
    if (index > 0) {
      for (let i = 0; i < this.#headerLength; i += 4) view.setInt32(ip + i, headers.getInt32(i, true), true);
    }
    this.length = end - ip;
    if (isIp6(view, ip)) {
      view.setUint16(ip + Ip6.payloadLength, this.length - Ip6.length);
    } else {
      view.setUint16(ip + Ip4.totalLength, this.length);
      view.setUint16(ip + Ip4.id, this.#id + index);
      writeIp4Checksum(view, ip, (view.getUint8(ip) & 15) << 2);
    }
    const transport = ip + this.#transport;
    if (this.#protocol === Protocol.tcp) {
      view.setUint32(transport + Tcp.sequence, this.#sequence + index * this.#size);
      view.setUint8(transport + Tcp.flags, this.#flagsOf(index, end === this.#end));
    } else {
      view.setUint16(transport + Udp.length, end - transport);
    }
    const field = checksumOffset(this.#protocol);
    view.setUint16(transport + field, foldSum(this.#pseudo + (end - transport)));
    this.partial = this.#leavePartial && this.#findable(ip);
    if (!this.partial) completeChecksum(view, transport, field, end, this.#protocol === Protocol.udp);
    return ip;
  }

  /** FIN and PSH belong to the last piece, CWR (RFC 3168 section 6.1.2) to the first one. */
  #flagsOf(index: number, last: boolean): number {
    const notLast = last ? 0 : TcpFlag.fin | TcpFlag.psh;
    const notFirst = index === 0 ? 0 : TcpFlag.cwr;
    return this.#flags & ~(notLast | notFirst);
  }
}
