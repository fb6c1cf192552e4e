/** How each kind of field of the message and option tables stands on the wire. */

import { isZero, type Reader, type Writer } from '../lib/bytes.ts';
import { raise } from '../lib/errors.ts';
import {
  type Address,
  type Endpoint,
  familyOf,
  formatAddress,
  isMapped,
  readAddress as readTextual,
} from '../lib/ip.ts';
import { writeId } from './header.ts';
import type { FieldKind, FieldValues } from './messages.ts';
import {
  type Candidate,
  candidateKinds,
  MAX_CANDIDATES,
  MAX_ENDPOINTS,
  MAX_MIRRORS,
  type Mirror,
  mirrorRoles,
  type OptionFieldKind,
  type OptionValues,
  type RelayTime,
} from './options.ts';

export type Fields = readonly (readonly [name: string, kind: FieldKind | OptionFieldKind])[];

type Values = FieldValues & OptionValues;

/** `length` is that of the field's `len16`; kinds of a fixed size ignore it. */
type Codec<T> = { read(from: Reader, length: number): T; write(to: Writer, value: T): void };

const codecs: { readonly [K in keyof Values]: Codec<Values[K]> } = {
  u8: { read: (from) => from.u8(), write: (to, value) => to.u8(value) },
  u16: { read: (from) => from.u16(), write: (to, value) => to.u16(value) },
  id: { read: (from) => from.take(16).toHex(), write: writeId },
  ip4: { read: (from) => readAddress(from, 4), write: (to, value) => writeAddress(to, value, 4) },
  ip6: {
    read(from) {
      const address = readAddress(from, 16);
      // An IPv4-mapped address has a field of its own.
      if (address !== null && familyOf(address) === 4) from.fail();
      return address;
    },
    write: (to, value) => writeAddress(to, value, 16),
  },
  ip16: { read: (from) => readAddress(from, 16), write: writeMapped },
  date: { read: readDate, write: writeDate },
  text: { read: readText, write: writeText },
  octets: { read: (from, length) => from.take(length).slice(), write: (to, value) => to.octets(value) },
  octets32: { read: (from) => from.take(32).slice(), write: (to, value) => writeExactly(to, value, 32) },
  octets64: { read: (from) => from.take(64).slice(), write: (to, value) => writeExactly(to, value, 64) },
  endpoint: { read: readEndpoint, write: writeEndpoint },
  endpoints: { read: readEndpoints, write: writeEndpoints },
  candidates: { read: readCandidates, write: writeCandidates },
  mirrors: { read: readMirrors, write: writeMirrors },
  relayTimes: { read: readRelayTimes, write: writeRelayTimes },
};

const NO_ANSWER = 0xffff;

/** Reads the declared fields in order; whether they were all there and well-formed, `from.failed` tells. */
export function readFields(fields: Fields, from: Reader): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  // Most have none.
  let lengths: Map<string, number> | undefined;
  for (const [name, kind] of fields) {
    if (kind === 'len16') (lengths ??= new Map()).set(name, from.u16());
    else if (kind === 'pad16') from.zeros(2);
    else if (kind === 'pad24') from.zeros(3);
    else values[name] = codecs[kind].read(from, lengths?.get(name) ?? 0);
  }
  return values;
}

export function writeFields(fields: Fields, to: Writer, values: Readonly<Record<string, unknown>>): void {
  for (const [name, kind] of fields) {
    if (kind === 'len16') to.u16(octetLength(values[name]));
    else if (kind === 'pad16') to.zeros(2);
    else if (kind === 'pad24') to.zeros(3);
    else (codecs[kind] as Codec<unknown>).write(to, values[name]);
  }
}

function octetLength(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(value);
  if (value instanceof Uint8Array) return value.length;
  return raise('BUG_ENCODING', { what: `the length of ${typeof value}` });
}

function readAddress(from: Reader, width: 4 | 16): Address | null {
  const octets = from.take(width);
  return isZero(octets) ? null : formatAddress(octets);
}

/** The address being written. */
const octetsOfAddress = new Uint8Array(16);

function writeAddress(to: Writer, address: Address | null, width: 4 | 16): void {
  if (address === null) to.zeros(width);
  else writeOctets(to, address, width);
}

/** An IPv4-mapped address, absent or not: IPv4 stands behind ten zeroes and two octets of ones. */
function writeMapped(to: Writer, address: Address | null): void {
  if (address === null) to.zeros(16);
  else writeOctets(to, address, null);
}

/** `width`: of the field; null = 16 octets that hold either family. */
function writeOctets(to: Writer, address: Address, width: 4 | 16 | null): void {
  const octets = octetsOfAddress;
  const length = readTextual(address, octets);
  const is4 = length === 4 || (length === 16 && isMapped(octets));
  if (length === 0 || (width !== null && width !== (is4 ? 4 : 16))) {
    raise('BUG_ENCODING', { what: `address "${address}" in a field of ${width ?? 16} octets` });
  }
  if (is4 && width === null) {
    to.zeros(10);
    to.u16(0xffff);
  }
  for (let i = is4 ? length - 4 : 0; i < length; i++) to.u8(octets[i]!);
}

function writeExactly(to: Writer, octets: Uint8Array, length: number): void {
  if (octets.length !== length) raise('BUG_ENCODING', { what: `${octets.length} octets in a field of ${length}` });
  to.octets(octets);
}

function isDate(year: number, month: number, day: number): boolean {
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  return year > 0 && year < 10_000 && date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
}

function readDate(from: Reader): string | null {
  const year = from.u16();
  const month = from.u8();
  const day = from.u8();
  if (year === 0 && month === 0 && day === 0) return null;
  if (!isDate(year, month, day)) from.fail();
  return `${String(year).padStart(4, '0')}-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')}`;
}

/** The date written last: those of one day's paths are all the same. */
let dated = { text: '', year: 0, month: 0, day: 0 };

function writeDate(to: Writer, value: string | null): void {
  if (value === null) {
    to.zeros(4);
    return;
  }
  if (dated.text !== value) dated = parseDate(value);
  to.u16(dated.year);
  to.u8(dated.month);
  to.u8(dated.day);
}

function parseDate(text: string): typeof dated {
  const match = /^(\d{4})-(\d{2})-(\d{2})$/.exec(text);
  const [year, month, day] = [Number(match?.[1]), Number(match?.[2]), Number(match?.[3])];
  if (!isDate(year, month, day)) raise('BUG_ENCODING', { what: `date "${text}"` });
  return { text, year, month, day };
}

/** ignoreBOM keeps a leading U+FEFF: text must come out as it went in. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function readText(from: Reader, length: number): string {
  try {
    return utf8.decode(from.take(length));
  } catch {
    from.fail();
    return '';
  }
}

function writeText(to: Writer, value: string): void {
  if (!value.isWellFormed()) raise('BUG_ENCODING', { what: 'text that is not well-formed' });
  to.octets(Buffer.from(value));
}

/** An endpoint is somewhere to send to: no unspecified address, no port 0. */
function isSomewhere(endpoint: Endpoint): boolean {
  return endpoint.port !== 0 && endpoint.address !== '0.0.0.0' && endpoint.address !== '::';
}

function readEndpoint(from: Reader): Endpoint {
  const port = from.u16();
  const endpoint = { address: readAddress(from, 16) ?? '::', port };
  if (!isSomewhere(endpoint)) from.fail();
  return endpoint;
}

function writeEndpoint(to: Writer, endpoint: Endpoint): void {
  if (!isSomewhere(endpoint)) {
    raise('BUG_ENCODING', { what: `endpoint ${endpoint.address} port ${endpoint.port}` });
  }
  to.u16(endpoint.port);
  writeMapped(to, endpoint.address);
}

function readEndpoints(from: Reader): Endpoint[] {
  const count = from.u8();
  if (count > MAX_ENDPOINTS) from.fail();
  const list: Endpoint[] = [];
  for (let i = 0; i < count && !from.failed; i++) list.push(readEndpoint(from));
  return list;
}

function writeEndpoints(to: Writer, list: readonly Endpoint[]): void {
  if (list.length > MAX_ENDPOINTS) raise('BUG_ENCODING', { what: `${list.length} endpoints` });
  to.u8(list.length);
  for (const endpoint of list) writeEndpoint(to, endpoint);
}

function readCandidates(from: Reader): Candidate[] {
  const count = from.u8();
  if (count > MAX_CANDIDATES) from.fail();
  const list: Candidate[] = [];
  for (let i = 0; i < count && !from.failed; i++) {
    const kind = candidateKinds[from.u8()];
    const endpoint = readEndpoint(from);
    if (kind === undefined) from.fail();
    else list.push({ ...endpoint, kind });
  }
  return list;
}

function writeCandidates(to: Writer, list: readonly Candidate[]): void {
  if (list.length > MAX_CANDIDATES) raise('BUG_ENCODING', { what: `${list.length} candidates` });
  to.u8(list.length);
  for (const candidate of list) {
    to.u8(candidateKinds.indexOf(candidate.kind));
    writeEndpoint(to, candidate);
  }
}

function readMirrors(from: Reader): Mirror[] {
  const count = from.u8();
  if (count > MAX_MIRRORS) from.fail();
  const list: Mirror[] = [];
  for (let i = 0; i < count && !from.failed; i++) {
    const role = mirrorRoles[from.u8()];
    const endpoint = readEndpoint(from);
    const key = from.take(32).slice();
    const name = readText(from, from.u8());
    if (role === undefined) from.fail();
    else list.push({ ...endpoint, role, name, key });
  }
  return list;
}

function writeMirrors(to: Writer, list: readonly Mirror[]): void {
  if (list.length > MAX_MIRRORS) raise('BUG_ENCODING', { what: `${list.length} mirrors` });
  to.u8(list.length);
  for (const mirror of list) {
    to.u8(mirrorRoles.indexOf(mirror.role));
    writeEndpoint(to, mirror);
    writeExactly(to, mirror.key, 32);
    to.u8(octetLength(mirror.name));
    writeText(to, mirror.name);
  }
}

function readRelayTimes(from: Reader): RelayTime[] {
  const count = from.u8();
  if (count > MAX_MIRRORS) from.fail();
  const list: RelayTime[] = [];
  for (let i = 0; i < count && !from.failed; i++) {
    const endpoint = readEndpoint(from);
    const rttMs = from.u16();
    list.push({ ...endpoint, rttMs: rttMs === NO_ANSWER ? null : rttMs });
  }
  return list;
}

function writeRelayTimes(to: Writer, list: readonly RelayTime[]): void {
  if (list.length > MAX_MIRRORS) raise('BUG_ENCODING', { what: `${list.length} relay times` });
  to.u8(list.length);
  for (const { rttMs, ...endpoint } of list) {
    writeEndpoint(to, endpoint);
    to.u16(rttMs === null ? NO_ANSWER : Math.min(NO_ANSWER - 1, Math.round(rttMs)));
  }
}
