import { describe, expect, it } from 'vitest';
import fc from '../support/property.ts';
import {
  ACK,
  bare,
  buildPacket,
  CWR,
  ECE,
  FIN,
  flowArbitrary,
  ordinaryFlow,
  PSH,
  pieces,
  sendArbitrary,
  split,
  superPacket,
  virtioHeader,
} from './packets.ts';

const flow = ordinaryFlow;
const start = { id: 65534, sequence: 0xfffffff0, flags: ACK };

describe('splitting', () => {
  it('makes exactly the packets that the kernel would have made, for any flow', () => {
    fc.assert(
      fc.property(flowArbitrary, sendArbitrary, fc.boolean(), (anyFlow, send, partial) => {
        const packets = split(superPacket(anyFlow, send.payload, send.size, send.start), partial)!;
        const expected = pieces(anyFlow, send.payload, send.size, send.start);
        expect(packets.map(({ packet }) => packet)).toEqual(
          expected.map((piece) => buildPacket(anyFlow, piece, partial)),
        );
        expect(packets.every((packet) => packet.partial === partial)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  it('leaves FIN and PSH to the last packet and CWR to the first', () => {
    const flags = ACK | FIN | PSH | CWR | ECE;
    const packets = split(superPacket(flow, new Uint8Array(250), 100, { ...start, flags }))!;
    expect(packets.map(({ packet }) => packet[20 + 13])).toEqual([ACK | CWR | ECE, ACK | ECE, ACK | ECE | FIN | PSH]);
  });

  it('passes a packet without offload unchanged', () => {
    const packet = buildPacket(flow, { ...start, payload: new Uint8Array(33) });
    expect(split(bare(packet), true)).toEqual([{ packet, partial: false }]);
  });

  it('completes the checksum of a single packet, or leaves it if both ends agreed', () => {
    for (const udp of [false, true]) {
      for (const v6 of [false, true]) {
        const one = { ...flow, udp, v6 };
        const piece = { ...start, flags: udp ? 0 : ACK, payload: Uint8Array.of(1, 2, 3) };
        const read = Uint8Array.from([...virtioHeader(one, 0), ...buildPacket(one, piece, true)]);
        expect(split(read)).toEqual([{ packet: buildPacket(one, piece), partial: false }]);
        expect(split(read, true)).toEqual([{ packet: buildPacket(one, piece, true), partial: true }]);
      }
    }
  });

  it('sends a computed UDP checksum of zero as all ones', () => {
    const udp = { ...flow, udp: true };
    for (let value = 0; value < 65536; value += 1) {
      const payload = Uint8Array.of(value >> 8, value & 255);
      const piece = { ...start, flags: 0, payload };
      const packet = buildPacket(udp, piece);
      if (packet[26] !== 0xff || packet[27] !== 0xff) continue;
      const read = Uint8Array.from([...virtioHeader(udp, 0), ...buildPacket(udp, piece, true)]);
      expect(split(read)![0]!.packet).toEqual(packet);
      return;
    }
    expect.unreachable('some payload has checksum zero');
  });

  it('completes an IPv6 checksum behind extension headers itself even if both ends agreed', () => {
    const inner = buildPacket({ ...flow, v6: true }, { ...start, payload: new Uint8Array(5) }, true);
    const extended = Uint8Array.from([...inner.slice(0, 40), 6, 0, 1, 4, 0, 0, 0, 0, ...inner.slice(40)]);
    extended[6] = 60;
    extended[5] = inner[5]! + 8;
    const header = virtioHeader({ ...flow, v6: true }, 0);
    header[6] = 48;
    const [only] = split(Uint8Array.from([...header, ...extended]), true)!;
    expect(only!.partial).toBe(false);
    expect(only!.packet.slice(48)).toEqual(
      buildPacket({ ...flow, v6: true }, { ...start, payload: new Uint8Array(5) }).slice(40),
    );
  });

  it('refuses headers that do not fit the packet', () => {
    const whole = superPacket(flow, new Uint8Array(300), 100, start);
    const broken: ((packet: Uint8Array) => void)[] = [
      (packet) => packet.fill(0, 4, 6),
      (packet) => packet.fill(0xff, 6, 8),
      (packet) => packet.fill(0xff, 8, 10),
      (packet) => packet.fill(0, 0, 1),
      (packet) => packet.fill(5, 1, 2),
    ];
    for (const damage of broken) {
      const packet = whole.slice();
      damage(packet);
      expect(split(packet)).toBeNull();
    }
    expect(split(whole.slice(0, 10 + 20 + 19))).toBeNull();
  });

  it('neither throws nor leaves the buffer for any header and packet', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 10, maxLength: 10 }),
        fc.uint8Array({ minLength: 20, maxLength: 300 }),
        (header, packet) => {
          packet[0] = packet[0]! & 1 ? 0x45 : 0x60;
          const packets = split(Uint8Array.from([...header, ...packet]));
          for (const each of packets ?? []) expect(each.packet.length).toBeGreaterThan(0);
        },
      ),
    );
  });
});
