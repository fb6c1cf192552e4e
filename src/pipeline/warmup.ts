/**
 * JavaScript starts interpreted: synthetic packets go through both directions before a thread takes real traffic, so that
 * the first ones are not the slow ones.
 */

import { foldSum, Ip4, Protocol, pseudoSum, Tcp, TcpFlag, Udp, writeIp4Checksum } from '../net/packet.ts';
import { Suite } from '../proto/constants.ts';
import { MemoryDevice, MemoryPort } from '../sys/edges.ts';
import { encodeSockaddr } from '../sys/sockaddr.ts';
import { GsoType, VIRTIO_HEADER, VirtioFlag } from '../sys/tun.ts';
import { EventWriter, eventMemory } from './event-ring.ts';
import { Inside } from './inside.ts';
import { Outside } from './outside.ts';
import { Tally, TrafficCounters, tallyMemory, trafficMemory } from './tally.ts';

const ROUNDS = 60;
const SMALL_PACKETS = 24;
const a = { vip4: '192.0.2.1', vip6: null };
const b = { vip4: '192.0.2.2', vip6: null };
const pathId = '00'.repeat(16);
const address = encodeSockaddr({ address: '192.0.2.3', port: 1 });

/** Sends packets from one end of a path to the other, without any descriptor. Returns how many arrived. */
export function warmUp(): number {
  const device = new MemoryDevice();
  const port = new MemoryPort();
  const common = {
    device,
    port,
    tally: new Tally(tallyMemory(1), 0),
    traffic: new TrafficCounters(trafficMemory()),
    events: new EventWriter(eventMemory(), () => {}),
  };
  const inside = new Inside({ ...common, overlay: [], localPort: 1, now: () => 0 });
  const offload = { tcp: true, udp: true };
  const outside = new Outside({
    ...common,
    offload,
    relay: null,
    forbidden: [],
    signalling: { perSecond: 0, burst: 0 },
    now: () => 0,
  });
  const key = new Uint8Array(32);
  inside.command({ do: 'installPath', pathId, local: a, peer: b }, 0);
  outside.command({ do: 'installPath', pathId, local: b, peer: a }, 0);
  for (const side of [inside, outside]) {
    const keys = { epoch: 0, suite: Suite.aes256Gcm, sendKey: key, receiveKey: key, activate: true } as const;
    side.command({ do: 'installKey', pathId, ...keys }, 0);
  }
  inside.command({ do: 'setEndpoint', pathId, endpoint: { address: '192.0.2.3', port: 1 }, relayed: false }, 0);
  inside.command({ do: 'route', local: a, peer: b, pathId }, 0);
  let arrived = 0;
  for (let round = 0; round < ROUNDS; round++) {
    device.toRead.push(largeTcpPacket());
    for (let i = 0; i < SMALL_PACKETS; i++) device.toRead.push(smallUdpPacket(i));
    while (inside.pump() > 0);
    port.toReceive.push(...port.sent.splice(0).map((run) => ({ ...run, address })));
    while (outside.pump(0) > 0);
    arrived += device.written.splice(0).length;
  }
  return arrived;
}

export const TCP_PAYLOAD = 60_000;
export const TCP_SEGMENT = 1_360;

/** What a TUN hands out for a large write to a TCP socket. */
export function largeTcpPacket(): Uint8Array {
  const packet = new Uint8Array(VIRTIO_HEADER + Ip4.length + Tcp.length + TCP_PAYLOAD);
  const view = ip4Packet(packet, Protocol.tcp);
  const tcp = VIRTIO_HEADER + Ip4.length;
  view.setUint8(1, GsoType.tcp4);
  view.setUint16(4, TCP_SEGMENT, true);
  view.setUint16(8, Tcp.checksum, true);
  view.setUint8(tcp + Tcp.dataOffset, (Tcp.length / 4) << 4);
  view.setUint8(tcp + Tcp.flags, TcpFlag.ack);
  return packet;
}

export function smallUdpPacket(id: number): Uint8Array {
  const length = Udp.headerLength + 64;
  const packet = new Uint8Array(VIRTIO_HEADER + Ip4.length + length);
  const view = ip4Packet(packet, Protocol.udp);
  const ip = VIRTIO_HEADER;
  const udp = ip + Ip4.length;
  view.setUint16(ip + Ip4.id, id);
  writeIp4Checksum(view, ip, Ip4.length);
  view.setUint16(8, Udp.checksum, true);
  view.setUint16(udp + Udp.length, length);
  view.setUint16(udp + Udp.checksum, foldSum(pseudoSum(view, ip, Protocol.udp) + length));
  return packet;
}

/** Fills in the IPv4 header and the parts of the virtio-net header that both kinds share. */
function ip4Packet(packet: Uint8Array, protocol: number): DataView {
  const view = new DataView(packet.buffer);
  const ip = VIRTIO_HEADER;
  view.setUint8(0, VirtioFlag.needsChecksum);
  view.setUint16(6, Ip4.length, true);
  view.setUint8(ip, 0x45);
  view.setUint16(ip + Ip4.totalLength, packet.length - VIRTIO_HEADER);
  view.setUint8(ip + Ip4.ttl, 64);
  view.setUint8(ip + Ip4.protocol, protocol);
  view.setUint32(ip + Ip4.source, 0xc0000201);
  view.setUint32(ip + Ip4.destination, 0xc0000202);
  writeIp4Checksum(view, ip, Ip4.length);
  return view;
}
