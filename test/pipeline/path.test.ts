import { describe, expect, it } from 'vitest';
import { Flag } from '../../src/proto/messages.ts';
import { decodeSockaddr, encodeSockaddr } from '../../src/sys/sockaddr.ts';
import fc from '../support/property.ts';
import { ACK, bare, buildPacket, flowArbitrary, ordinaryFlow, sendArbitrary, split, superPacket } from './packets.ts';
import { connectedPair, datagrams, End, installKey, overlay, PATH, real, single, virtual } from './pair.ts';

const start = { id: 1, sequence: 1000, flags: ACK };
const packetOf = (length: number, sequence = 1): Uint8Array =>
  buildPacket(
    { ...ordinaryFlow, udp: true },
    { ...start, sequence, flags: 0, payload: new Uint8Array(length).fill(sequence) },
  );
const backPacket = (length: number): Uint8Array =>
  buildPacket(
    { ...ordinaryFlow, udp: true, source: 2, destination: 1 },
    { ...start, flags: 0, payload: new Uint8Array(length) },
  );
/** Octets of events on their way to the main thread. */
const EVENT_ROOM = 1 << 19;
const capsule = (end: End, length = 100): Uint8Array => datagrams(end.send(bare(packetOf(length))))[0]!;

describe.each([
  ['cbc-md5', 1],
  ['aes-256-gcm', 2],
  ['chacha20-poly1305', 3],
])('a path with %s', (_, suite) => {
  it('carries any flow from device to device', () => {
    fc.assert(
      fc.property(flowArbitrary, sendArbitrary, fc.boolean(), fc.boolean(), (flow, send, partialChecksum, together) => {
        const { a, b } = connectedPair({ suite, partialChecksum });
        const read = superPacket(flow, send.payload, send.size, send.start);
        const expected = split(read)!.map(({ packet }) => packet);
        const sent = a.send(read);
        const written = b.receive(together ? sent : datagrams(sent).map(single));
        // Whatever was left to the receiver is complete once the device has split it.
        expect(written.flatMap((packet) => split(packet)!.map((made) => made.packet))).toEqual(expected);
        expect(a.traffic.txPackets).toBe(expected.length);
        expect(b.traffic.rxPackets).toBe(expected.length);
        expect(b.traffic.rxBytes).toBe(a.traffic.txBytes);
        expect([a.drops, b.drops]).toEqual([{}, {}]);
      }),
      { numRuns: 15 },
    );
  });

  it('refuses a datagram with any bit changed, and delivers nothing', () => {
    const { a, b } = connectedPair({ suite });
    const sealed = capsule(a, 20);
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const damaged = sealed.slice();
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      expect(b.receive([single(damaged)])).toEqual([]);
    }
    const dropped = Object.values(b.drops).reduce((sum, count) => sum + count, 0);
    const handedOver = b.events.filter((event) => event.on === 'datagram').length;
    expect(dropped + handedOver).toBe(sealed.length * 8);
    expect(b.drops.tag).toBeGreaterThan((sealed.length - 32) * 8 - 1);
    expect(b.receive([single(sealed)])).toEqual([bare(packetOf(20))]);
  });
});

describe('a path', () => {
  it('sends the packets of one peer read together in messages of up to 32', () => {
    const { a } = connectedPair();
    const runs = a.send(...Array.from({ length: 100 }, (_, i) => bare(packetOf(64, i))));
    expect(runs.map((run) => datagrams([run]).length)).toEqual([32, 32, 32, 4]);
    expect(decodeSockaddr(runs[0]!.address)).toEqual(real(2));
    const mixed = a.send(...[100, 100, 50, 100, 60].map((length) => bare(packetOf(length))));
    expect(mixed.map((run) => datagrams([run]).length)).toEqual([3, 2]);
  });

  it('sends everything to the relay as well if told to, and delivers what comes twice once', () => {
    const { a, b } = connectedPair();
    const relay = { address: '198.51.100.99', port: 7442 };
    a.command({ do: 'setEndpoint', pathId: PATH, endpoint: real(2), relayed: true, also: relay });
    const packets = Array.from({ length: 300 }, (_, i) => packetOf(100 + (i % 5), i));
    const runs = a.send(...packets.map(bare));
    const to = (endpoint: { address: string; port: number }) =>
      datagrams(runs.filter(({ address }) => decodeSockaddr(address).address === endpoint.address));
    expect(to(relay)).toEqual(to(real(2)));
    expect(to(relay).every((datagram) => datagram[5] === Flag.relayed)).toBe(true);
    const mixed = to(relay).flatMap((datagram, i) => [datagram, to(real(2))[i]!]);
    expect(b.receive(mixed.map(single)).flatMap((packet) => split(packet)!.map((made) => made.packet))).toEqual(
      packets,
    );
    expect(a.traffic.txPackets).toBe(300);
    expect(b.traffic).toMatchObject({ rxPackets: 300, rxReplayed: 300 });
    a.command({ do: 'setEndpoint', pathId: PATH, endpoint: real(2), relayed: false });
    expect(a.send(bare(packetOf(1))).length).toBe(1);
  });

  it('counts what the relay did not get as no loss of the path', () => {
    const { a } = connectedPair();
    a.command({ do: 'setEndpoint', pathId: PATH, endpoint: real(2), relayed: true, also: real(9) });
    a.port.refuse = ({ address }) => decodeSockaddr(address).address === real(9).address;
    a.send(bare(packetOf(1)));
    expect(a.traffic).toMatchObject({ txPackets: 1, txDropped: 0 });
    expect(a.drops).toEqual({ 'not-sent': 1 });
  });

  it('keeps the order of a flow over many batches', () => {
    const { a, b } = connectedPair();
    const packets = Array.from({ length: 2000 }, (_, i) => packetOf(1 + (i % 7) * 200, i));
    const written = b.receive(a.send(...packets.map(bare)));
    expect(written.flatMap((packet) => split(packet)!.map((made) => made.packet.toHex()))).toEqual(
      packets.map((p) => p.toHex()),
    );
  });

  it('delivers a capsule once', () => {
    const { a, b } = connectedPair();
    const sealed = capsule(a);
    expect(b.receive([single(sealed)])).toHaveLength(1);
    expect(b.receive([single(sealed), single(sealed)])).toEqual([]);
    expect(b.drops).toEqual({ replayed: 2 });
    expect(b.traffic.rxReplayed).toBe(2);
  });

  it('takes reordered capsules inside the window of 16,384 and none behind it', () => {
    const { a, b } = connectedPair();
    const early = [capsule(a), capsule(a)];
    const later = Array.from({ length: 16_383 }, () => capsule(a, 1));
    expect(b.receive([single(later.at(-1)!)])).toHaveLength(1);
    expect(b.receive([single(early[0]!)])).toEqual([]);
    expect(b.receive([single(early[1]!)])).toHaveLength(1);
    expect(b.drops).toEqual({ replayed: 1 });
  });

  it('is not moved in its window by a forged number', () => {
    const { a, b } = connectedPair();
    const sealed = capsule(a);
    const forged = sealed.slice().fill(0xff, 8, 12);
    b.receive([single(forged)]);
    expect(b.receive([single(sealed)])).toHaveLength(1);
  });

  it('refuses capsules of unknown paths and epochs', () => {
    const { a, b } = connectedPair();
    const sealed = capsule(a);
    b.receive([single(sealed.with(16, 1)), single(sealed.with(15, 9))]);
    expect(b.drops).toEqual({ 'unknown-path': 1, 'unknown-epoch': 1 });
    expect(b.traffic.rxRejected).toBe(1);
    expect(b.events).toEqual([]);
  });

  it('refuses inner packets whose source is not the peer or whose destination is not ours', () => {
    for (const v6 of [false, true]) {
      const { a, b } = connectedPair();
      const inner = (source: number, destination: number): Uint8Array =>
        buildPacket({ ...ordinaryFlow, v6, source, destination }, { ...start, payload: new Uint8Array(9) });
      a.command({ do: 'sendPackets', pathId: PATH, packets: [inner(3, 2), inner(1, 3), inner(2, 1), inner(1, 2)] });
      expect(b.receive(a.port.sent.splice(0))).toEqual([bare(inner(1, 2))]);
      expect(b.drops).toEqual({ 'inner-source': 2, 'inner-destination': 1 });
      expect(b.traffic.rxRejected).toBe(3);
    }
  });

  it('refuses a capsule whose content is no whole IP packet', () => {
    const { a, b } = connectedPair();
    const packet = packetOf(30);
    const wrong = [
      packet.slice(0, -1),
      packet.with(0, 0x15),
      packet.slice(0, 10),
      packet.with(0, 0x4f),
      Uint8Array.of(0),
    ];
    a.command({ do: 'sendPackets', pathId: PATH, packets: wrong });
    expect(b.receive(a.port.sent.splice(0))).toEqual([]);
    expect(b.drops).toEqual({ 'inner-malformed': wrong.length });
  });

  it('reports the first capsule of each epoch and a new address, at most once a second', () => {
    const { a, b } = connectedPair();
    const send = (from: number): void => void b.receive(a.send(bare(packetOf(9))), real(from));
    send(1);
    send(1);
    expect(b.events.splice(0)).toEqual([{ on: 'opened', pathId: PATH, epoch: 1, from: real(1) }]);
    send(7);
    expect(b.events.splice(0)).toEqual([{ on: 'moved', pathId: PATH, from: real(7) }]);
    b.now = 500;
    send(8);
    expect(b.events.splice(0)).toEqual([]);
    b.now = 1000;
    send(8);
    expect(b.events.splice(0)).toEqual([{ on: 'moved', pathId: PATH, from: real(8) }]);
    for (const [end, host] of [
      [a, 1],
      [b, 2],
    ] as const)
      installKey(end, host, { epoch: 2 });
    send(8);
    expect(b.events.splice(0)).toEqual([{ on: 'opened', pathId: PATH, epoch: 2, from: real(8) }]);
  });

  it('confirms a key by an empty capsule that is not delivered', () => {
    const { a, b } = connectedPair();
    a.command({ do: 'sendPackets', pathId: PATH, packets: [] });
    const sent = a.port.sent.splice(0);
    expect(datagrams(sent).map((datagram) => datagram.length)).toEqual([32 + 4 + 16]);
    expect(b.receive(sent)).toEqual([]);
    expect(b.events).toEqual([{ on: 'opened', pathId: PATH, epoch: 1, from: real(1) }]);
    expect([a.traffic.txPackets, b.traffic.rxPackets, b.drops]).toEqual([0, 0, {}]);
  });

  it('opens under two epochs, seals under the one activated, and forgets a retired one', () => {
    const { a, b } = connectedPair();
    const old = capsule(a);
    const late = capsule(a);
    installKey(b, 2, { epoch: 2 });
    const key = {
      suite: 2,
      sendKey: new Uint8Array(32).fill(18),
      receiveKey: new Uint8Array(32).fill(34),
      activate: false,
    };
    a.command({ do: 'installKey', pathId: PATH, epoch: 2, ...key });
    expect(capsule(a)[15]).toBe(1);
    a.command({ do: 'activateKey', pathId: PATH, epoch: 2 });
    const fresh = capsule(a);
    expect([fresh[15], new DataView(fresh.buffer).getUint32(8)]).toEqual([2, 1]);
    expect(b.receive([single(old), single(fresh)])).toHaveLength(2);
    b.command({ do: 'retireKey', pathId: PATH, epoch: 1 });
    expect(b.receive([single(late)])).toEqual([]);
    expect(b.drops).toEqual({ 'unknown-epoch': 1 });
  });

  it('sets the relayed flag and the new endpoint as told', () => {
    const { a } = connectedPair();
    expect(capsule(a)[5]).toBe(0);
    a.command({ do: 'setEndpoint', pathId: PATH, endpoint: { address: '2001:db8::9', port: 443 }, relayed: true });
    const [run] = a.send(bare(packetOf(5)));
    expect(decodeSockaddr(run!.address)).toEqual({ address: '2001:db8::9', port: 443 });
    expect(run!.octets[5]).toBe(8);
  });

  it('counts what has no key, no endpoint or does not leave', () => {
    const { a } = connectedPair();
    a.port.refuse = () => true;
    expect(a.send(bare(packetOf(5)), bare(packetOf(5)))).toEqual([]);
    expect(a.traffic).toMatchObject({ txPackets: 0, txDropped: 2 });
    a.command({ do: 'setEndpoint', pathId: PATH, endpoint: null, relayed: false });
    a.send(bare(packetOf(5)));
    a.command({ do: 'setEndpoint', pathId: PATH, endpoint: real(2), relayed: false });
    a.command({ do: 'retireKey', pathId: PATH, epoch: 1 });
    a.send(bare(packetOf(5)));
    expect(a.drops).toEqual({ 'not-sent': 2, 'no-route': 2 });
    expect(a.traffic.txDropped).toBe(4);
  });

  it('ends with its removal, in both directions', () => {
    const { a, b } = connectedPair();
    const sealed = capsule(a);
    b.command({ do: 'removePath', pathId: PATH });
    expect(b.receive([single(sealed)])).toEqual([]);
    expect(b.drops).toEqual({ 'unknown-path': 1 });
    expect(b.send(bare(backPacket(1)))).toEqual([]);
    expect(b.events.map((event) => event.on)).toEqual(['unrouted']);
  });
});

describe('a packet without a path', () => {
  it('goes to the control plane, split and complete', () => {
    const a = new End(1);
    const read = superPacket(ordinaryFlow, new Uint8Array(250), 100, start);
    expect(a.send(read)).toEqual([]);
    const packets = split(read)!.map(({ packet }) => packet);
    const addresses = { source: virtual(1).vip4, destination: virtual(2).vip4 };
    expect(a.events).toEqual(packets.map((packet) => ({ on: 'unrouted', packet, ...addresses })));
  });

  it('is dropped unless it goes from an own address into the overlay', () => {
    const a = new End(1);
    const flow = { ...ordinaryFlow, source: 5 };
    a.send(bare(buildPacket(flow, { ...start, payload: new Uint8Array(4) })));
    const elsewhere = packetOf(4).with(16, 9);
    a.send(bare(elsewhere), bare(packetOf(4).slice(0, 12)));
    expect(a.events).toEqual([]);
    expect(a.drops).toEqual({ 'inner-source': 1, 'inner-destination': 1, 'inner-malformed': 1 });
  });

  it('is handed over up to a bound only', () => {
    const a = new End(1);
    for (let i = 0; i < 3000; i++) a.send(bare(packetOf(1000)));
    expect(a.events.length + a.drops['queue-full']!).toBe(3000);
    expect(a.events.length * 1000).toBeLessThan(EVENT_ROOM);
  });
});

describe('own outer datagrams coming out of the TUN', () => {
  it('are dropped and counted; other datagrams from that port number are not', () => {
    const { a } = connectedPair();
    const sealed = capsule(a);
    const flow = { ...ordinaryFlow, udp: true, sourcePort: 7444, destinationPort: 7444 };
    const looped = buildPacket(flow, { ...start, flags: 0, payload: sealed });
    expect(a.send(bare(looped))).toEqual([]);
    expect(a.drops).toEqual({ 'outer-loop': 1 });
    const harmless = buildPacket(flow, { ...start, flags: 0, payload: new Uint8Array(60).fill(0x20) });
    expect(a.send(bare(harmless))).toHaveLength(1);
  });
});

describe('signalling', () => {
  const header = (type: number, length: number): Uint8Array => {
    const datagram = new Uint8Array(length);
    datagram[4] = 1;
    datagram[6] = type;
    datagram[12] = length >> 8;
    datagram[13] = length & 255;
    return datagram;
  };

  it('is handed over with its source', () => {
    const { b } = connectedPair();
    const datagram = header(6, 48);
    b.receive([single(datagram)], { address: '2001:db8::5', port: 99 });
    expect(b.events).toEqual([{ on: 'datagram', datagram, from: { address: '2001:db8::5', port: 99 } }]);
  });

  it('is refused from overlay addresses, and above its largest size', () => {
    const { b } = connectedPair();
    b.receive([single(header(6, 48))], { address: '100.80.0.9', port: 1 });
    b.receive([single(header(6, 48))], { address: 'fd00:80::9', port: 1 });
    b.receive([single(header(6, 1233))]);
    expect(b.events).toEqual([]);
    expect(b.drops).toEqual({ 'forbidden-address': 2, length: 1 });
    expect(overlay).toHaveLength(2);
  });

  it('of one source does not use up what others may hand over', () => {
    const b = new End(2, { signalling: { perSecond: 1, burst: 10 } });
    b.receive(
      Array.from({ length: 100 }, () => single(header(6, 48))),
      real(1),
    );
    expect(b.events.splice(0)).toHaveLength(10);
    expect(b.drops).toEqual({ 'rate-limited': 90 });
    b.receive([single(header(6, 48))], { address: '2001:db8::5', port: 1 });
    expect(b.events).toHaveLength(1);
  });

  it('floods neither the control plane nor the way of capsules', () => {
    const { a, b } = connectedPair();
    const packets = Array.from({ length: 100 }, (_, i) => packetOf(40, i));
    const written: Uint8Array[] = [];
    for (const packet of packets) {
      const flood = Array.from({ length: 50 }, () => single(header(13, 60)));
      written.push(...b.receive([...flood, ...a.send(bare(packet)), ...flood]));
    }
    expect(written).toEqual(packets.map(bare));
    const handed = b.events.filter((event) => event.on === 'datagram').length;
    expect(handed * 60).toBeLessThan(EVENT_ROOM);
    expect(handed + b.drops['queue-full']!).toBe(10_000);
  });

  it('random octets change nothing and are all counted', () => {
    const { a, b } = connectedPair();
    let received = 0;
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 200 }),
        fc.boolean(),
        fc.boolean(),
        (octets, ours, lengthRight) => {
          if (ours && octets.length > 8) octets[4] = 1;
          if (ours && octets.length > 8) octets.fill(0, 7, 8).fill(15, 6, 7);
          if (lengthRight && octets.length > 13) octets.fill(0, 12, 13).fill(octets.length, 13, 14);
          if (ours && octets.length > 32) octets.set(Uint8Array.fromHex(PATH), 16);
          received++;
          expect(b.receive([single(octets)])).toEqual([]);
        },
      ),
      { numRuns: 3000 },
    );
    const dropped = Object.values(b.drops).reduce((sum, count) => sum + count, 0);
    expect(dropped + b.events.filter((event) => event.on === 'datagram').length).toBe(received);
    expect(b.receive(a.send(bare(packetOf(7))))).toEqual([bare(packetOf(7))]);
  });

  it('skips options of a capsule that need not be understood and refuses the others', () => {
    const { b } = connectedPair();
    const sealed = (option: number, octets: number): Uint8Array => {
      const datagram = header(15, 80);
      datagram[14] = option;
      datagram[15] = 1;
      datagram.set(Uint8Array.fromHex(PATH), 16);
      datagram[33] = octets / 8;
      datagram[11] = 1;
      return datagram;
    };
    b.receive([single(sealed(0x21, 8)), single(sealed(0xa1, 8)), single(sealed(0x21, 0)), single(sealed(0x21, 800))]);
    expect(b.drops).toEqual({ tag: 1, 'option-critical': 1, 'option-malformed': 2 });
    expect(encodeSockaddr(real(1))).toHaveLength(16);
  });
});
