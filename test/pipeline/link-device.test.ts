/** Frames of an inner link as packets of the data path, and back. */

import { beforeEach, describe, expect, it } from 'vitest';
import { EventReader, EventWriter, eventMemory } from '../../src/pipeline/event-ring.ts';
import { HostTable } from '../../src/pipeline/hosts.ts';
import { LinkDevice } from '../../src/pipeline/link-device.ts';
import { readDrops, Tally, tallyMemory } from '../../src/pipeline/tally.ts';
import { MemoryDevice, MemoryFrames } from '../../src/sys/edges.ts';
import { allocate } from '../../src/sys/memory.ts';
import { VIRTIO_HEADER } from '../../src/sys/tun.ts';
import { IOVEC, setVector } from '../../src/sys/vectors.ts';
import fc from '../support/property.ts';
import { buildPacket, type Flow, flowArbitrary, pieces, sendArbitrary, split, superPacket } from './packets.ts';

const own = '02:ff:00:00:00:01';
const camera = { mac: '02:00:00:00:00:01', tag: null, vip4: '100.80.1.1', vip6: 'fd00::1:1' };
const tagged = { mac: '02:00:00:00:00:02', tag: 0x6005, vip4: '100.80.1.2', vip6: null };
const hex = (text: string): Uint8Array => Uint8Array.fromHex(text.replaceAll(/[\s:.]/g, ''));

/** An IPv4 packet of 20 octets and `payload`. */
function packet(source: string, destination: string, payload = 'abcd'): Uint8Array {
  const octets = (address: string): string =>
    address
      .split('.')
      .map((part) => Number(part).toString(16).padStart(2, '0'))
      .join('');
  const length = (20 + payload.length / 2).toString(16).padStart(4, '0');
  return hex(`4500${length}000000004011 0000${octets(source)}${octets(destination)}${payload}`);
}

const virtio = new Uint8Array(VIRTIO_HEADER);
const frame = (from: string, content: Uint8Array, { to = own, type = '0800' } = {}): Uint8Array =>
  Uint8Array.from([...virtio, ...hex(to), ...hex(from), ...hex(type), ...content]);

type Send = Pick<typeof sendArbitrary extends fc.Arbitrary<infer S> ? S : never, 'payload' | 'size' | 'start'>;

/** Moves where the checksum of a virtio-net header is. */
function move(octets: Uint8Array, by: number): void {
  const view = new DataView(octets.buffer, octets.byteOffset);
  view.setUint16(6, view.getUint16(6, true) + by, true);
}

describe('the device of an adapter', () => {
  const room = allocate(1 << 17);
  let tun: MemoryDevice;
  let link: MemoryFrames;
  let side: MemoryFrames;
  let device: LinkDevice;
  let events: EventReader;
  let tally: SharedArrayBuffer;
  let hosts: HostTable;
  const vectors = allocate(64 * IOVEC);

  const open = (internet: boolean): void => {
    tun = new MemoryDevice();
    link = new MemoryFrames();
    side = new MemoryFrames();
    tally = tallyMemory(1);
    const ring = eventMemory();
    events = new EventReader(ring);
    hosts = new HostTable(own);
    hosts.set([camera, tagged]);
    device = new LinkDevice({
      tun,
      port: link,
      eapol: [side],
      hosts,
      overlay: [
        { address: '100.80.0.0', length: 16 },
        { address: 'fd00::', length: 64 },
        { address: 'fd00:80::', length: 64 },
      ],
      gateways: ['100.80.0.1', 'fd00::1'],
      own: ['100.80.0.3'],
      internet,
      tally: new Tally(tally, 0),
      events: new EventWriter(ring, () => {}),
      admit: () => true,
    });
  };

  beforeEach(() => open(false));

  const read = (): Uint8Array | null => {
    const length = device.read(room.address, room.bytes.length);
    return length === 0 ? null : room.bytes.slice(VIRTIO_HEADER, length);
  };
  const write = (content: Uint8Array): void => {
    room.bytes.set([...virtio, ...content]);
    expect(device.write(room.address, VIRTIO_HEADER + content.length)).toBe(0);
  };
  const handedOver = (): Uint8Array | undefined => {
    const event = events.read();
    return event?.on === 'frame' ? event.frame : undefined;
  };

  it('leaves header and padding of a frame behind', () => {
    const content = packet(camera.vip4, '100.80.9.9');
    link.toRead.push({ frame: frame(camera.mac, Uint8Array.from([...content, 0, 0, 0, 0])) });
    expect(read()).toEqual(content);
    expect(read()).toBeNull();
  });

  it('keeps the tag of a device, and takes its packets with that tag only', () => {
    const content = packet(tagged.vip4, '100.80.9.9');
    link.toRead.push({ frame: frame(tagged.mac, content), tag: 0x0005 });
    expect(read()).toEqual(content);
    for (const tag of [0x0006, undefined]) {
      link.toRead.push({ frame: frame(tagged.mac, content), ...(tag !== undefined && { tag }) });
      expect(read()).toBeNull();
    }
    expect(readDrops(tally)).toEqual({ 'inner-source': 2 });
    write(packet('100.80.9.9', tagged.vip4));
    expect(link.written[0]!.subarray(VIRTIO_HEADER, VIRTIO_HEADER + 18)).toEqual(
      hex(`${tagged.mac} ${own} 8100 6005 0800`),
    );
  });

  it.each([
    ['another device’s address', camera.mac, tagged.vip4],
    ['an address under another MAC address', '02:00:00:00:00:09', camera.vip4],
    ['the address of a peer', camera.mac, '100.80.9.9'],
  ])('carries nothing from %s', (_, mac, source) => {
    link.toRead.push({ frame: frame(mac, packet(source, '100.80.9.8')) });
    expect(read()).toBeNull();
    expect(handedOver()).toBeDefined();
  });

  it.each([
    ['ARP', frame(camera.mac, hex('0001 0800 0604 0001'), { type: '0806' })],
    ['a packet to the gateway', frame(camera.mac, packet(camera.vip4, '100.80.0.1'))],
    ['a packet to elsewhere', frame(camera.mac, packet(camera.vip4, '192.0.2.1'))],
    ['a second tag', frame(camera.mac, hex('0005 0800'), { type: '8100' })],
    ['a torso', frame(camera.mac, hex('45'))],
  ])('gives %s to the control plane as it was', (_, octets) => {
    link.toRead.push({ frame: octets });
    expect(read()).toBeNull();
    expect(handedOver()).toEqual(octets.slice(VIRTIO_HEADER));
  });

  it('leaves what is for elsewhere to a kernel that routes it, and nothing else', () => {
    open(true);
    const elsewhere = packet(camera.vip4, '192.0.2.1');
    link.toRead.push({ frame: frame(camera.mac, elsewhere) });
    expect(read()).toBeNull();
    expect(handedOver()).toBeUndefined();
    for (const other of [
      frame(camera.mac, packet(camera.vip4, '100.80.0.1')),
      frame(camera.mac, packet('0.0.0.0', '255.255.255.255'), { to: 'ff:ff:ff:ff:ff:ff' }),
    ]) {
      link.toRead.push({ frame: other });
      expect(read()).toBeNull();
      expect(handedOver()).toEqual(other.slice(VIRTIO_HEADER));
    }
  });

  it('carries nothing whose EtherType says another version of IP than it is', () => {
    // Read as IPv4 it is the camera's; what follows would read it as IPv6.
    const octets = packet(camera.vip4, '100.80.9.9', '00'.repeat(40));
    octets[0] = 0x60;
    link.toRead.push({ frame: frame(camera.mac, octets) });
    expect(read()).toBeNull();
    expect(handedOver()).toBeDefined();
  });

  it('takes no tag of another kind for a device’s', () => {
    const octets = frame(tagged.mac, packet(tagged.vip4, '100.80.9.9'));
    link.toRead.push({ frame: octets, tag: 5, tagProtocol: 0x88a8 });
    expect(read()).toBeNull();
    expect(readDrops(tally)).toEqual({ 'inner-source': 1 });
  });

  it('lets no packet of a peer look as if it came from the link', () => {
    const six = (hopLimit: string): Uint8Array =>
      hex(`60000000 0000 3a${hopLimit} ${'fd00'.padEnd(28, '0')}0999 ${'fd00'.padEnd(24, '0')}00010001`);
    write(six('ff'));
    write(six('40'));
    expect(link.written.map((octets) => octets[VIRTIO_HEADER + 14 + 7])).toEqual([0xfe, 0x40]);
  });

  it('leaves connections to the resolver to the kernel while that has one there, from whom they say they are', () => {
    const tcp = (destination: string, port: string, source = camera.vip4): Uint8Array => {
      const octets = packet(source, destination, `9c40${port}${'00'.repeat(8)}5002${'00'.repeat(6)}`);
      octets[9] = 6;
      return octets;
    };
    const query = tcp('100.80.0.1', '0035');
    const arrives = (content: Uint8Array, mac = camera.mac): void => {
      link.toRead.push({ frame: frame(mac, content) });
      expect(read()).toBeNull();
    };
    arrives(query);
    expect(handedOver()).toBeDefined();
    device.setResolvers(['100.80.0.1']);
    arrives(query);
    expect(tun.written.splice(0).map((octets) => octets.subarray(VIRTIO_HEADER))).toEqual([query]);
    expect(handedOver()).toBeUndefined();
    const udp = tcp('100.80.0.1', '0035');
    udp[9] = 17;
    const fragment = tcp('100.80.0.1', '0035');
    fragment[7] = 1;
    for (const other of [
      udp,
      fragment,
      query.subarray(0, 39),
      tcp('100.80.0.1', '0050'),
      tcp('100.80.0.1', '0035', '100.80.9.9'),
    ]) {
      arrives(other);
      expect(handedOver()).toBeDefined();
    }
    arrives(query, tagged.mac);
    expect(readDrops(tally)).toEqual({ 'inner-source': 1 });
    expect(tun.written).toEqual([]);
  });

  it('takes EAPOL from the ports of a bridge', () => {
    const octets = frame(camera.mac, hex('01010000'), { to: '01:80:c2:00:00:03', type: '888e' });
    side.toRead.push({ frame: octets });
    expect(read()).toBeNull();
    expect(handedOver()).toEqual(octets.slice(VIRTIO_HEADER));
  });

  it('shows the control plane the tags of a frame that has two', () => {
    link.toRead.push({ frame: frame(camera.mac, hex('0007 0800'), { type: '8100' }), tag: 5 });
    expect(read()).toBeNull();
    expect(handedOver()).toEqual(hex(`${own} ${camera.mac} 8100 0005 8100 0007 0800`));
  });

  it('moves the place of a checksum with the header', () => {
    const content = packet(camera.vip4, '100.80.9.9', '00'.repeat(20));
    const octets = frame(camera.mac, content);
    new DataView(octets.buffer).setUint8(0, 1);
    new DataView(octets.buffer).setUint16(6, 34, true);
    link.toRead.push({ frame: octets });
    expect(read()).toEqual(content);
    expect(room.view.getUint16(6, true)).toBe(20);
    room.view.setUint8(VIRTIO_HEADER + 16, 100);
    room.bytes.set(hex('64500101'), VIRTIO_HEADER + 16);
    device.write(room.address, VIRTIO_HEADER + content.length);
    expect(new DataView(link.written[0]!.buffer).getUint16(6, true)).toBe(34);
  });

  describe.each([
    ['without a tag', null],
    ['with one', 0x6005],
  ] as const)('passes on, %s, what was left to offload, never anything else', (_, tag) => {
    /** A device with the addresses that flows are from or to. */
    const host = { ...camera, tag, vip4: '100.80.0.1', vip6: 'fd00:80::1' };
    const virtual = { vip4: '100.80.0.2', vip6: 'fd00:80::2' };
    const open = (own: typeof host | typeof virtual): void => {
      hosts.set([{ ...camera, tag, vip4: own.vip4, vip6: own.vip6 }]);
    };
    const expected = (flow: Flow, { payload, size, start }: Send): Uint8Array[] =>
      pieces(flow, payload, size, start).map((piece) => buildPacket(flow, piece));

    it('to the overlay', () => {
      open(host);
      fc.assert(
        fc.property(flowArbitrary, sendArbitrary, fc.boolean(), (flow, send, whole) => {
          // The kernel leaves checksums, and cutting, to whoever takes its packets.
          const size = whole ? send.payload.length : send.size;
          const super_ = superPacket(flow, send.payload, whole ? 0 : size, send.start);
          const octets = frame(camera.mac, super_.subarray(VIRTIO_HEADER), { type: flow.v6 ? '86dd' : '0800' });
          octets.set(super_.subarray(0, VIRTIO_HEADER));
          move(octets, 14);
          link.toRead.push({ frame: octets, ...(tag !== null && { tag }) });
          const length = device.read(room.address, room.bytes.length);
          const found = split(room.bytes.slice(0, length))?.map(({ packet: one }) => one);
          expect(found).toEqual(expected(flow, { ...send, size }));
        }),
        { numRuns: 60 },
      );
    });

    it('to the device', () => {
      open(virtual);
      fc.assert(
        fc.property(flowArbitrary, sendArbitrary, fc.integer({ min: 1, max: 60 }), (flow, send, cuts) => {
          const octets = superPacket(flow, send.payload, send.size, send.start);
          room.bytes.set(octets);
          const first = Math.min(octets.length, VIRTIO_HEADER + 100);
          const step = Math.max(1, Math.ceil((octets.length - first) / cuts));
          let count = 0;
          for (let at = 0; at < octets.length; at += count++ === 0 ? first : step) {
            setVector(vectors, count * IOVEC, room.address + at, Math.min(at === 0 ? first : step, octets.length - at));
          }
          expect(device.writeVectors(vectors.address, count)).toBe(0);
          const written = link.written.pop()!;
          const header = tag === null ? 14 : 18;
          const onLink = written.subarray(VIRTIO_HEADER, VIRTIO_HEADER + header);
          const tagged = tag === null ? '' : '8100 6005';
          expect(onLink).toEqual(hex(`${camera.mac} ${own} ${tagged} ${flow.v6 ? '86dd' : '0800'}`));
          const packetAlone = Uint8Array.from([
            ...written.subarray(0, VIRTIO_HEADER),
            ...written.subarray(VIRTIO_HEADER + header),
          ]);
          move(packetAlone, -header);
          const found = split(packetAlone)?.map(({ packet: one }) => one);
          const sent = expected(flow, send);
          // No packet of a peer has the hop limit of the link.
          if (flow.v6 && flow.ttl === 255) for (const one of sent) one[7] = 254;
          expect(found).toEqual(sent);
        }),
        { numRuns: 60 },
      );
    });
  });

  it('has no checksum completed in what was looked at', () => {
    const octets = frame(camera.mac, packet(camera.vip4, '100.80.9.9', '00'.repeat(20)));
    const header = new DataView(octets.buffer);
    header.setUint8(0, 1);
    // From the IP header on, into its source address.
    header.setUint16(6, 14, true);
    header.setUint16(8, 12, true);
    link.toRead.push({ frame: octets });
    expect(read()).toBeNull();
    expect(readDrops(tally)).toEqual({ 'inner-malformed': 1 });
  });

  it('takes the TUN for everything that is no general node’s, and connects the adapter with its own', () => {
    write(packet('100.80.9.9', '100.80.0.3'));
    expect(tun.written).toHaveLength(1);
    link.toRead.push({ frame: frame(camera.mac, packet(camera.vip4, '100.80.0.3')) });
    expect(read()).toBeNull();
    expect(tun.written).toHaveLength(2);
    tun.toRead.push(Uint8Array.from([...virtio, ...packet('100.80.0.3', camera.vip4)]));
    tun.toRead.push(Uint8Array.from([...virtio, ...packet('100.80.0.3', '100.80.9.9')]));
    expect(read()).toEqual(packet('100.80.0.3', '100.80.9.9'));
    expect(link.written).toHaveLength(1);
  });
});
