/** Packets larger than their path carries: cut, refused with the right message, or carried in parts. */

import { describe, expect, it } from 'vitest';
import { checksumValid, isWholePacket, Protocol } from '../../src/net/packet.ts';
import { Assembly } from '../../src/pipeline/assembly.ts';
import { VIRTIO_HEADER } from '../../src/sys/tun.ts';
import fc from '../support/property.ts';
import { ACK, bare, buildPacket, type Flow, flowArbitrary, ordinaryFlow, split, superPacket } from './packets.ts';
import { type ConnectedPair, connectedPair, datagrams, PATH, type PairOptions, single } from './pair.ts';

const MTU = 1_200;
const start = { id: 1, sequence: 1000, flags: ACK };
const udp: Flow = { ...ordinaryFlow, udp: true, dontFragment: false };

function narrowPair(options: PairOptions = {}, mtu = MTU): ConnectedPair {
  const pair = connectedPair({ parts: true, ...options });
  for (const end of [pair.a, pair.b]) end.command({ do: 'setMtu', pathId: PATH, mtu });
  return pair;
}

function packetOf(flow: Flow, length: number): Uint8Array {
  const headers = (flow.v6 ? 40 : 20) + (flow.udp ? 8 : 20 + flow.options.length);
  const payload = Uint8Array.from({ length: length - headers }, (_, i) => i * 7);
  return buildPacket(flow, { ...start, flags: flow.udp ? 0 : ACK, payload });
}

const inner = (written: Uint8Array[]): Uint8Array[] =>
  written.flatMap((packet) => split(packet)!.map((made) => made.packet));

describe('a packet larger than its path carries', () => {
  it('is cut where it is part of a TCP flow that the device left to us, and nothing of it is lost', () => {
    fc.assert(
      fc.property(
        flowArbitrary,
        fc.uint8Array({ minLength: 1, maxLength: 20_000 }),
        fc.integer({ min: 1_150, max: 1_400 }),
        fc.integer({ min: 1_180, max: 1_400 }),
        fc.boolean(),
        (any, payload, size, mtu, partialChecksum) => {
          const flow = { ...any, udp: false };
          const { a, b } = narrowPair({ partialChecksum }, mtu);
          const runs = a.send(superPacket(flow, payload, size, start));
          const sizes = datagrams(runs).map((datagram) => datagram.length - 52);
          expect(Math.max(...sizes)).toBeLessThanOrEqual(mtu);
          const headers = (flow.v6 ? 40 : 20) + 20 + flow.options.length;
          const packets = inner(b.receive(runs));
          const received = packets.flatMap((packet) => [...packet.subarray(headers)]);
          expect(Uint8Array.from(received)).toEqual(payload);
          for (const packet of packets) {
            const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
            expect(isWholePacket(view, 0, packet.length)).toBe(true);
            expect(checksumValid(view, 0, flow.v6 ? 40 : 20, packet.length, Protocol.tcp)).toBe(true);
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it.each([
    ['IPv4 that must not be fragmented', { ...udp, dontFragment: true }, 1_300, [3, 4], 20, 26, MTU],
    ['IPv6 beyond its minimum', { ...udp, v6: true }, 1_300, [2, 0], 40, 46, 1_280],
  ] as const)(
    'is refused, and its sender told from the other end: %s',
    (_, flow, length, [type, code], at, mtuAt, mtu) => {
      const { a } = narrowPair();
      const packet = packetOf(flow, length);
      expect(a.send(bare(packet))).toEqual([]);
      const [written, ...more] = a.device.written.splice(0);
      expect(more).toEqual([]);
      const error = written!.subarray(VIRTIO_HEADER);
      expect([error[at], error[at + 1]]).toEqual([type, code]);
      expect(new DataView(error.buffer, error.byteOffset).getUint16(mtuAt)).toBe(mtu);
      const [source, destination] = flow.v6 ? [8, 24] : [12, 16];
      const size = flow.v6 ? 16 : 4;
      const address = (octets: Uint8Array, from: number) => octets.slice(from, from + size).toHex();
      expect(address(error, source)).toBe(address(packet, destination));
      expect(address(error, destination)).toBe(address(packet, source));
      expect(a.drops).toEqual({ 'inner-too-large': 1 });
      expect(a.traffic).toMatchObject({ txPackets: 0, txDropped: 1 });
    },
  );

  it('is refused so often that a flood of them does not come back as one', () => {
    const { a } = narrowPair();
    const packet = bare(packetOf({ ...udp, dontFragment: true }, 1_300));
    a.send(...Array.from({ length: 500 }, () => packet));
    expect(a.device.written.splice(0).length).toBe(50);
    a.now += 100;
    a.send(...Array.from({ length: 500 }, () => packet));
    expect(a.device.written.splice(0).length).toBe(10);
    expect(a.drops['inner-too-large']).toBe(1_000);
  });

  it('goes in parts where nobody may be told: IPv4 that may be fragmented, IPv6 at its minimum', () => {
    for (const suite of [2, 3]) {
      for (const [flow, length] of [
        [udp, 1_201],
        [udp, 1_400],
        [{ ...ordinaryFlow, dontFragment: false }, 1_400],
        [{ ...udp, v6: true }, 1_280],
        [udp, 9_000],
      ] as const) {
        const { a, b } = narrowPair({ suite });
        const packet = packetOf(flow, length);
        const sent = datagrams(a.send(bare(packet)));
        expect(sent.length).toBe(Math.ceil(length / MTU));
        expect(Math.max(...sent.map((datagram) => datagram.length - 52))).toBe(MTU);
        expect(inner(b.receive(sent.map(single)))).toEqual([packet]);
        expect(a.traffic).toMatchObject({ txPackets: 1, txBytes: length });
        expect(b.traffic).toMatchObject({ rxPackets: 1, rxBytes: length });
        expect([a.drops, b.drops]).toEqual([{}, {}]);
      }
    }
  });

  it('is put together whatever the order and repetition of its parts, and never from parts of two', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1_201, max: 9_000 }), fc.infiniteStream(fc.nat()), (length, order) => {
        const { a, b } = narrowPair();
        const packet = packetOf(udp, length);
        const sent = datagrams(a.send(bare(packet)));
        const mixed = [...sent, sent[0]!].sort(() => (order.next().value % 3) - 1);
        expect(inner(b.receive(mixed.map(single)))).toEqual([packet]);
        const one = datagrams(a.send(bare(packetOf(udp, length))));
        const other = datagrams(a.send(bare(packetOf({ ...udp, tos: 4 }, length))));
        expect(b.receive([...one.slice(1), ...other.slice(0, 1)].map(single))).toEqual([]);
        expect(inner(b.receive(other.slice(1).map(single)))).toEqual([packetOf({ ...udp, tos: 4 }, length)]);
      }),
      { numRuns: 30 },
    );
  });

  it('is dropped where parts were not agreed upon', () => {
    const { a } = narrowPair({ parts: false });
    expect(a.send(bare(packetOf(udp, 1_300)))).toEqual([]);
    expect(a.drops).toEqual({ 'inner-too-large': 1 });
    expect(a.device.written).toEqual([]);
  });

  it('leaves those before and behind it in order', () => {
    const { a, b } = narrowPair();
    const packets = [100, 1_300, 200, 1_250, 300].map((length) => packetOf({ ...udp, tos: length & 0xfc }, length));
    expect(inner(b.receive(a.send(...packets.map(bare))))).toEqual(packets);
  });
});

describe('a Size Probe', () => {
  const probe = (id: string, length: number, type = 17): Uint8Array => {
    const octets = new Uint8Array(length);
    octets.set([1, 0, type, 0], 4);
    new DataView(octets.buffer).setUint16(12, length);
    octets.set(Uint8Array.fromHex(id), 16);
    return octets;
  };

  it.each([
    ['of a path', probe(PATH, 9_100), true],
    ['beyond all sizes', probe(PATH, 9_101), false],
    ['of no path', probe('f'.repeat(32), 1_233), false],
    ['of no path, but short', probe('f'.repeat(32), 1_232), true],
    ['that is something else', probe(PATH, 1_233, 6), false],
  ])('%s is handed over: %j', (_, datagram, handedOver) => {
    const { b } = narrowPair();
    b.receive([single(datagram)]);
    expect(b.events.filter(({ on }) => on === 'datagram').length).toBe(handedOver ? 1 : 0);
    expect(b.drops).toEqual(handedOver ? {} : { length: 1 });
  });
});

describe('parts', () => {
  it('never become anything that is too long, whatever comes', () => {
    const part = fc.record({
      sequence: fc.integer({ min: 1, max: 40 }),
      number: fc.integer({ min: 0, max: 15 }),
      count: fc.integer({ min: 1, max: 15 }),
      length: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 65_000 })),
    });
    const room = new Uint8Array(65_000);
    fc.assert(
      fc.property(fc.array(part, { maxLength: 40 }), (parts) => {
        const assembly = new Assembly();
        const key = {};
        for (const { sequence, number, count, length } of parts) {
          const whole = assembly.add(key, sequence, number, count, room.subarray(0, length), 0);
          expect(whole).toBeLessThanOrEqual(9_216);
          if (whole > 0) expect(whole).toBeGreaterThanOrEqual(count);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('of two keys are never joined', () => {
    const assembly = new Assembly();
    const [one, other] = [{}, {}];
    expect(assembly.add(one, 7, 0, 2, new Uint8Array(5), 0)).toBe(0);
    expect(assembly.add(other, 8, 1, 2, new Uint8Array(5), 0)).toBe(0);
    expect(assembly.add(other, 7, 0, 2, new Uint8Array(5), 3)).toBe(10);
    expect(assembly.ecn).toBe(3);
  });
});

describe('the segment size that a connection begins with', () => {
  const syn = (flow: Flow, mss: number): Uint8Array =>
    buildPacket(
      { ...flow, options: Uint8Array.of(1, 2, 4, mss >> 8, mss & 255, 1, 1, 1) },
      {
        ...start,
        flags: 2,
        payload: new Uint8Array(0),
      },
    );

  it.each([
    ['IPv4', ordinaryFlow, MTU - 40],
    ['IPv6', { ...ordinaryFlow, v6: true }, MTU - 60],
  ] as const)('fits the path, as we send it and as it comes: %s', (_, flow, most) => {
    const { a, b } = narrowPair();
    b.command({ do: 'setMtu', pathId: PATH, mtu: Number.POSITIVE_INFINITY });
    expect(inner(b.receive(a.send(bare(syn(flow, 1_460)))))).toEqual([syn(flow, most)]);
    a.command({ do: 'setMtu', pathId: PATH, mtu: Number.POSITIVE_INFINITY });
    b.command({ do: 'setMtu', pathId: PATH, mtu: MTU });
    expect(inner(b.receive(a.send(bare(syn(flow, 1_460)))))).toEqual([syn(flow, most)]);
    expect(inner(b.receive(a.send(bare(syn(flow, 900)))))).toEqual([syn(flow, 900)]);
  });
});
