import { describe, expect, it } from 'vitest';
import type { LinkEvent, PathEvent } from '../../src/lib/path.ts';
import { EventReader, EventWriter, eventMemory } from '../../src/pipeline/event-ring.ts';
import { Outside } from '../../src/pipeline/outside.ts';
import { Relay, relayCounter } from '../../src/pipeline/relay.ts';
import { readDrops, Tally, TrafficCounters, tallyMemory, trafficMemory } from '../../src/pipeline/tally.ts';
import { type DatagramRun, MemoryPort } from '../../src/sys/edges.ts';
import { decodeSockaddr, encodeSockaddr } from '../../src/sys/sockaddr.ts';

const PATH = '11'.repeat(16);
const OTHER = '22'.repeat(16);
const left = { address: '192.0.2.1', port: 1001 };
const right = { address: '2001:db8::2', port: 1002 };
const stranger = { address: '192.0.2.66', port: 1001 };

class RelayEnd {
  readonly port = new MemoryPort();
  readonly #ring = eventMemory();
  readonly #reader = new EventReader(this.#ring);
  readonly traffic = new TrafficCounters(trafficMemory());
  readonly outside: Outside;
  readonly relay: Relay;
  readonly #tally = tallyMemory(1);

  constructor() {
    const tally = new Tally(this.#tally, 0);
    this.outside = new Outside({
      port: this.port,
      device: null,
      offload: { tcp: false, udp: false },
      relay: (received) => new Relay(this.port, received, tally, this.traffic),
      tally,
      traffic: this.traffic,
      events: new EventWriter(this.#ring, () => {}),
      forbidden: [],
      signalling: { perSecond: 1, burst: 1_000 },
      now: () => 0,
    });
    this.relay = this.outside.relay!;
  }

  /** The events since they were last asked for. */
  get events(): (PathEvent | LinkEvent)[] {
    const events: (PathEvent | LinkEvent)[] = [];
    for (let event = this.#reader.read(); event !== null; event = this.#reader.read()) events.push(event);
    return events;
  }

  get drops(): Record<string, number> {
    return readDrops(this.#tally);
  }

  receive(...runs: DatagramRun[]): DatagramRun[] {
    this.port.toReceive.push(...runs);
    while (this.outside.pump(0) > 0);
    return this.port.sent.splice(0);
  }
}

function bound(): RelayEnd {
  const end = new RelayEnd();
  end.relay.command({ do: 'addRelay', pathId: PATH }, 3);
  end.relay.command({ do: 'bindSide', pathId: PATH, side: 0, endpoint: left }, 0);
  end.relay.command({ do: 'bindSide', pathId: PATH, side: 1, endpoint: right }, 0);
  return end;
}

/** Datagrams of `size` octets each that claim to be capsules of the paths. */
function run(from: { address: string; port: number }, pathIds: readonly string[], size = 100, flags = 8): DatagramRun {
  const octets = new Uint8Array(size * pathIds.length);
  for (const [i, pathId] of pathIds.entries()) {
    octets.fill(i + 1, i * size + 32, (i + 1) * size);
    octets.set([1, flags, 15, 0, 0, 0, 0, i, size >> 8, size & 255], i * size + 4);
    octets.set(Uint8Array.fromHex(pathId), i * size + 16);
  }
  return { octets, segment: size, address: encodeSockaddr(from) };
}

describe('the relay', () => {
  it('forwards between two bound addresses, byte for byte and whole batches at once', () => {
    const end = bound();
    const there = run(left, new Array(40).fill(PATH));
    const [sent, ...rest] = end.receive(there);
    expect(rest).toEqual([]);
    expect(sent!.octets).toEqual(there.octets);
    expect(decodeSockaddr(sent!.address)).toEqual(right);
    const back = run(right, [PATH, PATH], 60);
    expect(end.receive(back).map((each) => [each.octets, decodeSockaddr(each.address)])).toEqual([[back.octets, left]]);
    const total = (counter: readonly [number, number]): number[] => counter.map((c) => end.traffic.get(3, c));
    expect(total(relayCounter.packets)).toEqual([40, 2]);
    expect(total(relayCounter.bytes)).toEqual([4000, 120]);
    expect([end.events, end.drops]).toEqual([[], {}]);
  });

  it('puts what came in several messages into one again', () => {
    const end = bound();
    expect(end.receive(run(left, [PATH]), run(left, [PATH]), run(left, [PATH], 50))).toHaveLength(1);
  });

  it('cuts what a neighbour on this host sent in one piece to what every kernel takes in one', () => {
    const end = bound();
    const there = run(left, new Array(128).fill(PATH));
    const sent = end.receive(there);
    expect(sent.map(({ octets }) => octets.length)).toEqual([6_400, 6_400]);
    expect(Buffer.concat(sent.map(({ octets }) => octets))).toEqual(Buffer.from(there.octets));
  });

  it('refuses paths that were not announced and addresses that were not bound', () => {
    const end = bound();
    expect(end.receive(run(left, [OTHER, OTHER]), run(stranger, [PATH]))).toEqual([]);
    end.relay.command({ do: 'bindSide', pathId: PATH, side: 1, endpoint: null }, 0);
    expect(end.receive(run(left, [PATH]), run(right, [PATH]))).toEqual([]);
    expect(end.drops).toEqual({ 'relay-not-announced': 2, 'relay-unproven': 3 });
    end.relay.command({ do: 'removeRelay', pathId: PATH }, 0);
    end.receive(run(left, [PATH]));
    expect(end.drops['relay-not-announced']).toBe(3);
  });

  it('takes batches apart that hold several paths, or datagrams for itself', () => {
    const end = bound();
    end.relay.command({ do: 'addRelay', pathId: OTHER }, 4);
    end.relay.command({ do: 'bindSide', pathId: OTHER, side: 0, endpoint: left }, 0);
    end.relay.command({ do: 'bindSide', pathId: OTHER, side: 1, endpoint: stranger }, 0);
    const mixed = run(left, [PATH, PATH, OTHER, PATH, OTHER]);
    mixed.octets[3 * 100 + 5] = 0;
    const sent = end.receive(mixed);
    expect(sent.map((each) => [decodeSockaddr(each.address), each.octets.length])).toEqual([
      [right, 200],
      [stranger, 200],
    ]);
    expect(end.events).toEqual([{ on: 'datagram', datagram: mixed.octets.slice(300, 400), from: left }]);
  });

  it('hands over everything without the relayed flag and forwards nothing implausible', () => {
    const end = bound();
    const plain = run(left, [PATH], 48, 0);
    const broken = run(left, [PATH]);
    broken.octets[7] = 1;
    expect(end.receive(plain, broken)).toEqual([]);
    expect(end.events).toEqual([{ on: 'datagram', datagram: plain.octets, from: left }]);
    expect(end.drops).toEqual({ count: 1 });
  });

  it('counts what could not be sent', () => {
    const end = bound();
    end.port.refuse = () => true;
    end.receive(run(left, [PATH, PATH]));
    expect(end.drops).toEqual({ 'not-sent': 2 });
  });
});
