/** What carries the datagrams of simulated nodes: a socket for each, or a TUN device that has room for any number of them. */

import { execFileSync } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { type Endpoint, formatAddress, parseAddress } from '../../src/lib/ip.ts';
import { foldSum, Ip4, Protocol, pseudoSum, Udp, writeIp4Checksum } from '../../src/net/packet.ts';
import { allocate } from '../../src/sys/memory.ts';
import { Poller } from '../../src/sys/poll.ts';
import { GsoType, openTun, Tun, VIRTIO_HEADER, VirtioFlag } from '../../src/sys/tun.ts';

/** Nodes behind one address, as behind one provider's NAT; each has a port of its own. */
const NODES_PER_ADDRESS = 16;

export type Receive = (datagram: Uint8Array, from: Endpoint) => void;
/** One node's place in the network. */
export type Seat = { readonly at: Endpoint; readonly send: (to: Endpoint, datagram: Uint8Array) => void };

export interface Wire {
  /** The place of node number `index`, counted from 0. */
  join(index: number, receive: Receive): Promise<Seat>;
  /** Hands over what has arrived; waits for it at most that long (ms) if there is nothing. */
  pump(waitMs: number): void;
  /** How long ago nothing was waiting there (ms). */
  readonly behindMs: number;
  close(): void;
}

/** The address of a node in 172.16.0.0/12. */
function addressOf(index: number): string {
  const place = Math.floor(index / NODES_PER_ADDRESS);
  return formatAddress(Uint8Array.of(172, 16 + (place >> 16), (place >> 8) & 255, place & 255));
}

/** Sockets bound to addresses that the host has. */
export class SocketWire implements Wire {
  readonly #sockets: Socket[] = [];

  async join(index: number, receive: Receive): Promise<Seat> {
    const socket = createSocket('udp4');
    const address = addressOf(index);
    await new Promise<void>((resolve) => socket.bind(0, address, resolve));
    socket.setRecvBufferSize(1 << 20);
    socket.on('message', (datagram, { address, port }) => receive(datagram, { address, port }));
    this.#sockets.push(socket);
    return {
      at: { address, port: socket.address().port },
      send: (to, datagram) => socket.send(datagram, to.port, to.address),
    };
  }

  /** The event loop does it. */
  pump(): void {}

  get behindMs(): number {
    return 0;
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
  }
}

const FIRST_PORT = 20_000;
const PACKET_ROOM = 65_600;
const QUEUE_PACKETS = 50_000;
const PACKETS_AT_ONCE = 512;
/** A poll that finds something takes less. */
const WAITED_MS = 0.05;
const IP = VIRTIO_HEADER;
const UDP = IP + Ip4.length;
const PAYLOAD = UDP + Udp.headerLength;

/** Packets written to and read from a TUN device: to the services here they come from a network of any size. */
export class TunWire implements Wire {
  readonly #tun: Tun;
  readonly #poller: Poller;
  readonly #nodes: Receive[] = [];
  readonly #in = allocate(PACKET_ROOM);
  readonly #out = allocate(PACKET_ROOM);
  #emptyAt = performance.now();

  constructor(range: string) {
    const handle = openTun({ name: 'nodes', tcp: false, udp: false });
    this.#tun = new Tun(handle);
    this.#poller = new Poller([handle.fd]);
    execFileSync('ip', ['link', 'set', handle.name, 'txqueuelen', String(QUEUE_PACKETS), 'up']);
    execFileSync('ip', ['route', 'add', range, 'dev', handle.name]);
    const { view } = this.#out;
    view.setUint8(IP, 0x45);
    view.setUint8(IP + Ip4.ttl, 64);
    view.setUint8(IP + Ip4.protocol, Protocol.udp);
  }

  async join(index: number, receive: Receive): Promise<Seat> {
    this.#nodes[index] = receive;
    const at = { address: addressOf(index), port: FIRST_PORT + (index % NODES_PER_ADDRESS) };
    const source = parseAddress(at.address)!;
    return { at, send: (to, datagram) => this.#send(source, at.port, to, datagram) };
  }

  pump(waitMs: number): void {
    const { bytes, address } = this.#in;
    if (waitMs >= 1) this.#wait(Math.floor(waitMs));
    for (let i = 0; i < PACKETS_AT_ONCE; i++) {
      const length = this.#tun.read(address, PACKET_ROOM);
      if (length === 0) {
        this.#emptyAt = performance.now();
        return;
      }
      if (length > PAYLOAD && bytes[IP + Ip4.protocol] === Protocol.udp) this.#received(length);
    }
  }

  get behindMs(): number {
    return performance.now() - this.#emptyAt;
  }

  close(): void {}

  /** What ends a wait came then; what did not have to be waited for may have been there before. */
  #wait(ms: number): void {
    const began = performance.now();
    this.#poller.wait(ms);
    const now = performance.now();
    if (now - began >= WAITED_MS) this.#emptyAt = now;
  }

  /**
   * Sends datagrams of `segment` octets from a node as one packet, as a network card hands them over that has put together
   * what belongs together.
   */
  sendMerged(from: Endpoint, to: Endpoint, datagrams: Uint8Array, segment: number): void {
    const { view } = this.#out;
    view.setUint8(0, VirtioFlag.needsChecksum);
    view.setUint8(1, GsoType.udp);
    view.setUint16(2, PAYLOAD - IP, true);
    view.setUint16(4, segment, true);
    view.setUint16(6, Ip4.length, true);
    view.setUint16(8, Udp.checksum, true);
    this.#send(parseAddress(from.address)!, from.port, to, datagrams);
    view.setBigUint64(0, 0n);
    view.setUint16(8, 0);
  }

  /** Throws away what has arrived; how many octets of UDP that was. */
  drain(waitMs: number): number {
    let octets = 0;
    this.#poller.wait(waitMs);
    for (let i = 0; i < PACKETS_AT_ONCE; i++) {
      const length = this.#tun.read(this.#in.address, PACKET_ROOM);
      if (length === 0) break;
      octets += Math.max(0, length - PAYLOAD);
    }
    return octets;
  }

  #received(length: number): void {
    const { bytes, view } = this.#in;
    const to = IP + Ip4.destination;
    const place = ((bytes[to + 1]! - 16) << 16) | (bytes[to + 2]! << 8) | bytes[to + 3]!;
    const index = place * NODES_PER_ADDRESS + view.getUint16(UDP + Udp.destination) - FIRST_PORT;
    const from = { address: formatAddress(bytes, IP + Ip4.source, 4), port: view.getUint16(UDP + Udp.source) };
    this.#nodes[index]?.(bytes.subarray(PAYLOAD, length), from);
  }

  #send(source: Uint8Array, port: number, to: Endpoint, datagram: Uint8Array): void {
    const { bytes, view, address } = this.#out;
    view.setUint16(IP + Ip4.totalLength, PAYLOAD - IP + datagram.length);
    bytes.set(source, IP + Ip4.source);
    bytes.set(parseAddress(to.address)!, IP + Ip4.destination);
    writeIp4Checksum(view, IP, Ip4.length);
    view.setUint16(UDP + Udp.source, port);
    view.setUint16(UDP + Udp.destination, to.port);
    const length = Udp.headerLength + datagram.length;
    view.setUint16(UDP + Udp.length, length);
    // Whoever completes it expects the sum of the pseudo-header; else there is none, which IPv4 leaves to the sender.
    const isPartial = view.getUint8(0) === VirtioFlag.needsChecksum;
    view.setUint16(UDP + Udp.checksum, isPartial ? foldSum(pseudoSum(view, IP, Protocol.udp) + length) : 0);
    bytes.set(datagram, PAYLOAD);
    this.#tun.write(address, PAYLOAD + datagram.length);
  }
}
