/** What a frame from a device on the inner link is: something said to the adapter itself, or a packet to carry. */

import { viewOf } from '../lib/bytes.ts';
import type { Address } from '../lib/ip.ts';
import { type Arp, decodeArp } from './arp.ts';
import { decodeIp, decodeUdp, type ReceivedPacket, type UdpDatagram } from './datagram.ts';
import { DHCP4_CLIENT_PORT, DHCP4_SERVER_PORT } from './dhcp4.ts';
import { DHCP6_CLIENT_PORT, DHCP6_SERVER_PORT } from './dhcp6.ts';
import { EtherType, type Frame } from './ethernet.ts';
import type { LinkDropReason } from './link-drop.ts';
import { decodeNdp, isNdp, type NdpMessage } from './ndp.ts';
import { Ip4, Ip6, isIp6, Protocol, plainHeaderLength, protocolOf, Udp } from './packet.ts';

export type LinkMessage =
  | { readonly is: 'eapol'; readonly pdu: Uint8Array }
  | { readonly is: 'arp'; readonly arp: Arp }
  | {
      readonly is: 'ndp';
      readonly packet: ReceivedPacket;
      readonly message: Exclude<NdpMessage, { type: 'routerAdvertisement' }>;
    }
  | { readonly is: 'dhcp4' | 'dhcp6'; readonly datagram: UdpDatagram }
  /** IPv4 or IPv6 for somebody else, not looked into; the link's padding may follow it. */
  | { readonly is: 'packet'; readonly octets: Uint8Array }
  /** A protocol that has no place in the overlay. */
  | { readonly is: 'other' };

/** `gateway4` is the adapter's own address, which clients renew their lease at. */
export function readFrame(frame: Frame, gateway4: Address | null): LinkMessage | LinkDropReason {
  switch (frame.etherType) {
    case EtherType.eapol:
      return { is: 'eapol', pdu: frame.payload };
    case EtherType.arp: {
      const arp = decodeArp(frame.payload);
      return typeof arp === 'string' ? arp : { is: 'arp', arp };
    }
    case EtherType.ipv4:
    case EtherType.ipv6:
      return readPacket(frame.payload, frame.etherType === EtherType.ipv6, gateway4);
    default:
      return { is: 'other' };
  }
}

const BROADCAST: Address = '255.255.255.255';

function readPacket(octets: Uint8Array, six: boolean, gateway4: Address | null): LinkMessage | LinkDropReason {
  const carried: LinkMessage = { is: 'packet', octets };
  if (octets.length < (six ? Ip6.length : Ip4.length) || isIp6(viewOf(octets), 0) !== six) return 'packet-malformed';
  if (!isControl(octets, six)) return carried;
  const packet = decodeIp(octets);
  if (typeof packet === 'string') return packet;
  if (packet.protocol === Protocol.icmp6) return isNdp(packet) ? readNdp(packet) : carried;
  const datagram = decodeUdp(packet);
  if (typeof datagram === 'string') return datagram;
  if (six) return datagram.destinationPort === DHCP6_CLIENT_PORT ? 'dhcp6-rogue-server' : { is: 'dhcp6', datagram };
  if (datagram.destinationPort === DHCP4_CLIENT_PORT) return 'dhcp4-rogue-server';
  // A DHCP relay's unicast to some server is as any other packet.
  const ours = datagram.destination === BROADCAST || datagram.destination === gateway4;
  return ours ? { is: 'dhcp4', datagram } : carried;
}

function readNdp(packet: ReceivedPacket): LinkMessage | LinkDropReason {
  const message = decodeNdp(packet);
  if (typeof message === 'string') return message;
  return message.type === 'routerAdvertisement' ? 'rogue-router' : { is: 'ndp', packet, message };
}

/** A quick look whether a packet may be ICMPv6 or DHCP. */
function isControl(octets: Uint8Array, six: boolean): boolean {
  const view = viewOf(octets);
  const start = plainHeaderLength(view, 0);
  const protocol = protocolOf(view, 0);
  if (six && protocol === Protocol.icmp6) return true;
  if (start === 0 || protocol !== Protocol.udp || octets.length < start + Udp.headerLength) return false;
  const port = view.getUint16(start + Udp.destination);
  return six
    ? port === DHCP6_CLIENT_PORT || port === DHCP6_SERVER_PORT
    : port === DHCP4_CLIENT_PORT || port === DHCP4_SERVER_PORT;
}
