import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import { Coalescer } from '../../src/pipeline/coalesce.ts';
import { MemoryDevice } from '../../src/sys/edges.ts';
import { allocate } from '../../src/sys/memory.ts';
import fc from '../support/property.ts';
import {
  ACK,
  bare,
  buildPacket,
  CWR,
  ECE,
  FIN,
  type Flow,
  flowArbitrary,
  ordinaryFlow,
  type Piece,
  PSH,
  pieces,
  sendArbitrary,
  split,
  superPacket,
} from './packets.ts';

const memory = allocate(1 << 20);
const device = new MemoryDevice();

type Given = { readonly packet: Uint8Array; readonly partial: boolean };

/** What is written to the device for these packets. */
function coalesce(given: readonly Given[], offload = { tcp: true, udp: true }): Uint8Array[] {
  const coalescer = new Coalescer(memory, device, offload, () => {});
  return coalesceWith(coalescer, given);
}

function coalesceWith(coalescer: Coalescer, given: readonly Given[]): Uint8Array[] {
  let at = 64;
  for (const [owner, { packet, partial }] of given.entries()) {
    memory.bytes.set(packet, at);
    coalescer.add(at, packet.length, partial, owner);
    at += packet.length + 40;
  }
  coalescer.flush();
  return device.written.splice(0);
}

const full = (packet: Uint8Array): Given => ({ packet, partial: false });
const withoutHeaderLength = (written: Uint8Array): Uint8Array => written.slice().fill(0, 2, 4);
const start = { id: 65530, sequence: 0xffffff00, flags: ACK };

describe('coalescing', () => {
  it('undoes splitting, for any flow', () => {
    fc.assert(
      fc.property(flowArbitrary, sendArbitrary, fc.boolean(), (flow, send, partial) => {
        const expected = superPacket(flow, send.payload, send.size, send.start);
        const packets = split(expected, partial)!;
        const written = coalesce(packets);
        if (packets.length > 1) {
          expect(written.map(withoutHeaderLength)).toEqual([withoutHeaderLength(expected)]);
        } else if (!partial) {
          expect(written).toEqual([bare(packets[0]!.packet)]);
        }
        expect(written.flatMap((read) => split(read, partial)!)).toEqual(packets);
      }),
      { numRuns: 150 },
    );
  });

  const variants: ((flow: Flow) => Flow)[] = [
    (flow) => flow,
    (flow) => ({ ...flow, sourcePort: flow.sourcePort ^ 1 }),
    (flow) => ({ ...flow, tos: flow.tos ^ 3 }),
    (flow) => ({ ...flow, acknowledgment: (flow.acknowledgment + 1) >>> 0 }),
    (flow) => ({ ...flow, window: flow.window ^ 1 }),
    (flow) => ({ ...flow, options: new Uint8Array(flow.options.length).fill(2) }),
    (flow) => ({ ...flow, ttl: (flow.ttl % 255) + 1 }),
    (flow) => ({ ...flow, dontFragment: !flow.dontFragment }),
    (flow) => ({ ...flow, udp: !flow.udp }),
    (flow) => ({ ...flow, v6: !flow.v6 }),
    (flow) => ({ ...flow, source: 9 }),
  ];
  const flags = fc.constantFrom(ACK, ACK, ACK, ACK | PSH, ACK | FIN, ACK | CWR, ACK | ECE, 2, 4, 0);

  it('keeps every packet and the order within each flow, whatever comes', () => {
    const step = fc.record({
      variant: fc.nat(variants.length - 1),
      flags,
      length: fc.constantFrom(0, 1, 99, 100, 100, 100, 100),
      skip: fc.constantFrom(0, 0, 0, 0, 0, 7),
      damage: fc.constantFrom(-1, -1, -1, -1, -1, 1, 6, 11, 21, 33, 45),
    });
    fc.assert(
      fc.property(
        flowArbitrary,
        fc.array(step, { maxLength: 200 }),
        fc.boolean(),
        fc.boolean(),
        (base, steps, tcp, udp) => {
          const given: Given[] = [];
          const sequences = new Map<number, number>();
          for (const [i, step] of steps.entries()) {
            const flow = variants[step.variant]!(base);
            const sequence = ((sequences.get(step.variant) ?? 5) + step.skip) >>> 0;
            sequences.set(step.variant, sequence + step.length);
            const id = Math.floor(sequence / 100) & 0xffff;
            const piece: Piece = {
              id,
              sequence,
              flags: flow.udp ? 0 : step.flags,
              payload: new Uint8Array(step.length).fill(i),
            };
            const packet = buildPacket(flow, piece);
            if (step.damage >= 0 && step.damage < packet.length) packet[step.damage]! ^= 0x20;
            given.push(full(packet));
          }
          const written = coalesce(given, { tcp, udp });
          const made = written.flatMap((read) => split(read)!.map(({ packet }) => packet));
          const byFlow = (packets: readonly Uint8Array[]): Record<string, string[]> => {
            const flows: Record<string, string[]> = {};
            for (const packet of packets) {
              const v4 = packet[0]! >> 4 === 4;
              const protocol = packet[v4 ? 9 : 6]!;
              const flowKey = `${protocol} ${(v4 ? packet.slice(12, 24) : packet.slice(8, 44)).toHex()}`;
              (flows[flowKey] ??= []).push(packet.toHex());
            }
            return flows;
          };
          expect(byFlow(made)).toEqual(byFlow(given.map(({ packet }) => packet)));
        },
      ),
      { numRuns: 200 },
    );
  });

  it('puts interleaved flows together, each by itself', () => {
    const flows = [40000, 40001, 40002].map((sourcePort) => ({ ...ordinaryFlow, sourcePort }));
    const made = flows.map((flow) =>
      pieces(flow, new Uint8Array(1000), 100, start).map((piece) => full(buildPacket(flow, piece))),
    );
    const interleaved = made[0]!.flatMap((_, i) => made.map((list) => list[i]!));
    const written = coalesce(interleaved);
    expect(written.map((packet) => packet.length)).toEqual([1050, 1050, 1050]);
  });

  const series = (flow: Flow, change: (piece: Piece, i: number) => Piece = (piece) => piece): Uint8Array[] =>
    pieces(flow, new Uint8Array(300), 100, start).map((piece, i) => buildPacket(flow, change(piece, i)));
  const count = (packets: readonly Uint8Array[]): number => coalesce(packets.map(full)).length;

  it('merges nothing that the kernel would split differently', () => {
    const tcp = ordinaryFlow;
    const udp = { ...ordinaryFlow, udp: true };
    expect(count(series(tcp))).toBe(1);
    expect(count(series(udp))).toBe(1);
    expect(count(series(tcp, (piece, i) => ({ ...piece, sequence: piece.sequence + i })))).toBe(3);
    expect(count(series(tcp, (piece) => ({ ...piece, id: 7 })))).toBe(3);
    for (const flag of [FIN, CWR, 2, 4, 0x20]) {
      expect(count(series(tcp, (piece) => ({ ...piece, flags: piece.flags | flag })))).toBe(3);
    }
    expect(count(series(tcp, (piece, i) => ({ ...piece, flags: i === 0 ? ACK | PSH : ACK })))).toBe(2);
    expect(count(series(tcp, (piece) => ({ ...piece, payload: new Uint8Array(0) })))).toBe(3);
    expect(count(series(udp, (piece, i) => ({ ...piece, payload: new Uint8Array(100 + i) })))).toBe(3);
    expect(count(series(udp, (piece, i) => ({ ...piece, payload: new Uint8Array(100 - i) })))).toBe(2);
  });

  it('never merges fragments, IPv4 options or IPv6 extension headers', () => {
    const fragment = series(ordinaryFlow).map((packet) => fixed4(packet, (changed) => changed.fill(0x20, 6, 7)));
    expect(count(fragment)).toBe(3);
    const options = series(ordinaryFlow).map((packet) => {
      const longer = Uint8Array.from([...packet.slice(0, 20), 1, 1, 1, 1, ...packet.slice(20)]);
      return fixed4(longer, (changed) => {
        changed[0] = 0x46;
        changed[3] = packet[3]! + 4;
      });
    });
    expect(count(options)).toBe(3);
    const extended = series({ ...ordinaryFlow, v6: true }).map((packet) => {
      const longer = Uint8Array.from([...packet.slice(0, 40), 6, 0, 1, 4, 0, 0, 0, 0, ...packet.slice(40)]);
      longer[6] = 60;
      longer[5] = packet[5]! + 8;
      return longer;
    });
    expect(count(extended)).toBe(3);
  });

  function fixed4(packet: Uint8Array, change: (packet: Uint8Array) => void): Uint8Array {
    const changed = packet.slice();
    change(changed);
    changed.fill(0, 10, 12);
    let sum = 0;
    for (let i = 0; i < (changed[0]! & 15) * 4; i += 2) sum += changed[i]! * 256 + changed[i + 1]!;
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    changed[10] = ~sum >> 8;
    changed[11] = ~sum;
    return changed;
  }

  it('leaves packets with a wrong checksum, or UDP without one, as they are', () => {
    const damaged = series(ordinaryFlow).map((packet, i) => (i === 1 ? packet.with(60, packet[60]! ^ 1) : packet));
    const written = coalesce(damaged.map(full));
    expect(written).toEqual(damaged.map(bare));
    const none = series({ ...ordinaryFlow, udp: true }).map((packet) => packet.with(26, 0).with(27, 0));
    expect(coalesce(none.map(full))).toEqual(none.map(bare));
  });

  it('goes back to single packets where the device refuses merged ones, and loses none', () => {
    for (const udp of [false, true]) {
      const flow = { ...ordinaryFlow, udp };
      const packets = series(flow);
      device.refuse = (packet) => (packet[1] === 0 ? 0 : constants.errno.EINVAL);
      const coalescer = new Coalescer(memory, device, { tcp: true, udp: true }, () => expect.unreachable());
      const first = coalesceWith(coalescer, packets.map(full));
      expect(first.flatMap((read) => split(read)!.map(({ packet }) => packet))).toEqual(packets);
      expect([coalescer.tcp, coalescer.udp]).toEqual(udp ? [true, false] : [false, true]);
      device.refuse = () => 0;
      expect(coalesceWith(coalescer, packets.map(full))).toEqual(packets.map(bare));
    }
  });

  it('reports what could not be written, and keeps merging when the interface is only down', () => {
    const lost: number[] = [];
    const coalescer = new Coalescer(memory, device, { tcp: true, udp: true }, (owner) => lost.push(owner));
    device.refuse = () => constants.errno.EIO;
    coalesceWith(coalescer, series(ordinaryFlow).map(full));
    device.refuse = () => 0;
    expect(lost).toEqual([0, 0, 0]);
    expect(coalescer.tcp).toBe(true);
    expect(coalesceWith(coalescer, series(ordinaryFlow).map(full))).toHaveLength(1);
  });

  it('takes more packets and flows than it has room for', () => {
    const many = Array.from({ length: 400 }, (_, i) =>
      full(buildPacket({ ...ordinaryFlow, sourcePort: i + 1 }, { ...start, payload: new Uint8Array(20) })),
    );
    expect(coalesce(many)).toEqual(many.map(({ packet }) => bare(packet)));
  });
});
