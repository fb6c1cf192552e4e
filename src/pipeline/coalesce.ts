/**
 * Puts consecutive packets of one TCP or UDP flow together again before they are written to a TUN with segmentation
 * offload. Packets stay where they are; a merged one is written as a list of pieces. Only what the kernel would split
 * into exactly the same packets is merged, and never one packet of a flow past another.
 */

import {
  checksumOffset,
  checksumValid,
  foldSum,
  headerValid,
  Ip4,
  Ip6,
  isIp6,
  Protocol,
  plainHeaderLength,
  protocolOf,
  pseudoSum,
  Tcp,
  TcpFlag,
  Udp,
  writeIp4Checksum,
} from '../net/packet.ts';
import { allocate, type Memory } from '../sys/memory.ts';
import { GsoType, type PacketDevice, VIRTIO_HEADER, VirtioFlag } from '../sys/tun.ts';
import { IOVEC, setVector, vectorAddress, vectorLength } from '../sys/vectors.ts';

const MAX_GROUPS = 128;
const MAX_PIECES = 64;
const MAX_PACKET = 65_535;
/** Flows remembered while a batch is put together; a flow that shares its place with another is merged less. */
const FLOWS = 256;
const NONE = -1;

export class Coalescer {
  /** Whether packets of these protocols are merged; switched off when the device refuses them. */
  tcp: boolean;
  udp: boolean;
  /** Packets (as they came, before merging) and octets (as written) that the device took since the start. */
  packets = 0;
  octets = 0;
  readonly #memory: Memory;
  readonly #device: PacketDevice;
  readonly #onFailed: (owner: number) => void;
  readonly #vectors = allocate(MAX_GROUPS * MAX_PIECES * IOVEC);
  readonly #flows = new Int16Array(FLOWS).fill(NONE);
  #groups = 0;
  readonly #start = new Int32Array(MAX_GROUPS);
  readonly #firstLength = new Int32Array(MAX_GROUPS);
  readonly #length = new Int32Array(MAX_GROUPS);
  readonly #pieces = new Int32Array(MAX_GROUPS);
  readonly #owner = new Int32Array(MAX_GROUPS);
  /** Payload octets per packet; 0 = nothing may be added. */
  readonly #size = new Int32Array(MAX_GROUPS);
  readonly #headerLength = new Int32Array(MAX_GROUPS);
  readonly #ipLength = new Int32Array(MAX_GROUPS);
  readonly #partial = new Uint8Array(MAX_GROUPS);
  readonly #verified = new Uint8Array(MAX_GROUPS);
  readonly #pushed = new Uint8Array(MAX_GROUPS);

  constructor(
    memory: Memory,
    device: PacketDevice,
    offload: { readonly tcp: boolean; readonly udp: boolean },
    onFailed: (owner: number) => void,
  ) {
    this.#memory = memory;
    this.#device = device;
    this.#onFailed = onFailed;
    this.tcp = offload.tcp;
    this.udp = offload.udp;
  }

  /**
   * Adds a whole packet, behind at least a virtio-net header's room. `partial`: its transport checksum is left to us. It
   * must stay in place until `flush`.
   */
  add(at: number, length: number, partial: boolean, owner: number): void {
    const { view } = this.#memory;
    const ipLength = plainHeaderLength(view, at);
    const protocol = ipLength === 0 ? 0 : protocolOf(view, at);
    const tcp = protocol === Protocol.tcp && length >= ipLength + Tcp.length;
    const udp = protocol === Protocol.udp && length >= ipLength + Udp.headerLength;
    const mergeable = (tcp && this.tcp) || (udp && this.udp);
    if (!mergeable) {
      // Not known to which flow it belongs: nothing may be put before it any more.
      if (!tcp && !udp) this.#flows.fill(NONE);
      this.#begin(at, length, partial && (tcp || udp), owner, ipLength, 0, 0);
      return;
    }
    const transport = at + ipLength;
    const headerLength = ipLength + (tcp ? (view.getUint8(transport + Tcp.dataOffset) >> 4) << 2 : Udp.headerLength);
    const payload = length - headerLength;
    const flow = this.#flowOf(at, transport, tcp);
    const group = this.#flows[flow]!;
    if (group >= 0 && payload > 0 && this.#follows(group, at, length, headerLength, partial, tcp)) {
      this.#append(group, at, length, headerLength, tcp);
      return;
    }
    const plain =
      payload > 0 &&
      (tcp
        ? hasPlainFlags(view, transport) && headerLength >= ipLength + Tcp.length
        : isCounted(view, transport, length - ipLength));
    const begun = this.#begin(at, length, partial, owner, ipLength, headerLength, plain ? payload : 0);
    this.#flows[flow] = begun;
    if (tcp && (view.getUint8(transport + Tcp.flags) & TcpFlag.psh) !== 0) this.#size[begun] = 0;
  }

  #begin(
    at: number,
    length: number,
    partial: boolean,
    owner: number,
    ipLength: number,
    headerLength: number,
    size: number,
  ): number {
    if (this.#groups === MAX_GROUPS) this.flush();
    const group = this.#groups++;
    this.#start[group] = at;
    this.#firstLength[group] = length;
    this.#length[group] = length;
    this.#pieces[group] = 1;
    this.#owner[group] = owner;
    this.#size[group] = size;
    this.#headerLength[group] = headerLength;
    this.#ipLength[group] = ipLength;
    this.#partial[group] = partial ? 1 : 0;
    this.#verified[group] = 0;
    this.#pushed[group] = 0;
    return group;
  }

  #flowOf(at: number, transport: number, tcp: boolean): number {
    const { view } = this.#memory;
    const addresses = isIp6(view, at) ? Ip6.source + 12 : Ip4.source;
    const second = isIp6(view, at) ? Ip6.destination + 12 : Ip4.destination;
    const hash =
      view.getInt32(at + addresses) ^
      Math.imul(view.getInt32(at + second), 0x9e3779b1) ^
      view.getInt32(transport) ^
      (tcp ? 0 : 0x5bd1e995);
    return (Math.imul(hash, 0x85ebca6b) >>> 24) & (FLOWS - 1);
  }

  /** Whether the packet is the next piece of the group: the kernel, splitting the merged one, would make it again. */
  #follows(group: number, at: number, length: number, headerLength: number, partial: boolean, tcp: boolean): boolean {
    const { view } = this.#memory;
    const first = this.#start[group]!;
    const size = this.#size[group]!;
    const ipLength = this.#ipLength[group]!;
    const payload = length - headerLength;
    const merged = this.#length[group]!;
    if (
      payload > size ||
      headerLength !== this.#headerLength[group] ||
      partial !== (this.#partial[group] === 1) ||
      merged + payload > MAX_PACKET ||
      this.#pieces[group] === MAX_PIECES
    ) {
      return false;
    }
    const sameIp = isIp6(view, at) ? this.#follows6(first, at) : this.#follows4(first, at, this.#pieces[group]!);
    if (!sameIp) return false;
    const transport = at + ipLength;
    const firstTransport = first + ipLength;
    if (view.getInt32(transport) !== view.getInt32(firstTransport)) return false;
    if (tcp) {
      const sequence = view.getUint32(firstTransport + Tcp.sequence) + merged - headerLength;
      if (view.getInt32(transport + Tcp.sequence) !== (sequence | 0)) return false;
      if (view.getInt32(transport + Tcp.acknowledgment) !== view.getInt32(firstTransport + Tcp.acknowledgment))
        return false;
      // Data offset, flags and window in one word; PSH may come in at the end.
      const psh = TcpFlag.psh << 16;
      if (
        (view.getInt32(transport + Tcp.dataOffset) & ~psh) !==
        (view.getInt32(firstTransport + Tcp.dataOffset) & ~psh)
      )
        return false;
      if (view.getUint16(transport + Tcp.urgent) !== view.getUint16(firstTransport + Tcp.urgent)) return false;
      for (let i = Tcp.length; i < headerLength - ipLength; i += 4) {
        if (view.getInt32(transport + i) !== view.getInt32(firstTransport + i)) return false;
      }
    } else if (!isCounted(view, transport, length - ipLength)) return false;
    const protocol = tcp ? Protocol.tcp : Protocol.udp;
    if (this.#verified[group] === 0) {
      if (!this.#isSound(first, this.#firstLength[group]!, ipLength, protocol, partial)) return false;
      this.#verified[group] = 1;
    }
    return this.#isSound(at, length, ipLength, protocol, partial);
  }

  /** Merging writes new checksums, which must not make a damaged packet look whole. */
  #isSound(at: number, length: number, ipLength: number, protocol: number, partial: boolean): boolean {
    const { view } = this.#memory;
    return (
      headerValid(view, at, ipLength) && (partial || checksumValid(view, at, at + ipLength, at + length, protocol))
    );
  }

  #follows4(first: number, at: number, pieces: number): boolean {
    const { view } = this.#memory;
    return (
      view.getUint16(at) === view.getUint16(first) &&
      view.getUint16(at + Ip4.id) === ((view.getUint16(first + Ip4.id) + pieces) & 0xffff) &&
      view.getUint16(at + Ip4.fragment) === view.getUint16(first + Ip4.fragment) &&
      view.getUint16(at + Ip4.ttl) === view.getUint16(first + Ip4.ttl) &&
      view.getInt32(at + Ip4.source) === view.getInt32(first + Ip4.source) &&
      view.getInt32(at + Ip4.destination) === view.getInt32(first + Ip4.destination)
    );
  }

  #follows6(first: number, at: number): boolean {
    const { view } = this.#memory;
    if (view.getInt32(at) !== view.getInt32(first)) return false;
    if (view.getUint16(at + Ip6.next) !== view.getUint16(first + Ip6.next)) return false;
    for (let i = Ip6.source; i < Ip6.length; i += 4)
      if (view.getInt32(at + i) !== view.getInt32(first + i)) return false;
    return true;
  }

  #append(group: number, at: number, length: number, headerLength: number, tcp: boolean): void {
    const { view, address } = this.#memory;
    const list = group * MAX_PIECES * IOVEC;
    if (this.#pieces[group] === 1) {
      const start = this.#start[group]! - VIRTIO_HEADER;
      setVector(this.#vectors, list, address + start, VIRTIO_HEADER + this.#firstLength[group]!);
    }
    const payload = length - headerLength;
    setVector(this.#vectors, list + this.#pieces[group]!++ * IOVEC, address + at + headerLength, payload);
    this.#length[group]! += payload;
    const flags = tcp ? view.getUint8(at + this.#ipLength[group]! + Tcp.flags) : 0;
    if ((flags & TcpFlag.psh) !== 0) this.#pushed[group] = 1;
    // A shorter piece or a push ends the series.
    if (payload < this.#size[group]! || (flags & TcpFlag.psh) !== 0) this.#size[group]! *= -1;
  }

  /** Writes everything to the device, in order. */
  flush(): void {
    for (let group = 0; group < this.#groups; group++) {
      if (this.#pieces[group] === 1) this.#writeSingle(group, this.#start[group]!, this.#firstLength[group]!);
      else this.#writeMerged(group);
    }
    this.#groups = 0;
    this.#flows.fill(NONE);
  }

  #writeSingle(group: number, at: number, length: number): boolean {
    const { view, address } = this.#memory;
    const header = at - VIRTIO_HEADER;
    for (let i = 0; i < VIRTIO_HEADER; i += 2) view.setUint16(header + i, 0);
    if (this.#partial[group] === 1) this.#writeChecksumPlace(header, at, this.#ipLength[group]!);
    if (this.#device.write(address + header, VIRTIO_HEADER + length) !== 0) {
      this.#onFailed(this.#owner[group]!);
      return false;
    }
    this.packets++;
    this.octets += length;
    return true;
  }

  #writeChecksumPlace(header: number, at: number, ipLength: number): void {
    const { view } = this.#memory;
    view.setUint8(header, VirtioFlag.needsChecksum);
    view.setUint16(header + 6, ipLength, true);
    view.setUint16(header + 8, checksumOffset(protocolOf(view, at)), true);
  }

  #writeMerged(group: number): void {
    const { view } = this.#memory;
    const at = this.#start[group]!;
    const ipLength = this.#ipLength[group]!;
    const tcp = protocolOf(view, at) === Protocol.tcp;
    const ip6 = isIp6(view, at);
    const header = at - VIRTIO_HEADER;
    this.#writeChecksumPlace(header, at, ipLength);
    view.setUint8(header + 1, tcp ? (ip6 ? GsoType.tcp6 : GsoType.tcp4) : GsoType.udp);
    view.setUint16(header + 2, this.#headerLength[group]!, true);
    view.setUint16(header + 4, Math.abs(this.#size[group]!), true);
    this.#writeLengths(group, this.#length[group]!);
    const flags = at + ipLength + Tcp.flags;
    if (this.#pushed[group] === 1) view.setUint8(flags, view.getUint8(flags) | TcpFlag.psh);
    const vectors = this.#vectors.address + group * MAX_PIECES * IOVEC;
    if (this.#device.writeVectors(vectors, this.#pieces[group]!) === 0) {
      this.packets += this.#pieces[group]!;
      this.octets += this.#length[group]!;
      return;
    }
    if (this.#pushed[group] === 1) view.setUint8(flags, view.getUint8(flags) & ~TcpFlag.psh);
    // The device refuses merged packets of this kind if it takes the same ones by themselves.
    if (!this.#writePieces(group)) return;
    if (tcp) this.tcp = false;
    else this.udp = false;
  }

  /** Lengths and checksums of the first packet's headers for `length` octets in all; the transport's is left to the device. */
  #writeLengths(group: number, length: number): void {
    const { view } = this.#memory;
    const at = this.#start[group]!;
    const ipLength = this.#ipLength[group]!;
    const transport = at + ipLength;
    const protocol = protocolOf(view, at);
    if (isIp6(view, at)) {
      view.setUint16(at + Ip6.payloadLength, length - ipLength);
    } else {
      view.setUint16(at + Ip4.totalLength, length);
      writeIp4Checksum(view, at, ipLength);
    }
    if (protocol === Protocol.udp) view.setUint16(transport + Udp.length, length - ipLength);
    view.setUint16(transport + checksumOffset(protocol), foldSum(pseudoSum(view, at, protocol) + length - ipLength));
  }

  /** The group's packets one by one; whether the device took all. */
  #writePieces(group: number): boolean {
    const { view } = this.#vectors;
    const partial = this.#partial[group]!;
    // The first one's checksum was overwritten for the merged packet, so now the device has to compute it.
    this.#writeLengths(group, this.#firstLength[group]!);
    this.#partial[group] = 1;
    let done = this.#writeSingle(group, this.#start[group]!, this.#firstLength[group]!);
    this.#partial[group] = partial;
    const headerLength = this.#headerLength[group]!;
    for (let piece = 1; piece < this.#pieces[group]!; piece++) {
      const vector = (group * MAX_PIECES + piece) * IOVEC;
      const payload = vectorAddress(view, vector) - this.#memory.address;
      const length = headerLength + vectorLength(view, vector);
      done = this.#writeSingle(group, payload - headerLength, length) && done;
    }
    return done;
  }
}

/** ACK and maybe PSH or ECE: what all pieces of one segment have. */
function hasPlainFlags(view: DataView, transport: number): boolean {
  const flags = view.getUint8(transport + Tcp.flags);
  return (flags & ~(TcpFlag.psh | TcpFlag.ece)) === TcpFlag.ack;
}

/** A UDP header whose length is right and which has a checksum: without one, pieces made by the kernel would get one. */
function isCounted(view: DataView, transport: number, length: number): boolean {
  return view.getUint16(transport + Udp.length) === length && view.getUint16(transport + Udp.checksum) !== 0;
}
