/** Packets of flows, built from nothing by slow and readable code that shares none with the data path. */

import { Splitter } from '../../src/pipeline/segment.ts';
import fc from '../support/property.ts';

export type Flow = {
  readonly v6: boolean;
  readonly udp: boolean;
  readonly source: number;
  readonly destination: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly tos: number;
  readonly ttl: number;
  readonly dontFragment: boolean;
  readonly window: number;
  readonly acknowledgment: number;
  /** TCP options, a multiple of 4 octets. */
  readonly options: Uint8Array;
};

/** One packet's own part of a flow. */
export type Piece = {
  readonly id: number;
  readonly sequence: number;
  readonly flags: number;
  readonly payload: Uint8Array;
};

export const ACK = 0x10;
export const PSH = 0x08;
export const FIN = 0x01;
export const CWR = 0x80;
export const ECE = 0x40;

export const ordinaryFlow: Flow = {
  v6: false,
  udp: false,
  source: 1,
  destination: 2,
  sourcePort: 40000,
  destinationPort: 80,
  tos: 0,
  ttl: 64,
  dontFragment: true,
  window: 500,
  acknowledgment: 7,
  options: new Uint8Array(0),
};

export function internetChecksum(octets: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < octets.length; i += 2) sum += octets[i]! * 256 + (octets[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum % 65536) + Math.floor(sum / 65536);
  return 0xffff - sum;
}

function u16(value: number): number[] {
  return [(value >> 8) & 255, value & 255];
}

function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value & 0xffff)];
}

function addressOctets(v6: boolean, host: number): number[] {
  return v6 ? [0xfd, 0, 0, 0x80, ...new Array<number>(11).fill(0), host] : [100, 80, 0, host];
}

/** `partial`: the transport checksum field holds the folded pseudo-header sum only. */
export function buildPacket(flow: Flow, piece: Piece, partial = false): Uint8Array {
  const transport = flow.udp ? udpSegment(flow, piece) : tcpSegment(flow, piece);
  const from = addressOctets(flow.v6, flow.source);
  const to = addressOctets(flow.v6, flow.destination);
  const protocol = flow.udp ? 17 : 6;
  const pseudo = [...from, ...to, 0, protocol, ...u16(transport.length)];
  const field = flow.udp ? 6 : 16;
  const checksum = partial ? 0xffff - internetChecksum(pseudo) : internetChecksum([...pseudo, ...transport]);
  const sent = !partial && flow.udp && checksum === 0 ? 0xffff : checksum;
  transport.splice(field, 2, ...u16(sent));
  return Uint8Array.from([...ipHeader(flow, piece, protocol, transport.length, from, to), ...transport]);
}

function ipHeader(flow: Flow, piece: Piece, protocol: number, length: number, from: number[], to: number[]): number[] {
  if (flow.v6) {
    return [0x60 | (flow.tos >> 4), (flow.tos & 15) << 4, 0, 0, ...u16(length), protocol, flow.ttl, ...from, ...to];
  }
  const header = [
    0x45,
    flow.tos,
    ...u16(20 + length),
    ...u16(piece.id),
    flow.dontFragment ? 0x40 : 0,
    0,
    flow.ttl,
    protocol,
    0,
    0,
    ...from,
    ...to,
  ];
  header.splice(10, 2, ...u16(internetChecksum(header)));
  return header;
}

function tcpSegment(flow: Flow, piece: Piece): number[] {
  return [
    ...u16(flow.sourcePort),
    ...u16(flow.destinationPort),
    ...u32(piece.sequence),
    ...u32(flow.acknowledgment),
    ((20 + flow.options.length) / 4) << 4,
    piece.flags,
    ...u16(flow.window),
    0,
    0,
    0,
    0,
    ...flow.options,
    ...piece.payload,
  ];
}

function udpSegment(flow: Flow, piece: Piece): number[] {
  return [
    ...u16(flow.sourcePort),
    ...u16(flow.destinationPort),
    ...u16(8 + piece.payload.length),
    0,
    0,
    ...piece.payload,
  ];
}

/** The packets that a kernel makes of `payload` sent with segmentation offload. */
export function pieces(
  flow: Flow,
  payload: Uint8Array,
  size: number,
  start: { id: number; sequence: number; flags: number },
): Piece[] {
  const list: Piece[] = [];
  for (let at = 0, i = 0; at < payload.length; at += size, i++) {
    const last = at + size >= payload.length;
    const flags = start.flags & ~(last ? 0 : PSH | FIN) & ~(i === 0 ? 0 : CWR);
    list.push({
      id: flow.v6 ? 0 : (start.id + i) & 0xffff,
      sequence: (start.sequence + at) >>> 0,
      flags: flow.udp ? 0 : flags,
      payload: payload.slice(at, at + size),
    });
  }
  return list;
}

/** The virtio-net header of a packet to be split into payloads of `size`, or 0 for one that only lacks its checksum. */
export function virtioHeader(flow: Flow, size: number): Uint8Array {
  const header = new Uint8Array(10);
  const view = new DataView(header.buffer);
  const ipLength = flow.v6 ? 40 : 20;
  header[0] = 1;
  if (size > 0) header[1] = flow.udp ? 5 : flow.v6 ? 4 : 1;
  view.setUint16(2, size > 0 ? ipLength + (flow.udp ? 8 : 20 + flow.options.length) : 0, true);
  view.setUint16(4, size, true);
  view.setUint16(6, ipLength, true);
  view.setUint16(8, flow.udp ? 6 : 16, true);
  return header;
}

/** What a TUN with offload hands out for a whole send. */
export function superPacket(
  flow: Flow,
  payload: Uint8Array,
  size: number,
  start: { id: number; sequence: number; flags: number },
): Uint8Array {
  const whole = buildPacket(flow, { ...start, flags: flow.udp ? 0 : start.flags, payload }, true);
  return Uint8Array.from([...virtioHeader(flow, size), ...whole]);
}

export function bare(packet: Uint8Array): Uint8Array {
  return Uint8Array.from([...new Uint8Array(10), ...packet]);
}

const AT = 64;

/** What the splitter makes of a packet with its virtio-net header; null if it refuses it. */
export function split(read: Uint8Array, leavePartial = false): { packet: Uint8Array; partial: boolean }[] | null {
  const buffer = new Uint8Array(AT + read.length);
  buffer.set(read, AT);
  const splitter = new Splitter(new DataView(buffer.buffer));
  if (!splitter.begin(AT, AT + read.length, leavePartial)) return null;
  const packets = [];
  for (let at = splitter.next(); at >= 0; at = splitter.next()) {
    packets.push({ packet: buffer.slice(at, at + splitter.length), partial: splitter.partial });
    // The packet's owner may use the octets in front of it.
    buffer.fill(0xaa, at - 4, at);
  }
  return packets;
}

export const flowArbitrary: fc.Arbitrary<Flow> = fc.record({
  v6: fc.boolean(),
  udp: fc.boolean(),
  source: fc.constant(1),
  destination: fc.constant(2),
  sourcePort: fc.integer({ min: 1, max: 65535 }),
  destinationPort: fc.integer({ min: 1, max: 65535 }),
  tos: fc.integer({ min: 0, max: 255 }),
  ttl: fc.integer({ min: 1, max: 255 }),
  dontFragment: fc.boolean(),
  window: fc.integer({ min: 0, max: 65535 }),
  acknowledgment: fc.integer({ min: 0, max: 0xffffffff }),
  options: fc.integer({ min: 0, max: 10 }).map((words) => new Uint8Array(4 * words).fill(1)),
});

/** A payload that fills at most 64 packets of `size`, and its first header's numbers. */
export const sendArbitrary = fc
  .record({
    size: fc.integer({ min: 8, max: 1348 }),
    count: fc.integer({ min: 1, max: 40 }),
    tail: fc.integer({ min: 0, max: 7 }),
    seed: fc.integer(),
    id: fc.integer({ min: 0, max: 65535 }),
    sequence: fc.integer({ min: 0, max: 0xffffffff }),
    pushed: fc.boolean(),
  })
  .map(({ size, count, tail, seed, id, sequence, pushed }) => {
    const length = Math.min(size * count - tail, 60_000);
    const payload = Uint8Array.from({ length }, (_, i) => Math.imul(i + 1, seed | 1) >>> 11);
    return { size, payload, start: { id, sequence, flags: ACK | (pushed ? PSH : 0) } };
  });
