/** Tells senders of packets larger than their path carries what it does carry (RFC 1191, RFC 8201), through the device. */

import { formatAddress } from '../lib/ip.ts';
import { icmpError } from '../net/icmp-error.ts';
import { Ip4, Ip6, isIp6 } from '../net/packet.ts';
import { allocate } from '../sys/memory.ts';
import { type PacketDevice, VIRTIO_HEADER } from '../sys/tun.ts';

const ROOM = VIRTIO_HEADER + 1_280;
/** RFC 4443 section 2.4 (f): a bucket. One message tells a connection, and as a rule a whole host. */
const BURST = 50;
const PER_SECOND = 100;

const DONT_FRAGMENT = 0x4000;
/** No IPv6 link may refuse less (RFC 8200 section 5). */
const LEAST_IP6 = 1_280;

/**
 * Whether a packet that is too large may be refused. Otherwise the tunnel itself has to carry it in pieces, as nobody else
 * would make it smaller.
 */
export function mayRefuse(view: DataView, ip: number, length: number): boolean {
  return isIp6(view, ip) ? length > LEAST_IP6 : (view.getUint16(ip + Ip4.fragment) & DONT_FRAGMENT) !== 0;
}

export class TooBig {
  readonly #device: PacketDevice;
  readonly #now: () => number;
  readonly #memory = allocate(ROOM);
  #credit = BURST;
  #at = 0;

  /** `now`: monotonic milliseconds. */
  constructor(device: PacketDevice, now: () => number) {
    this.#device = device;
    this.#now = now;
  }

  /**
   * The sender of this packet learns the MTU. The message comes from where the packet was to go: from there on it is the
   * peer's, and nothing else at that end has an address that a host would believe. Whether it was told.
   */
  tell(packet: Uint8Array, mtu: number): boolean {
    const now = this.#now();
    this.#credit = Math.min(BURST, this.#credit + ((now - this.#at) * PER_SECOND) / 1_000);
    this.#at = now;
    if (this.#credit < 1) return false;
    const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
    const v6 = isIp6(view, 0);
    const from = formatAddress(packet, v6 ? Ip6.destination : Ip4.destination, v6 ? 16 : 4);
    const error = icmpError(packet, from, { kind: 'tooBig', mtu: v6 ? Math.max(mtu, LEAST_IP6) : mtu });
    if (error === null) return false;
    this.#credit--;
    this.#memory.bytes.fill(0, 0, VIRTIO_HEADER);
    this.#memory.bytes.set(error, VIRTIO_HEADER);
    return this.#device.write(this.#memory.address, VIRTIO_HEADER + error.length) === 0;
  }
}
