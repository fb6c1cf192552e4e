/** Whole IP packets and UDP datagrams as values, for the few that are ours to read or write; the data path is packet.ts. */

import { viewOf, Writer } from '../lib/bytes.ts';
import { type Address, familyOf, formatAddress, parseAddress } from '../lib/ip.ts';
import type { LinkDropReason } from './link-drop.ts';
import {
  checksumValid,
  completeChecksum,
  foldSum,
  headerValid,
  Ip4,
  Ip6,
  isIp6,
  isWholePacket,
  Protocol,
  plainHeaderLength,
  protocolOf,
  pseudoSum,
  Udp,
  writeIp4Checksum,
} from './packet.ts';

const DEFAULT_HOP_LIMIT = 64;
const DONT_FRAGMENT = 0x4000;

export type IpPacket = {
  readonly source: Address;
  readonly destination: Address;
  readonly protocol: number;
  readonly hopLimit: number;
  readonly payload: Uint8Array;
};

/** A received packet, with its octets without the link's padding. */
export type ReceivedPacket = IpPacket & { readonly octets: Uint8Array };

/** Reads a packet without header options and fragments, which nothing that is spoken here uses. */
export function decodeIp(frame: Uint8Array): ReceivedPacket | LinkDropReason {
  if (frame.length < Ip4.length) return 'packet-malformed';
  const whole = viewOf(frame);
  const six = isIp6(whole, 0);
  if (six && frame.length < Ip6.length) return 'packet-malformed';
  const length = six ? Ip6.length + whole.getUint16(Ip6.payloadLength) : whole.getUint16(Ip4.totalLength);
  const octets = frame.subarray(0, length);
  const view = viewOf(octets);
  if (!isWholePacket(view, 0, octets.length)) return 'packet-malformed';
  const headerLength = plainHeaderLength(view, 0);
  if (headerLength === 0) return 'packet-not-plain';
  if (!headerValid(view, 0, headerLength)) return 'packet-malformed';
  const fields = six ? Ip6 : Ip4;
  const width = six ? 16 : 4;
  const source = formatAddress(octets, fields.source, width);
  const destination = formatAddress(octets, fields.destination, width);
  // IPv4-mapped addresses have no place on a link (RFC 4942 section 2.2).
  if (six && (familyOf(source) === 4 || familyOf(destination) === 4)) return 'packet-address';
  return {
    source,
    destination,
    protocol: protocolOf(view, 0),
    hopLimit: octets[six ? Ip6.hopLimit : Ip4.ttl]!,
    payload: octets.subarray(headerLength),
    octets,
  };
}

/** Both addresses are of one family; a transport checksum is left to `sealTransport`. */
export function encodeIp(packet: IpPacket): Uint8Array {
  const into = new Writer();
  const { payload } = packet;
  if (familyOf(packet.source) === 6) {
    into.u32(0x6000_0000);
    into.u16(payload.length);
    into.u8(packet.protocol);
    into.u8(packet.hopLimit);
  } else {
    into.u16(0x4500);
    into.u16(Ip4.length + payload.length);
    into.u16(0);
    into.u16(DONT_FRAGMENT);
    into.u8(packet.hopLimit);
    into.u8(packet.protocol);
    into.u16(0);
  }
  into.octets(parseAddress(packet.source)!);
  into.octets(parseAddress(packet.destination)!);
  into.octets(payload);
  const octets = into.written;
  const view = viewOf(octets);
  if (!isIp6(view, 0)) writeIp4Checksum(view, 0, Ip4.length);
  return octets;
}

/** Writes the checksum over pseudo-header and payload, `field` octets into the payload, of a packet just encoded. */
export function sealTransport(octets: Uint8Array, field: number): Uint8Array {
  const view = viewOf(octets);
  const start = plainHeaderLength(view, 0);
  const protocol = protocolOf(view, 0);
  view.setUint16(start + field, foldSum(pseudoSum(view, 0, protocol) + octets.length - start));
  completeChecksum(view, start, field, octets.length, protocol === Protocol.udp);
  return octets;
}

export function transportValid(packet: ReceivedPacket): boolean {
  const { octets, payload, protocol } = packet;
  return checksumValid(viewOf(octets), 0, octets.length - payload.length, octets.length, protocol);
}

export type UdpDatagram = {
  readonly source: Address;
  readonly destination: Address;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly payload: Uint8Array;
};

export function decodeUdp(packet: ReceivedPacket): UdpDatagram | LinkDropReason {
  const { source, destination, payload } = packet;
  if (packet.protocol !== Protocol.udp || payload.length < Udp.headerLength) return 'udp-malformed';
  const view = viewOf(payload);
  if (view.getUint16(Udp.length) !== payload.length) return 'udp-malformed';
  // RFC 768: zero says that there is no checksum; RFC 8200 section 8.1 forbids that in IPv6.
  const none = view.getUint16(Udp.checksum) === 0;
  if (none ? familyOf(source) === 6 : !transportValid(packet)) return 'udp-checksum';
  return {
    source,
    destination,
    sourcePort: view.getUint16(Udp.source),
    destinationPort: view.getUint16(Udp.destination),
    payload: payload.subarray(Udp.headerLength),
  };
}

/** The IP packet of a datagram. */
export function encodeUdp(datagram: UdpDatagram, hopLimit = DEFAULT_HOP_LIMIT): Uint8Array {
  const into = new Writer();
  into.u16(datagram.sourcePort);
  into.u16(datagram.destinationPort);
  into.u16(Udp.headerLength + datagram.payload.length);
  into.u16(0);
  into.octets(datagram.payload);
  const { source, destination } = datagram;
  return sealTransport(
    encodeIp({ source, destination, protocol: Protocol.udp, hopLimit, payload: into.written }),
    Udp.checksum,
  );
}
