/** Everything that a TUN may hand out between two virtual hosts, in any order: what a data path has to carry unchanged. */

import fc from '../support/property.ts';
import { bare, buildPacket, type Flow, flowArbitrary, internetChecksum, superPacket, virtioHeader } from './packets.ts';

/** From the header without payload to beyond what a datagram holds, with what networks have in use in between. */
const payloadLength = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 1460 }) },
  { weight: 3, arbitrary: fc.constantFrom(0, 1, 2, 7, 8, 536, 1340, 1360, 1400, 8_940) },
  { weight: 1, arbitrary: fc.constantFrom(16_000, 60_000, 64_890, 65_400) },
);
const tcpFlags = fc.constantFrom(0x10, 0x18, 0x02, 0x12, 0x11, 0x04, 0x14, 0x30, 0x50, 0x90, 0xd0, 0xc2, 0x00, 0xff);

function payloadOf(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Math.imul(i + 1, seed | 1) >>> 13);
}

const largest = (flow: Flow): number => 65_535 - 20 - (flow.udp ? 8 : 20 + flow.options.length);

/** A whole TCP or UDP packet, its checksum complete, left to the device (also where it comes out as zero), absent or wrong. */
const ordinary = fc
  .record({
    flow: flowArbitrary,
    flags: tcpFlags,
    length: payloadLength,
    seed: fc.integer(),
    id: fc.nat(65_535),
    sequence: fc.nat(0xffffffff),
    checksum: fc.constantFrom('complete', 'complete', 'partial', 'partial', 'zero', 'none', 'wrong'),
  })
  .map(({ flow, flags, length, seed, checksum, ...numbers }) => {
    const payload = payloadOf(Math.min(length, largest(flow)), seed);
    const piece = { ...numbers, flags, payload };
    const field = (flow.v6 ? 40 : 20) + (flow.udp ? 6 : 16);
    if (checksum === 'zero' && payload.length >= 2) {
      const last = payload.length - (payload.length % 2);
      payload.fill(0, last - 2, last);
      payload.set(buildPacket(flow, piece).slice(field, field + 2), last - 2);
    }
    if (checksum === 'partial' || checksum === 'zero') {
      return Uint8Array.from([...virtioHeader(flow, 0), ...buildPacket(flow, piece, true)]);
    }
    const packet = buildPacket(flow, piece);
    if (checksum === 'none' && flow.udp) packet.fill(0, field, field + 2);
    if (checksum === 'wrong') packet[field + 1]! ^= 0x41;
    return bare(packet);
  });

/** What one send of an application becomes with segmentation offload. */
const offloaded = fc
  .record({
    flow: flowArbitrary,
    size: fc.integer({ min: 8, max: 8_940 }),
    count: fc.integer({ min: 1, max: 64 }),
    tail: fc.nat(7),
    flags: fc.constantFrom(0x10, 0x18, 0x11, 0x90, 0x50, 0xd9),
    seed: fc.integer(),
    id: fc.nat(65_535),
    sequence: fc.nat(0xffffffff),
  })
  .map(({ flow, size, count, tail, seed, ...start }) =>
    superPacket(flow, payloadOf(Math.min(size * count - tail, 60_000), seed), size, start),
  );

type Shape = (packet: Uint8Array, flow: Flow) => Uint8Array;

/** What may happen to every packet of a flow: IPv4 options and fragments, IPv6 extension headers, another protocol. */
const shapes: readonly Shape[] = [
  ...new Array<Shape>(6).fill((packet) => packet),
  (packet, flow) => shaped(packet, flow, { options: [1, 1, 1, 0], extension: [0, [0, 1, 4, 0, 0, 0, 0]] }),
  (packet, flow) => shaped(packet, flow, { fragment: 0x2000, extension: [44, [0, 0, 1, 0, 0, 0, 7]] }),
  (packet, flow) => shaped(packet, flow, { fragment: 0x2010, extension: [44, [0, 1, 1, 0, 0, 0, 7]] }),
  (packet, flow) => shaped(packet, flow, { fragment: 0x0020, extension: [44, [0, 2, 0, 0, 0, 0, 7]] }),
  (packet, flow) => shaped(packet, flow, { protocol: flow.v6 ? 58 : 1 }),
  (packet, flow) => shaped(packet, flow, { protocol: 253 }),
  (packet, { v6 }) => packet.with(v6 ? 5 : 3, 3),
  (packet, { v6 }) => (v6 ? ip6(0, 59, []) : ip4(0, 0, packet[9]!, [], [])),
];

type Change = { options?: number[]; fragment?: number; extension?: [number, number[]]; protocol?: number };

function shaped(packet: Uint8Array, { v6, udp, tos }: Flow, change: Change): Uint8Array {
  const payload = [...packet.slice(v6 ? 40 : 20)];
  const protocol = change.protocol ?? (udp ? 17 : 6);
  if (!v6) return ip4(tos, change.fragment ?? 0, protocol, change.options ?? [], payload);
  const [next, rest] = change.extension ?? [protocol, null];
  return ip6(tos, next, rest === null ? payload : [protocol, ...rest, ...payload]);
}

/** Single packets of one flow, as a device without offload hands them out, with a gap and a wrong octet: what receivers like to merge. */
const runs = fc
  .record({
    flow: flowArbitrary,
    shape: fc.constantFrom(...shapes),
    size: fc.integer({ min: 1, max: 1360 }),
    count: fc.integer({ min: 1, max: 20 }),
    seed: fc.integer(),
    id: fc.nat(65_535),
    sequence: fc.nat(0xffffffff),
    missing: fc.nat(30),
    damaged: fc.nat(30),
  })
  .map(({ flow, shape, size, count, seed, id, sequence, missing, damaged }) =>
    Array.from({ length: count }, (_, i) => {
      const numbers = { id: (id + i) & 0xffff, sequence: (sequence + i * size) >>> 0, flags: 0x10 };
      const packet = buildPacket(flow, { ...numbers, payload: payloadOf(size, seed + i) });
      if (i === damaged) packet[packet.length - 1]! ^= 0x10;
      return bare(shape(packet, flow));
    }).filter((_, i) => i !== missing),
  );

function ip4(tos: number, fragment: number, protocol: number, options: number[], payload: number[]): Uint8Array {
  const header = 20 + options.length;
  const length = header + payload.length;
  const start = [
    0x40 | (header / 4),
    tos,
    length >> 8,
    length & 255,
    0,
    9,
    fragment >> 8,
    fragment & 255,
    64,
    protocol,
  ];
  const packet = Uint8Array.from([...start, 0, 0, 100, 80, 0, 1, 100, 80, 0, 2, ...options, ...payload]);
  const checksum = internetChecksum(packet.slice(0, header));
  return packet.with(10, checksum >> 8).with(11, checksum & 255);
}

function ip6(tos: number, next: number, payload: number[]): Uint8Array {
  const host = (number: number): number[] => [0xfd, 0, 0, 0x80, ...new Array<number>(11).fill(0), number];
  const start = [0x60 | (tos >> 4), (tos & 15) << 4, 0, 0, payload.length >> 8, payload.length & 255, next, 64];
  return Uint8Array.from([...start, ...host(1), ...host(2), ...payload]);
}

/** Reads of a TUN, in their order. */
export const mixedTraffic: fc.Arbitrary<Uint8Array[]> = fc
  .array(
    fc.oneof(
      { weight: 4, arbitrary: ordinary.map((read) => [read]) },
      { weight: 3, arbitrary: offloaded.map((read) => [read]) },
      { weight: 5, arbitrary: runs },
    ),
    { minLength: 1, maxLength: 25 },
  )
  .map((groups) => groups.flat());
