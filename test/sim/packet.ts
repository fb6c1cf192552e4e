/** Inner packets of simulated applications: a whole IP packet with eight octets that tell whose it is and which. */

import { raise } from '../../src/lib/errors.ts';
import { type Address, formatAddress, parseAddress } from '../../src/lib/ip.ts';
import { Ip4, Ip6 } from '../../src/net/packet.ts';

const UNASSIGNED_PROTOCOL = 253;
/** At least. */
const PAYLOAD = 8;

export function makePacket(
  source: Address,
  destination: Address,
  flow: number,
  number: number,
  payload = PAYLOAD,
): Uint8Array {
  const [from, to] = [parseAddress(source), parseAddress(destination)];
  if (from === null || to === null || from.length !== to.length) {
    return raise('BUG_ARGUMENT', { what: `a packet from ${source} to ${destination}` });
  }
  const v6 = from.length === 16;
  const header = v6 ? Ip6.length : Ip4.length;
  const packet = new Uint8Array(header + payload);
  const view = new DataView(packet.buffer);
  if (v6) {
    view.setUint8(0, 0x60);
    view.setUint16(Ip6.payloadLength, payload);
    view.setUint8(Ip6.next, UNASSIGNED_PROTOCOL);
  } else {
    view.setUint8(0, 0x45);
    view.setUint16(Ip4.totalLength, packet.length);
    view.setUint8(Ip4.protocol, UNASSIGNED_PROTOCOL);
  }
  packet.set(from, v6 ? Ip6.source : Ip4.source);
  packet.set(to, v6 ? Ip6.destination : Ip4.destination);
  view.setUint32(header, flow);
  view.setUint32(header + 4, number);
  return packet;
}

export function addressesOf(packet: Uint8Array): { readonly source: Address; readonly destination: Address } {
  const v6 = packet[0]! >> 4 === 6;
  const length = v6 ? 16 : 4;
  return {
    source: formatAddress(packet, v6 ? Ip6.source : Ip4.source, length),
    destination: formatAddress(packet, v6 ? Ip6.destination : Ip4.destination, length),
  };
}

export function contentOf(packet: Uint8Array): { readonly flow: number; readonly number: number } {
  const view = new DataView(packet.buffer, packet.byteOffset + packet.length - PAYLOAD);
  return { flow: view.getUint32(0), number: view.getUint32(4) };
}
