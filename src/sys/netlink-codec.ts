/**
 * rtnetlink messages (rtnetlink(7)): what is sent to the kernel about links, addresses and routes, and what it says
 * about them. All integers are in host order, little-endian on x64 and arm64.
 *
 *   nlmsghdr                       then, by type              then attributes, each padded to 4 octets
 *   | length 32 | type 16 | flags 16 | sequence 32 | port 32 |   ifinfomsg, ifaddrmsg, rtmsg   | length 16 | type 16 | value …
 */

import { type Address, type Family, familyOf, formatAddress, type Prefix, parseAddress } from '../lib/ip.ts';

export const messageType = {
  error: 2,
  done: 3,
  newLink: 16,
  deleteLink: 17,
  getLink: 18,
  newAddress: 20,
  deleteAddress: 21,
  getAddress: 22,
  newRoute: 24,
  deleteRoute: 25,
  getRoute: 26,
  newNeighbourOption: 68,
} as const;

export const messageFlag = {
  request: 0x1,
  acknowledge: 0x4,
  dumpInterrupted: 0x10,
  replace: 0x100,
  dump: 0x300,
  create: 0x400,
} as const;

/**
 * Multicast groups of changes, RTMGRP_*: links, addresses and routes of both families, and, without a name there, options of
 * router advertisements (RTNLGRP_ND_USEROPT; that of RFC 8781 since Linux 5.7).
 */
export const changeGroups = 0x1 | 0x10 | 0x40 | 0x100 | 0x400 | 0x80000;

const AF_INET = 2;
const AF_INET6 = 10;

const linkAttribute = { name: 3, mtu: 4, txQueueLength: 13, info: 18, familySpecific: 26 } as const;
const INFO_KIND = 1;
const INET6_ADDRESS_GENERATION = 8;
const GENERATE_NONE = 1;
const addressAttribute = { address: 1, local: 2, flags: 8 } as const;
const routeAttribute = { destination: 1, link: 4, gateway: 5, metric: 6, source: 7, table: 15 } as const;
const EXTENDED_MESSAGE = 1;

const linkFlag = { up: 0x1, loopback: 0x8, running: 0x40 } as const;
const addressFlag = { temporary: 0x1, noDad: 0x2, dadFailed: 0x8, deprecated: 0x20, tentative: 0x40 } as const;
const scope = { universe: 0, link: 253 } as const;
const table = { main: 254, local: 255 } as const;
const PROTOCOL_STATIC = 4;
const UNICAST = 1;
const NEIGHBOUR_OPTIONS = 16;
const ROUTER_ADVERTISEMENT = 134;

export type Link = {
  readonly index: number;
  readonly name: string;
  readonly up: boolean;
  /** It has a carrier: packets can leave. */
  readonly running: boolean;
  readonly loopback: boolean;
  readonly mtu: number;
  /** `bridge`, `veth`, `tun` …; null for hardware. */
  readonly kind: string | null;
};

export type LinkAddress = {
  readonly index: number;
  readonly address: Address;
  readonly prefixLength: number;
  /** RFC 8981: made at random and soon replaced. */
  readonly temporary: boolean;
  /** RFC 4862: still valid, but no longer for new connections. */
  readonly deprecated: boolean;
  /** Not usable: duplicate address detection still runs or found a duplicate. */
  readonly unusable: boolean;
};

export type Route = {
  readonly destination: Prefix;
  readonly gateway: Address | null;
  /** Null for a route to several links or none. */
  readonly index: number | null;
  readonly metric: number;
  /** False for the kernel's own table of local, broadcast and multicast addresses. */
  readonly forwarding: boolean;
};

export type LinkSettings = {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly txQueueLength?: number;
  /** False: the kernel makes no IPv6 link-local address of its own. */
  readonly linkLocal?: boolean;
};

export type NewRoute = {
  readonly destination: Prefix;
  readonly index: number;
  readonly gateway?: Address;
  /** The address packets get that take this route and have none yet. */
  readonly source?: Address;
  readonly metric?: number;
};

export type NetworkEvent =
  | { readonly on: 'link'; readonly gone: boolean; readonly link: Link }
  | { readonly on: 'address'; readonly gone: boolean; readonly address: LinkAddress }
  | { readonly on: 'route'; readonly gone: boolean; readonly route: Route }
  /** Of a router advertisement that the kernel took: options that are not its own business. */
  | { readonly on: 'routerOptions'; readonly index: number; readonly octets: Uint8Array }
  /** More happened than the kernel kept for us: read everything again. */
  | { readonly on: 'overrun' };

export type Message = {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly body: Buffer;
};

const HEADER = 16;
const align = (length: number): number => (length + 3) & ~3;

function u32(value: number): Buffer {
  const octets = Buffer.alloc(4);
  octets.writeUInt32LE(value);
  return octets;
}

function attribute(type: number, value: Uint8Array): Buffer {
  const octets = Buffer.alloc(align(4 + value.length));
  octets.writeUInt16LE(4 + value.length, 0);
  octets.writeUInt16LE(type, 2);
  octets.set(value, 4);
  return octets;
}

export function encodeMessage(type: number, flags: number, sequence: number, body: Uint8Array): Buffer {
  const octets = Buffer.allocUnsafeSlow(HEADER + body.length);
  octets.writeUInt32LE(octets.length, 0);
  octets.writeUInt16LE(type, 4);
  octets.writeUInt16LE(flags, 6);
  octets.writeUInt32LE(sequence, 8);
  octets.writeUInt32LE(0, 12);
  octets.set(body, HEADER);
  return octets;
}

/** Everything of one kind: the body of a dump request is a family, 0 = all. */
export function encodeDumpBody(): Buffer {
  return Buffer.alloc(16);
}

export function encodeLink(index: number, settings: LinkSettings): Buffer {
  const header = Buffer.alloc(16);
  header.writeInt32LE(index, 4);
  if (settings.up !== undefined) {
    header.writeUInt32LE(settings.up ? linkFlag.up : 0, 8);
    header.writeUInt32LE(linkFlag.up, 12);
  }
  const parts: Buffer[] = [header];
  if (settings.mtu !== undefined) parts.push(attribute(linkAttribute.mtu, u32(settings.mtu)));
  if (settings.txQueueLength !== undefined) {
    parts.push(attribute(linkAttribute.txQueueLength, u32(settings.txQueueLength)));
  }
  if (settings.linkLocal === false) {
    const generation = attribute(INET6_ADDRESS_GENERATION, Uint8Array.of(GENERATE_NONE));
    parts.push(attribute(linkAttribute.familySpecific, attribute(AF_INET6, generation)));
  }
  return Buffer.concat(parts);
}

export function encodeAddress(index: number, prefix: Prefix): Buffer {
  const octets = parseAddress(prefix.address)!;
  const header = Buffer.alloc(8);
  header[0] = octets.length === 4 ? AF_INET : AF_INET6;
  header[1] = prefix.length;
  // The address is ours alone by its certificate; duplicate detection would only make it unusable for a second.
  header[2] = addressFlag.noDad;
  header.writeUInt32LE(index, 4);
  return Buffer.concat([
    header,
    attribute(addressAttribute.local, octets),
    attribute(addressAttribute.address, octets),
  ]);
}

export function encodeRoute(route: NewRoute): Buffer {
  const octets = parseAddress(route.destination.address)!;
  const header = Buffer.alloc(12);
  header[0] = octets.length === 4 ? AF_INET : AF_INET6;
  header[1] = route.destination.length;
  header[4] = table.main;
  header[5] = PROTOCOL_STATIC;
  header[6] = route.gateway === undefined && octets.length === 4 ? scope.link : scope.universe;
  header[7] = UNICAST;
  const parts = [
    header,
    attribute(routeAttribute.destination, octets),
    attribute(routeAttribute.link, u32(route.index)),
  ];
  if (route.gateway !== undefined) parts.push(attribute(routeAttribute.gateway, parseAddress(route.gateway)!));
  if (route.source !== undefined) parts.push(attribute(routeAttribute.source, parseAddress(route.source)!));
  if (route.metric !== undefined) parts.push(attribute(routeAttribute.metric, u32(route.metric)));
  return Buffer.concat(parts);
}

/** The messages in one read from the kernel. */
export function decodeMessages(octets: Buffer): Message[] {
  const messages: Message[] = [];
  for (let at = 0; at + HEADER <= octets.length; ) {
    const length = octets.readUInt32LE(at);
    if (length < HEADER || at + length > octets.length) break;
    messages.push({
      type: octets.readUInt16LE(at + 4),
      flags: octets.readUInt16LE(at + 6),
      sequence: octets.readUInt32LE(at + 8),
      body: octets.subarray(at + HEADER, at + length),
    });
    at += align(length);
  }
  return messages;
}

function decodeAttributes(octets: Buffer): Map<number, Buffer> {
  const attributes = new Map<number, Buffer>();
  for (let at = 0; at + 4 <= octets.length; ) {
    const length = octets.readUInt16LE(at);
    if (length < 4 || at + length > octets.length) break;
    // The two top bits are flags (nested, network order), not part of the type.
    attributes.set(octets.readUInt16LE(at + 2) & 0x3fff, octets.subarray(at + 4, at + length));
    at += align(length);
  }
  return attributes;
}

/** errno (0 = acknowledged) and the kernel's own words, if it has any. */
export function decodeError(message: Message): { readonly errno: number; readonly text: string } {
  const errno = -message.body.readInt32LE(0);
  // With NETLINK_CAP_ACK only the header of the request is repeated before the attributes.
  const text = decodeAttributes(message.body.subarray(4 + HEADER)).get(EXTENDED_MESSAGE);
  return { errno, text: text?.toString('latin1').replace(/\0.*$/s, '') ?? '' };
}

const text = (octets: Buffer | undefined): string => octets?.toString('utf8').replace(/\0.*$/s, '') ?? '';

function decodeLink(body: Buffer): Link {
  const attributes = decodeAttributes(body.subarray(16));
  const flags = body.readUInt32LE(8);
  const info = attributes.get(linkAttribute.info);
  return {
    index: body.readInt32LE(4),
    name: text(attributes.get(linkAttribute.name)),
    up: (flags & linkFlag.up) !== 0,
    running: (flags & linkFlag.running) !== 0,
    loopback: (flags & linkFlag.loopback) !== 0,
    mtu: attributes.get(linkAttribute.mtu)?.readUInt32LE(0) ?? 0,
    kind: info === undefined ? null : text(decodeAttributes(info).get(INFO_KIND)),
  };
}

function decodeAddress(body: Buffer): LinkAddress | null {
  const attributes = decodeAttributes(body.subarray(8));
  // On a point-to-point link IFA_ADDRESS is the other end and IFA_LOCAL ours; IPv6 has only IFA_ADDRESS.
  const octets = attributes.get(addressAttribute.local) ?? attributes.get(addressAttribute.address);
  if (octets === undefined) return null;
  const flags = attributes.get(addressAttribute.flags)?.readUInt32LE(0) ?? body[2]!;
  return {
    index: body.readUInt32LE(4),
    address: formatAddress(octets),
    prefixLength: body[1]!,
    // For IPv4 the same bit means "secondary", which says nothing about the address's life.
    temporary: body[0] === AF_INET6 && (flags & addressFlag.temporary) !== 0,
    deprecated: (flags & addressFlag.deprecated) !== 0,
    unusable: (flags & (addressFlag.tentative | addressFlag.dadFailed)) !== 0,
  };
}

function decodeRoute(body: Buffer): Route | null {
  const family: Family | null = body[0] === AF_INET ? 4 : body[0] === AF_INET6 ? 6 : null;
  if (family === null) return null;
  const attributes = decodeAttributes(body.subarray(12));
  const destination = attributes.get(routeAttribute.destination) ?? Buffer.alloc(family === 4 ? 4 : 16);
  const gateway = attributes.get(routeAttribute.gateway);
  const type = body[7]!;
  return {
    destination: { address: formatAddress(destination), length: body[1]! },
    gateway: gateway === undefined ? null : formatAddress(gateway),
    index: attributes.get(routeAttribute.link)?.readUInt32LE(0) ?? null,
    metric: attributes.get(routeAttribute.metric)?.readUInt32LE(0) ?? 0,
    forwarding: type === UNICAST && (attributes.get(routeAttribute.table)?.readUInt32LE(0) ?? body[4]) !== table.local,
  };
}

/**
 *  | family 8 | 8 | length 16 | link 32 | ICMPv6 type 8 | code 8 | 48 |   options … | attributes
 */
function decodeRouterOptions(body: Buffer): NetworkEvent | null {
  const length = body.length < NEIGHBOUR_OPTIONS ? 0 : body.readUInt16LE(2);
  const isWhole = length > 0 && NEIGHBOUR_OPTIONS + length <= body.length;
  if (!isWhole || body[0] !== AF_INET6 || body[8] !== ROUTER_ADVERTISEMENT) return null;
  const octets = Uint8Array.from(body.subarray(NEIGHBOUR_OPTIONS, NEIGHBOUR_OPTIONS + length));
  return { on: 'routerOptions', index: body.readInt32LE(4), octets };
}

/** What a message says about the network, or null for the kinds and families we don't follow. */
export function decodeEvent({ type, body }: Message): NetworkEvent | null {
  switch (type) {
    case messageType.newLink:
    case messageType.deleteLink:
      return { on: 'link', gone: type === messageType.deleteLink, link: decodeLink(body) };
    case messageType.newAddress:
    case messageType.deleteAddress: {
      const address = decodeAddress(body);
      return address && { on: 'address', gone: type === messageType.deleteAddress, address };
    }
    case messageType.newRoute:
    case messageType.deleteRoute: {
      const route = decodeRoute(body);
      return route && { on: 'route', gone: type === messageType.deleteRoute, route };
    }
    case messageType.newNeighbourOption:
      return decodeRouterOptions(body);
    default:
      return null;
  }
}

/** A host route's prefix: the address alone. */
export function hostPrefix(address: Address): Prefix {
  return { address, length: familyOf(address) === 4 ? 32 : 128 };
}
