/** Options of neighbour discovery messages (RFC 4861 section 4.6, RFC 8106 section 5, RFC 8781): units of 8 octets. */

import { Reader, Writer } from '../lib/bytes.ts';
import { type Address, formatAddress, type Prefix, parseAddress } from '../lib/ip.ts';
import { formatMac, MAC_LENGTH, type Mac, parseMac } from '../lib/mac.ts';
import { decodeNames, encodeNames } from './domain-names.ts';

export type PrefixInformation = {
  readonly prefix: Prefix;
  readonly onLink: boolean;
  /** Hosts may make addresses of their own in it (RFC 4862). */
  readonly autonomous: boolean;
  /** Seconds; 0xffffffff = for ever. */
  readonly validLifetime: number;
  readonly preferredLifetime: number;
};

/** By which a NAT64 stands for IPv4; 0 seconds = no longer. */
export type Nat64Prefix = { readonly prefix: Prefix; readonly lifetime: number };

export type NdpOptions = {
  readonly sourceMac: Mac | null;
  readonly targetMac: Mac | null;
  readonly mtu: number | null;
  readonly prefixes: readonly PrefixInformation[];
  readonly dnsServers: readonly { readonly lifetime: number; readonly servers: readonly Address[] }[];
  readonly searchLists: readonly { readonly lifetime: number; readonly domains: readonly string[] }[];
  readonly nat64Prefixes: readonly Nat64Prefix[];
};

export const noNdpOptions: NdpOptions = {
  sourceMac: null,
  targetMac: null,
  mtu: null,
  prefixes: [],
  dnsServers: [],
  searchLists: [],
  nat64Prefixes: [],
};

const UNIT = 8;
const code = {
  sourceMac: 1,
  targetMac: 2,
  prefix: 3,
  mtu: 5,
  dnsServers: 25,
  searchList: 31,
  nat64Prefix: 38,
} as const;
const ON_LINK = 0x80;
const AUTONOMOUS = 0x40;
const ADDRESS = 16;
/** By Prefix Length Code. */
const NAT64_LENGTHS = [96, 64, 56, 48, 40, 32];
const NAT64_OCTETS = 12;

/** The rest of a message; unknown options are passed over. Null if any is malformed (RFC 4861 section 6.1). */
export function decodeNdpOptions(from: Reader): NdpOptions | null {
  const lists = { prefixes: [], dnsServers: [], searchLists: [], nat64Prefixes: [] };
  const options: Draft = { ...noNdpOptions, ...lists };
  while (from.left > 0) {
    const type = from.u8();
    const length = from.u8() * UNIT;
    const body = new Reader(from.take(length - 2));
    if (from.failed) return null;
    readOption(type, body, options);
    if (body.failed) return null;
  }
  return options;
}

type Draft = { -readonly [K in keyof NdpOptions]: NdpOptions[K] extends readonly (infer T)[] ? T[] : NdpOptions[K] };

function readOption(type: number, body: Reader, into: Draft): void {
  switch (type) {
    case code.sourceMac:
      into.sourceMac = readMac(body);
      break;
    case code.targetMac:
      into.targetMac = readMac(body);
      break;
    case code.mtu:
      body.take(2);
      into.mtu = body.u32();
      break;
    case code.prefix:
      into.prefixes.push(readPrefix(body));
      break;
    case code.dnsServers:
      into.dnsServers.push(readDnsServers(body));
      break;
    case code.searchList: {
      body.take(2);
      const lifetime = body.u32();
      const domains = decodeNames(body.take(body.left));
      if (domains === null) body.fail();
      else into.searchLists.push({ lifetime, domains });
      break;
    }
    case code.nat64Prefix:
      into.nat64Prefixes.push(...readNat64Prefix(body));
  }
}

function readMac(body: Reader): Mac {
  const octets = body.take(MAC_LENGTH);
  // Ethernet addresses fill their option exactly (RFC 2464 section 6).
  if (body.left > 0) body.fail();
  return body.failed ? '' : formatMac(octets);
}

function readPrefix(body: Reader): PrefixInformation {
  const length = body.u8();
  const flags = body.u8();
  const validLifetime = body.u32();
  const preferredLifetime = body.u32();
  body.take(4);
  const address = body.take(ADDRESS);
  if (length > 8 * ADDRESS || body.left > 0) body.fail();
  return {
    prefix: { address: body.failed ? '' : formatAddress(address), length },
    onLink: (flags & ON_LINK) !== 0,
    autonomous: (flags & AUTONOMOUS) !== 0,
    validLifetime,
    preferredLifetime,
  };
}

function readDnsServers(body: Reader): NdpOptions['dnsServers'][number] {
  body.take(2);
  const lifetime = body.u32();
  if (body.left === 0 || body.left % ADDRESS !== 0) body.fail();
  const servers: Address[] = [];
  while (body.left > 0) servers.push(formatAddress(body.take(ADDRESS)));
  return { lifetime, servers };
}

/** None of a length or with a code that nobody knows: such an option is ignored (RFC 8781 section 4). */
function readNat64Prefix(body: Reader): Nat64Prefix[] {
  const said = body.u16();
  const length = NAT64_LENGTHS[said & 7];
  if (body.left !== NAT64_OCTETS || length === undefined) return [];
  const octets = new Uint8Array(ADDRESS);
  octets.set(body.take(length / 8));
  return [{ prefix: { address: formatAddress(octets), length }, lifetime: said & ~7 }];
}

export function encodeNdpOptions(options: NdpOptions, into: Writer): void {
  if (options.sourceMac !== null)
    writeOption(into, code.sourceMac, (body) => body.octets(parseMac(options.sourceMac!)));
  if (options.targetMac !== null)
    writeOption(into, code.targetMac, (body) => body.octets(parseMac(options.targetMac!)));
  if (options.mtu !== null) {
    writeOption(into, code.mtu, (body) => {
      body.u16(0);
      body.u32(options.mtu!);
    });
  }
  for (const information of options.prefixes) {
    writeOption(into, code.prefix, (body) => {
      body.u8(information.prefix.length);
      body.u8((information.onLink ? ON_LINK : 0) | (information.autonomous ? AUTONOMOUS : 0));
      body.u32(information.validLifetime);
      body.u32(information.preferredLifetime);
      body.u32(0);
      body.octets(parseAddress(information.prefix.address)!);
    });
  }
  for (const { lifetime, servers } of options.dnsServers) {
    writeOption(into, code.dnsServers, (body) => {
      body.u16(0);
      body.u32(lifetime);
      for (const server of servers) body.octets(parseAddress(server)!);
    });
  }
  for (const { lifetime, domains } of options.searchLists) {
    writeOption(into, code.searchList, (body) => {
      body.u16(0);
      body.u32(lifetime);
      body.octets(encodeNames(domains));
    });
  }
  for (const { prefix, lifetime } of options.nat64Prefixes) {
    writeOption(into, code.nat64Prefix, (body) => {
      body.u16((lifetime & ~7) | NAT64_LENGTHS.indexOf(prefix.length));
      body.octets(parseAddress(prefix.address)!.subarray(0, NAT64_OCTETS));
    });
  }
}

/** Padded with zeros to whole units. */
function writeOption(into: Writer, type: number, write: (body: Writer) => void): void {
  const body = new Writer();
  write(body);
  const units = Math.ceil((2 + body.at) / UNIT);
  into.u8(type);
  into.u8(units);
  into.octets(body.written);
  into.zeros(units * UNIT - 2 - body.at);
}
