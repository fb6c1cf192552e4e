/** IP addresses as canonical text (IPv4 dotted quad, IPv6 as RFC 5952 says), the form used everywhere but on the wire. */

import { hexDigit } from './bytes.ts';

/** Canonical text of an IPv4 or IPv6 address. */
export type Address = string;

/**
 * A UDP or TCP transport address. `over`: datagrams travel there inside a stream, where UDP is blocked; the port is TCP's.
 */
export type Endpoint = { readonly address: Address; readonly port: number; readonly over?: 'tls' };

export type Family = 4 | 6;

export function familyOf(address: Address): Family {
  return address.includes(':') ? 6 : 4;
}

/** Whether 16 octets at `offset` are an IPv4 address in IPv6's clothes (RFC 4291 section 2.5.5.2). */
export function isMapped(octets: Uint8Array, offset = 0): boolean {
  if (octets[offset + 10] !== 0xff || octets[offset + 11] !== 0xff) return false;
  for (let i = 0; i < 10; i++) if (octets[offset + i] !== 0) return false;
  return true;
}

/** Text of 4 or 16 octets at `offset`; an IPv4-mapped IPv6 address becomes IPv4. */
export function formatAddress(octets: Uint8Array, offset = 0, length = octets.length - offset): Address {
  if (length === 4) return `${octets[offset]}.${octets[offset + 1]}.${octets[offset + 2]}.${octets[offset + 3]}`;
  const group = (i: number): number => (octets[offset + 2 * i]! << 8) | octets[offset + 2 * i + 1]!;
  if (isMapped(octets, offset)) return formatAddress(octets, offset + 12, 4);
  // RFC 5952 section 4.2.3: the longest run of two or more zero groups is shortened, the first one if equal.
  let bestStart = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let j = i;
    while (j < 8 && group(j) === 0) j++;
    if (j - i > bestLength) {
      bestStart = i;
      bestLength = j - i;
    }
    if (j > i) i = j;
  }
  let text = '';
  for (let i = 0; i < 8; i++) {
    if (i === bestStart) {
      text += '::';
      i += bestLength - 1;
      continue;
    }
    if (text !== '' && !text.endsWith(':')) text += ':';
    text += group(i).toString(16);
  }
  return text;
}

const DOT = 0x2e;
const COLON = 0x3a;
const ZERO = 0x30;
const NINE = 0x39;

/** Reads a dotted quad from `start` to the end of the text into `octets`; whether it was one. */
function readDotted(text: string, start: number, octets: Uint8Array, at: number): boolean {
  let part = 0;
  let value = -1;
  for (let i = start; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT && value >= 0 && part < 3) {
      octets[at + part++] = value;
      value = -1;
      // A leading zero means octal to some, so it means nothing here.
    } else if (code < ZERO || code > NINE || value === 0) return false;
    else value = (value < 0 ? 0 : 10 * value) + code - ZERO;
    if (value > 255) return false;
  }
  octets[at + part] = value;
  return part === 3 && value >= 0;
}

/** The textual forms of RFC 4291 section 2.2, into 16 octets that are zero; whether it was one. */
function readGroups(text: string, octets: Uint8Array): boolean {
  let gap = text.startsWith('::') ? 0 : -1;
  let at = 0;
  for (let i = gap < 0 ? 0 : 2; i < text.length; ) {
    const start = i;
    let group = 0;
    for (; i < text.length; i++) {
      const digit = hexDigit(lowerCase(text.charCodeAt(i)));
      if (digit < 0) break;
      group = (group << 4) | digit;
    }
    if (i === start || i - start > 4 || at === 16) return false;
    if (text.charCodeAt(i) === DOT) {
      if (at > 12 || !readDotted(text, start, octets, at)) return false;
      at += 4;
      break;
    }
    octets[at++] = group >> 8;
    octets[at++] = group & 255;
    if (i === text.length) break;
    if (text.charCodeAt(i++) !== COLON || i === text.length) return false;
    if (text.charCodeAt(i) === COLON) {
      if (gap >= 0) return false;
      gap = at;
      i++;
    }
  }
  // The gap stands for one group at least.
  if (gap < 0 ? at < 16 : at === 16) return false;
  if (gap < 0) return true;
  octets.copyWithin(16 - at + gap, gap, at);
  octets.fill(0, gap, 16 - at + gap);
  return true;
}

function lowerCase(code: number): number {
  return code >= 0x41 && code <= 0x5a ? code + 0x20 : code;
}

/**
 * Reads an address in any textual form without zone into the first 4 or 16 of 16 octets; how many, 0 = it is none. Every
 * message that names an endpoint comes by here: no expressions, no strings, nothing new in between.
 */
export function readAddress(text: string, octets: Uint8Array): 0 | 4 | 16 {
  if (!text.includes(':')) return readDotted(text, 0, octets, 0) ? 4 : 0;
  octets.fill(0);
  return readGroups(text, octets) ? 16 : 0;
}

/** Where addresses stand that are only looked at. */
const scratch = new Uint8Array(16);

/** 4 or 16 octets of an address in any textual form without zone, or null. */
export function parseAddress(text: string): Uint8Array | null {
  const length = readAddress(text, scratch);
  return length === 0 ? null : scratch.slice(0, length);
}

/** The canonical form of any textual address, or null. */
export function canonicalAddress(text: string): Address | null {
  const octets = parseAddress(text);
  return octets === null ? null : formatAddress(octets);
}

export function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return a.port === b.port && a.address === b.address && a.over === b.over;
}

/** `192.0.2.1:7444` or `[2001:db8::1]:7444`. */
export function formatEndpoint(endpoint: Endpoint): string {
  return familyOf(endpoint.address) === 6
    ? `[${endpoint.address}]:${endpoint.port}`
    : `${endpoint.address}:${endpoint.port}`;
}

export function parseEndpoint(text: string): Endpoint | null {
  const match = /^(?:\[([^\]]+:[^\]]*)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const address = match === null ? null : canonicalAddress(match[1] ?? match[2] ?? '');
  const port = Number(match?.[3]);
  return address === null || !isPort(port) ? null : { address, port };
}

/** The endpoint in JSON that may be anybody's. */
export function endpointIn(json: unknown): Endpoint | null {
  const { address: text, port } = (json ?? {}) as Readonly<Record<string, unknown>>;
  const address = typeof text === 'string' ? canonicalAddress(text) : null;
  return address === null || !isPort(port) ? null : { address, port };
}

export function isPort(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) < 65_536;
}

/** An address range; `address` is its first address. */
export type Prefix = { readonly address: Address; readonly length: number };

export function parsePrefix(text: string): Prefix | null {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const octets = parseAddress(match?.[1] ?? '');
  const bits = Number(match?.[2]);
  if (octets === null || bits > octets.length * 8) return null;
  for (let i = 0; i < octets.length; i++) octets[i]! &= 0xff00 >> Math.min(8, Math.max(0, bits - 8 * i));
  const first = formatAddress(octets);
  // A range of IPv4-mapped addresses is one of IPv4.
  return { address: first, length: octets.length === 16 && familyOf(first) === 4 ? bits - 96 : bits };
}

export function formatPrefix(prefix: Prefix): string {
  return `${prefix.address}/${prefix.length}`;
}

export function contains(prefix: Prefix, address: Address): boolean {
  return covers(prefix, scratch, readAddress(address, scratch));
}

/** First octets of ranges that were asked for: the same few are asked for with every datagram. */
const firstOctets = new WeakMap<Prefix, Uint8Array>();

function covers(prefix: Prefix, octets: Uint8Array, length: number): boolean {
  let range = firstOctets.get(prefix);
  if (range === undefined) {
    const room = new Uint8Array(16);
    range = room.subarray(0, readAddress(prefix.address, room));
    firstOctets.set(prefix, range);
  }
  if (range.length !== length || length === 0) return false;
  for (let i = 0; 8 * i < prefix.length; i++) {
    const mask = (0xff00 >> Math.min(8, prefix.length - 8 * i)) & 0xff;
    if ((range[i]! & mask) !== (octets[i]! & mask)) return false;
  }
  return true;
}

/** How many addresses a range holds, counted to 2^32 at most. */
export function hostCount(prefix: Prefix): number {
  const width = familyOf(prefix.address) === 4 ? 32 : 128;
  return 2 ** Math.min(32, width - prefix.length);
}

/** The address with this number (below 2^32) in a range, its first address being number 0. */
export function addressAt(prefix: Prefix, host: number): Address {
  const octets = parseAddress(prefix.address)!;
  for (let i = octets.length - 1, rest = host; rest > 0; i--, rest = Math.floor(rest / 256)) octets[i]! |= rest & 255;
  return formatAddress(octets);
}

export function overlaps(a: Prefix, b: Prefix): boolean {
  return a.length <= b.length ? contains(a, b.address) : contains(b, a.address);
}

const neverOuter4 = ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/4', '240.0.0.0/4'].map((t) => parsePrefix(t)!);
const neverOuter6 = ['::/127', 'ff00::/8'].map((t) => parsePrefix(t)!);
const linkLocal = ['169.254.0.0/16', 'fe80::/10'].map((t) => parsePrefix(t)!);
const alwaysForbidden = [...neverOuter4, ...neverOuter6, ...linkLocal];
const privateRanges = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7'].map(
  (t) => parsePrefix(t)!,
);

export function isLinkLocal(address: Address): boolean {
  return linkLocal.some((p) => contains(p, address));
}

/** RFC 1918, RFC 6598 and RFC 4193 ranges: addresses that mean something only inside one site. */
export function isPrivate(address: Address): boolean {
  return privateRanges.some((p) => contains(p, address));
}

/**
 * Where outer datagrams may never go or come from (protocol section 2.4): loopback, multicast, unspecified, link-local
 * and overlay addresses. `overlay` lists the overlay's own ranges.
 */
export function forbiddenOuter(overlay: readonly Prefix[]): readonly Prefix[] {
  return [...alwaysForbidden, ...overlay];
}

/** Whether an outer datagram may not go to `address`. */
export function isForbiddenOuter(address: Address, overlay: readonly Prefix[]): boolean {
  const length = readAddress(address, scratch);
  for (const prefix of alwaysForbidden) if (covers(prefix, scratch, length)) return true;
  for (const prefix of overlay) if (covers(prefix, scratch, length)) return true;
  return false;
}
