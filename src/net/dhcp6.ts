/** DHCPv6 messages between client and server (RFC 9915, before it RFC 8415: section 8, options of section 21, RFC 3646). */

import { Reader, Writer } from '../lib/bytes.ts';
import { type Address, parseAddress } from '../lib/ip.ts';
import { decodeDuid } from './duid.ts';
import type { LinkDropReason } from './link-drop.ts';
import { type Field, field, type OptionsOf, readOptions, writeOptions } from './option-fields.ts';

export const DHCP6_SERVER_PORT = 547;
export const DHCP6_CLIENT_PORT = 546;
/** All_DHCP_Relay_Agents_and_Servers. */
export const DHCP6_SERVERS: Address = 'ff02::1:2';

export const dhcp6Types = {
  solicit: 1,
  advertise: 2,
  request: 3,
  confirm: 4,
  renew: 5,
  rebind: 6,
  reply: 7,
  release: 8,
  decline: 9,
  reconfigure: 10,
  informationRequest: 11,
} as const;
export type Dhcp6Type = keyof typeof dhcp6Types;
const RELAY_FORWARD = 12;
const RELAY_REPLY = 13;

export const statusCode = { success: 0, noAddress: 2, noBinding: 3, notOnLink: 4, noPrefix: 6 } as const;
export type StatusCode = (typeof statusCode)[keyof typeof statusCode];

/** 1 to 128 octets behind a type (RFC 8415 section 11.1). */
const duid: Field<Uint8Array> = {
  read: (octets) => (decodeDuid(octets) === null ? null : Uint8Array.from(octets)),
  write: (value) => value,
};

/** A code; the text beside it is for people. */
const status: Field<number> = {
  read: (octets) => (octets.length < 2 ? null : (octets[0]! << 8) | octets[1]!),
  write: (value) => Uint8Array.of(value >> 8, value & 255),
};

export const dhcp6Options = {
  clientId: [1, duid],
  serverId: [2, duid],
  /** Option codes the client asks for. */
  requested: [6, field.u16s],
  preference: [7, field.u8],
  elapsedTime: [8, field.u16],
  status: [13, status],
  rapidCommit: [14, field.flag],
  dns: [23, field.addresses6],
  search: [24, field.names],
  /** Seconds after which to ask for information again. */
  refreshTime: [32, field.u32],
} as const;
export type Dhcp6Options = OptionsOf<typeof dhcp6Options>;

export type LeasedAddress = { readonly address: Address; readonly preferred: number; readonly valid: number };

/** An identity association: what one interface of a client gets. Of one for prefixes nothing but the identifier is read. */
export type Association = {
  readonly kind: 'addresses' | 'prefixes';
  readonly id: number;
  /** Seconds; 0 leaves the times to the client. */
  readonly renewalTime: number;
  readonly rebindingTime: number;
  readonly addresses: readonly LeasedAddress[];
  readonly status: number | null;
};

export type Dhcp6Message = {
  readonly type: Dhcp6Type;
  readonly transactionId: number;
  readonly options: Dhcp6Options;
  readonly associations: readonly Association[];
};

const ASSOCIATION = { addresses: 3, prefixes: 25 } as const;
const ADDRESS = 5;
/** More than any client has interfaces or addresses for. */
const MAX_ASSOCIATIONS = 16;
const MAX_ADDRESSES = 16;

export function decodeDhcp6(octets: Uint8Array): Dhcp6Message | LinkDropReason {
  const from = new Reader(octets);
  const code = from.u8();
  if (code === RELAY_FORWARD || code === RELAY_REPLY) return 'dhcp6-relayed';
  const type = (Object.keys(dhcp6Types) as Dhcp6Type[]).find((name) => dhcp6Types[name] === code);
  const transactionId = (from.u8() << 16) | from.u16();
  if (from.failed) return 'dhcp6-malformed';
  if (type === undefined) return 'dhcp6-type';
  const raw = scanOptions(from);
  const options = raw && readOptions(dhcp6Options, raw.single);
  const associations = raw && readAssociations(raw);
  if (options === null || associations === null) return 'dhcp6-malformed';
  return { type, transactionId, options, associations };
}

type RawOptions = {
  readonly single: Map<number, Uint8Array>;
  /** Those that may come several times. */
  readonly repeated: (readonly [code: number, octets: Uint8Array])[];
};

const repeatable: readonly number[] = [ASSOCIATION.addresses, ASSOCIATION.prefixes, ADDRESS];
const known: ReadonlySet<number> = new Set(Object.values(dhcp6Options).map(([code]) => code));

/** Null if an option runs past the end, or one of ours comes twice. */
function scanOptions(from: Reader): RawOptions | null {
  const raw: RawOptions = { single: new Map(), repeated: [] };
  while (from.left > 0) {
    const code = from.u16();
    const octets = from.take(from.u16());
    if (from.failed) return null;
    if (repeatable.includes(code)) raw.repeated.push([code, octets]);
    else if (known.has(code)) {
      if (raw.single.has(code)) return null;
      raw.single.set(code, octets);
    }
  }
  return raw;
}

function readAssociations(raw: RawOptions): Association[] | null {
  const associations: Association[] = [];
  for (const [code, octets] of raw.repeated) {
    const association = code === ADDRESS ? null : readAssociation(code, new Reader(octets));
    if (association === null || associations.length === MAX_ASSOCIATIONS) return null;
    associations.push(association);
  }
  return associations;
}

function readAssociation(code: number, from: Reader): Association | null {
  const head = { id: from.u32(), renewalTime: from.u32(), rebindingTime: from.u32() };
  if (from.failed) return null;
  if (code === ASSOCIATION.prefixes) return { kind: 'prefixes', ...head, addresses: [], status: null };
  const raw = scanOptions(from);
  if (raw === null || raw.repeated.length > MAX_ADDRESSES) return null;
  const addresses: LeasedAddress[] = [];
  for (const [inner, octets] of raw.repeated) {
    const leased = inner === ADDRESS ? readAddress(new Reader(octets)) : null;
    if (leased === null) return null;
    addresses.push(leased);
  }
  const options = readOptions({ status: dhcp6Options.status }, raw.single);
  return options && { kind: 'addresses', ...head, addresses, status: options.status ?? null };
}

function readAddress(from: Reader): LeasedAddress | null {
  const address = field.address6.read(from.take(16));
  const preferred = from.u32();
  const valid = from.u32();
  if (from.failed || address === null || scanOptions(from) === null) return null;
  return { address, preferred, valid };
}

export function encodeDhcp6(message: Dhcp6Message): Uint8Array {
  const into = new Writer();
  into.u8(dhcp6Types[message.type]);
  into.u8(message.transactionId >> 16);
  into.u16(message.transactionId & 0xffff);
  for (const [code, value] of writeOptions(dhcp6Options, message.options)) writeOption(into, code, value);
  for (const association of message.associations) {
    writeOption(into, ASSOCIATION[association.kind], encodeAssociation(association));
  }
  return into.written;
}

function encodeAssociation(association: Association): Uint8Array {
  const into = new Writer();
  into.u32(association.id);
  into.u32(association.renewalTime);
  into.u32(association.rebindingTime);
  for (const { address, preferred, valid } of association.addresses) {
    const body = new Writer();
    body.octets(parseAddress(address)!);
    body.u32(preferred);
    body.u32(valid);
    writeOption(into, ADDRESS, body.written);
  }
  if (association.status !== null) writeOption(into, dhcp6Options.status[0], status.write(association.status));
  return into.written;
}

function writeOption(into: Writer, code: number, value: Uint8Array): void {
  into.u16(code);
  into.u16(value.length);
  into.octets(value);
}
