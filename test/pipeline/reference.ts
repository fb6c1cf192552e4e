/**
 * The data path once more, one packet at a time and written to be read: the message table's codec, the readable cipher
 * suites, packets cut and summed octet by octet. It shares with the fast one what the protocol says, and no code.
 */

import { readableAead } from '../../src/crypto/readable.ts';
import { layout, readBody, readEnvelope } from '../../src/proto/codec.ts';
import type { Suite } from '../../src/proto/constants.ts';
import { internetChecksum } from './packets.ts';

const VIRTIO = 10;
const MAX_DATAGRAM = 65_000;

export type ReferenceOptions = {
  readonly suite: Suite;
  readonly pathId: string;
  readonly epoch: number;
  readonly key: Uint8Array;
  /** By agreement of both ends. */
  readonly partialChecksum: boolean;
  readonly ecn: boolean;
};

type Outer = { readonly datagram: Uint8Array; readonly tos: number };
type Inner = { readonly packet: Uint8Array; readonly partial: boolean };

const u16 = (octets: Uint8Array, at: number): number => octets[at]! * 256 + octets[at + 1]!;
const put16 = (octets: Uint8Array, at: number, value: number): void =>
  octets.set([(value >> 8) & 255, value & 255], at);
const isIp6 = (packet: Uint8Array): boolean => packet[0]! >> 4 === 6;

/** What a TUN with offloads hands out as one read stands for these packets; null if header and packet do not fit together. */
export function packetsOf(read: Uint8Array, leavePartial = false): Inner[] | null {
  const header = new DataView(read.buffer, read.byteOffset, VIRTIO);
  const packet = read.slice(VIRTIO);
  const lacksChecksum = (header.getUint8(0) & 1) !== 0;
  const kind = header.getUint8(1) & 0x7f;
  const size = header.getUint16(4, true);
  const transport = header.getUint16(6, true);
  const field = header.getUint16(8, true);
  if (lacksChecksum && transport + field + 2 > packet.length) return null;
  const tcp = field === 16;
  const pieces = kind === 0 ? [packet] : cut(packet, { lacksChecksum, tcp: kind !== 5, size, transport, field });
  return (
    pieces?.map((piece) => {
      const partial = leavePartial && lacksChecksum && isPlain(piece, transport, tcp ? 6 : 17);
      if (lacksChecksum && !partial) complete(piece, transport, tcp);
      return { packet: piece, partial };
    }) ?? null
  );
}

type Cut = { lacksChecksum: boolean; tcp: boolean; size: number; transport: number; field: number };

function cut(packet: Uint8Array, { lacksChecksum, tcp, size, transport, field }: Cut): Uint8Array[] | null {
  if (!lacksChecksum || size === 0 || tcp !== (field === 16)) return null;
  if (transport + (tcp ? 20 : 8) > packet.length) return null;
  const headers = transport + (tcp ? (packet[transport + 12]! >> 4) * 4 : 8);
  if (headers > packet.length) return null;
  const count = Math.max(1, Math.ceil((packet.length - headers) / size));
  return Array.from({ length: count }, (_, i) => {
    const payload = packet.slice(headers + i * size, headers + (i + 1) * size);
    const piece = Uint8Array.from([...packet.slice(0, headers), ...payload]);
    if (isIp6(piece)) put16(piece, 4, piece.length - 40);
    else {
      put16(piece, 2, piece.length);
      put16(piece, 4, u16(packet, 4) + i);
      sumHeader(piece);
    }
    if (tcp) {
      new DataView(piece.buffer).setUint32(
        transport + 4,
        new DataView(packet.buffer).getUint32(transport + 4) + i * size,
      );
      // FIN and PSH belong to the last piece, CWR to the first.
      if (i < count - 1) piece[transport + 13]! &= ~(1 | 8);
      if (i > 0) piece[transport + 13]! &= ~128;
    } else put16(piece, transport + 4, piece.length - transport);
    // The field holds the sum over addresses, protocol and length: as kernels do, only the length in it is exchanged.
    const sum = u16(packet, transport + field) + 0xffff - (packet.length - transport) + piece.length - transport;
    put16(piece, transport + field, sum > 0xffff ? (sum & 0xffff) + (sum >> 16) : sum);
    return piece;
  });
}

function sumHeader(packet: Uint8Array): void {
  put16(packet, 10, 0);
  put16(packet, 10, internetChecksum(packet.slice(0, (packet[0]! & 15) * 4)));
}

/** Replaces the pseudo-header's sum in the checksum field by the checksum. */
function complete(packet: Uint8Array, transport: number, tcp: boolean): void {
  const checksum = internetChecksum(packet.slice(transport));
  put16(packet, transport + (tcp ? 16 : 6), !tcp && checksum === 0 ? 0xffff : checksum);
}

/** Whether the transport header stands right behind the IP header, which then names it. */
function isPlain(packet: Uint8Array, transport: number, protocol: number): boolean {
  return isIp6(packet) ? transport === 40 && packet[6] === protocol : transport === 20 && packet[9] === protocol;
}

export function isWhole(packet: Uint8Array): boolean {
  if (packet.length < 20) return false;
  if (isIp6(packet)) return packet.length >= 40 && u16(packet, 4) === packet.length - 40;
  const header = (packet[0]! & 15) * 4;
  return packet[0]! >> 4 === 4 && header >= 20 && header <= packet.length && u16(packet, 2) === packet.length;
}

const trafficClass = (packet: Uint8Array): number => (isIp6(packet) ? (u16(packet, 0) >> 4) & 255 : packet[1]!);

/** From the TUN to the network. */
export class ReferenceSender {
  readonly #options: ReferenceOptions;
  #sequence = 0;

  constructor(options: ReferenceOptions) {
    this.#options = options;
  }

  /** The datagrams of one read; a word where it is dropped. */
  send(read: Uint8Array): Outer[] | string {
    const { suite, pathId, epoch, key, partialChecksum, ecn } = this.#options;
    const packets = isWhole(read.subarray(VIRTIO)) ? packetsOf(read, partialChecksum) : null;
    if (packets === null) return 'inner-malformed';
    const aead = readableAead(suite, key);
    const room = MAX_DATAGRAM - 32;
    if (packets.some(({ packet }) => aead.sealedSize(4 + packet.length) > room)) return 'inner-too-large';
    return packets.map(({ packet, partial }) => {
      const body = { payload: packet, flags: partial ? 1 : 0 };
      const draft = { type: 'capsule', id: pathId, transactionId: 0, epoch, body } as const;
      const [laid] = layout(draft, aead, () => ++this.#sequence, MAX_DATAGRAM);
      const { bytes, bodyStart, plainLength, sequence } = laid!;
      aead.seal(bytes, 0, bodyStart, plainLength, sequence);
      return { datagram: bytes, tos: ecn ? trafficClass(packet) & 3 : 0 };
    });
  }
}

/** From the network to the TUN. */
export class ReferenceReceiver {
  readonly #options: ReferenceOptions;

  constructor(options: ReferenceOptions) {
    this.#options = options;
  }

  /** The inner packet, its checksums complete; a word where the datagram is dropped. */
  receive({ datagram, tos }: Outer): Uint8Array | string {
    const { suite, key } = this.#options;
    const aead = readableAead(suite, key);
    const envelope = readEnvelope(datagram);
    if (typeof envelope === 'string') return envelope;
    const opened = datagram.slice();
    const { bodyStart, sequence } = envelope;
    const length = aead.open(opened, 0, bodyStart, opened.length, sequence);
    if (length < 0) return 'tag';
    const message = readBody(envelope, opened.subarray(bodyStart + aead.lead, bodyStart + aead.lead + length));
    if (typeof message === 'string') return message;
    if (message.type !== 'capsule') return 'unexpected';
    const packet = message.body.payload.slice();
    if (!isWhole(packet)) return 'inner-malformed';
    const mark = marks[trafficClass(packet) & 3]![tos & 3]!;
    if (mark < 0) return 'ecn-dropped';
    if (mark !== (trafficClass(packet) & 3)) setMark(packet, mark);
    if ((message.body.flags & 1) !== 0) {
      const tcp = packet[isIp6(packet) ? 6 : 9] === 6;
      complete(packet, isIp6(packet) ? 40 : 20, tcp);
    }
    return packet;
  }
}

/** RFC 6040 figure 4, by inner and outer field, in the order Not-ECT, ECT(1), ECT(0), CE; -1 = dropped. */
const marks = [
  [0, 0, 0, -1],
  [1, 1, 1, 3],
  [2, 1, 2, 3],
  [3, 3, 3, 3],
] as const;

function setMark(packet: Uint8Array, mark: number): void {
  if (isIp6(packet)) packet[1] = (packet[1]! & 0xcf) | (mark << 4);
  else {
    packet[1] = (packet[1]! & 0xfc) | mark;
    sumHeader(packet);
  }
}
