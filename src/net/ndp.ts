/** IPv6 neighbour discovery messages (RFC 4861 section 4) with the checks a receiver owes (sections 6.1 and 7.1). */

import { Reader, Writer } from '../lib/bytes.ts';
import { type Address, contains, familyOf, formatAddress, isLinkLocal, parseAddress, parsePrefix } from '../lib/ip.ts';
import { encodeIp, type ReceivedPacket, sealTransport, transportValid } from './datagram.ts';
import type { LinkDropReason } from './link-drop.ts';
import { decodeNdpOptions, encodeNdpOptions, type NdpOptions } from './ndp-options.ts';
import { Protocol } from './packet.ts';

export const ALL_NODES: Address = 'ff02::1';
export const ALL_ROUTERS: Address = 'ff02::2';
export const UNSPECIFIED6: Address = '::';

/** Proof that a packet comes from this link: no router lets 255 through. */
const HOP_LIMIT = 255;
const CHECKSUM = 2;
const HEADER = 4;
const multicast = parsePrefix('ff00::/8')!;
const solicitedNodes = parsePrefix('ff02::1:ff00:0/104')!;

export const ndpType = {
  routerSolicitation: 133,
  routerAdvertisement: 134,
  neighbourSolicitation: 135,
  neighbourAdvertisement: 136,
} as const;

export type RouterSolicitation = { readonly type: 'routerSolicitation'; readonly options: NdpOptions };
export type RouterAdvertisement = {
  readonly type: 'routerAdvertisement';
  /** 0 = the router doesn't say; so too for the times. */
  readonly hopLimit: number;
  /** Addresses come by DHCPv6 (M), or only other configuration does (O). */
  readonly managed: boolean;
  readonly otherConfiguration: boolean;
  /** Seconds as a default router; 0 = none, or no longer one. */
  readonly lifetime: number;
  readonly reachableMs: number;
  readonly retransmitMs: number;
  readonly options: NdpOptions;
};
export type NeighbourSolicitation = {
  readonly type: 'neighbourSolicitation';
  readonly target: Address;
  readonly options: NdpOptions;
};
export type NeighbourAdvertisement = {
  readonly type: 'neighbourAdvertisement';
  readonly router: boolean;
  readonly solicited: boolean;
  readonly override: boolean;
  readonly target: Address;
  readonly options: NdpOptions;
};
export type NdpMessage = RouterSolicitation | RouterAdvertisement | NeighbourSolicitation | NeighbourAdvertisement;

/** Whether a packet is one of these messages by its type, whatever else is wrong with it. */
export function isNdp(packet: ReceivedPacket): boolean {
  const type = packet.payload[0] ?? 0;
  return packet.protocol === Protocol.icmp6 && type >= 133 && type <= 137;
}

export function decodeNdp(packet: ReceivedPacket): NdpMessage | LinkDropReason {
  if (packet.hopLimit !== HOP_LIMIT) return 'ndp-hop-limit';
  if (packet.protocol !== Protocol.icmp6 || packet.payload.length < HEADER) return 'ndp-malformed';
  if (!transportValid(packet)) return 'ndp-checksum';
  const from = new Reader(packet.payload);
  const type = from.u8();
  const code = from.u8();
  from.u16();
  const read = readers[type];
  if (read === undefined) return 'ndp-type';
  const message = code === 0 ? read(from) : null;
  if (message === null || from.failed) return 'ndp-malformed';
  return addressesFit(message, packet) ? message : 'ndp-address';
}

const readers: Readonly<Record<number, (from: Reader) => NdpMessage | null>> = {
  [ndpType.routerSolicitation]: (from) => {
    from.u32();
    const options = decodeNdpOptions(from);
    return options && { type: 'routerSolicitation', options };
  },
  [ndpType.routerAdvertisement]: (from) => {
    const hopLimit = from.u8();
    const flags = from.u8();
    const head = {
      type: 'routerAdvertisement' as const,
      hopLimit,
      managed: (flags & RouterFlag.managed) !== 0,
      otherConfiguration: (flags & RouterFlag.other) !== 0,
      lifetime: from.u16(),
      reachableMs: from.u32(),
      retransmitMs: from.u32(),
    };
    const options = decodeNdpOptions(from);
    return options && { ...head, options };
  },
  [ndpType.neighbourSolicitation]: (from) => {
    from.u32();
    const target = readTarget(from);
    const options = decodeNdpOptions(from);
    return options && { type: 'neighbourSolicitation', target, options };
  },
  [ndpType.neighbourAdvertisement]: (from) => {
    const flags = from.u32() >>> 24;
    const target = readTarget(from);
    const options = decodeNdpOptions(from);
    return (
      options && {
        type: 'neighbourAdvertisement',
        router: (flags & NeighbourFlag.router) !== 0,
        solicited: (flags & NeighbourFlag.solicited) !== 0,
        override: (flags & NeighbourFlag.override) !== 0,
        target,
        options,
      }
    );
  },
};

const RouterFlag = { managed: 0x80, other: 0x40 } as const;
const NeighbourFlag = { router: 0x80, solicited: 0x40, override: 0x20 } as const;

function readTarget(from: Reader): Address {
  const octets = from.take(16);
  return from.failed ? '' : formatAddress(octets);
}

function addressesFit(message: NdpMessage, { source, destination }: ReceivedPacket): boolean {
  const nobody = source === UNSPECIFIED6;
  const { sourceMac } = message.options;
  switch (message.type) {
    case 'routerSolicitation':
      return !nobody || sourceMac === null;
    case 'routerAdvertisement':
      return isLinkLocal(source);
    case 'neighbourSolicitation':
      if (!isTarget(message.target)) return false;
      return !nobody || (sourceMac === null && contains(solicitedNodes, destination));
    case 'neighbourAdvertisement':
      return isTarget(message.target) && !nobody && !(message.solicited && contains(multicast, destination));
  }
}

function isTarget(address: Address): boolean {
  return familyOf(address) === 6 && address !== UNSPECIFIED6 && !contains(multicast, address);
}

/** Whether somebody asks for an address before taking it: duplicate address detection (RFC 4862 section 5.4). */
export function isDuplicateDetection(packet: ReceivedPacket): boolean {
  return packet.source === UNSPECIFIED6;
}

/** The address all nodes with this address listen to (RFC 4291 section 2.7.1). */
export function solicitedNode(address: Address): Address {
  const octets = parseAddress(solicitedNodes.address)!;
  octets.set(parseAddress(address)!.subarray(13), 13);
  return formatAddress(octets);
}

/** The IPv6 packet of a message. */
export function encodeNdp(message: NdpMessage, source: Address, destination: Address): Uint8Array {
  const into = new Writer();
  into.u8(ndpType[message.type]);
  into.u8(0);
  into.u16(0);
  writeBody(message, into);
  encodeNdpOptions(message.options, into);
  const packet = { source, destination, protocol: Protocol.icmp6, hopLimit: HOP_LIMIT, payload: into.written };
  return sealTransport(encodeIp(packet), CHECKSUM);
}

function writeBody(message: NdpMessage, into: Writer): void {
  switch (message.type) {
    case 'routerSolicitation':
      into.u32(0);
      break;
    case 'routerAdvertisement':
      into.u8(message.hopLimit);
      into.u8((message.managed ? RouterFlag.managed : 0) | (message.otherConfiguration ? RouterFlag.other : 0));
      into.u16(message.lifetime);
      into.u32(message.reachableMs);
      into.u32(message.retransmitMs);
      break;
    case 'neighbourSolicitation':
      into.u32(0);
      into.octets(parseAddress(message.target)!);
      break;
    case 'neighbourAdvertisement':
      into.u8(
        (message.router ? NeighbourFlag.router : 0) |
          (message.solicited ? NeighbourFlag.solicited : 0) |
          (message.override ? NeighbourFlag.override : 0),
      );
      into.zeros(3);
      into.octets(parseAddress(message.target)!);
  }
}
