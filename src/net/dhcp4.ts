/** DHCPv4 messages (RFC 2131 figure 1, options of RFC 2132, 3397, 3396), over Ethernet only. */

import { concat, Reader, Writer } from '../lib/bytes.ts';
import { type Address, formatAddress, parseAddress } from '../lib/ip.ts';
import { formatMac, isGroupMac, MAC_LENGTH, type Mac, parseMac } from '../lib/mac.ts';
import type { LinkDropReason } from './link-drop.ts';
import { field, type OptionsOf, readOptions, writeOptions } from './option-fields.ts';

export const DHCP4_SERVER_PORT = 67;
export const DHCP4_CLIENT_PORT = 68;

/** DHCP message types (RFC 2132 section 9.6). */
export const dhcp4Types = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;
export type Dhcp4Type = keyof typeof dhcp4Types;

export const dhcp4Options = {
  mask: [1, field.address4],
  routers: [3, field.addresses4],
  dns: [6, field.addresses4],
  domain: [15, field.text],
  mtu: [26, field.u16],
  broadcastAddress: [28, field.address4],
  requestedAddress: [50, field.address4],
  /** Seconds, as the two times that follow. */
  leaseTime: [51, field.u32],
  serverId: [54, field.address4],
  /** Option codes the client asks for. */
  parameters: [55, field.u8s],
  message: [56, field.text],
  maxSize: [57, field.u16],
  renewalTime: [58, field.u32],
  rebindingTime: [59, field.u32],
  clientId: [61, field.opaque],
  search: [119, field.names],
} as const;
export type Dhcp4Options = OptionsOf<typeof dhcp4Options>;

export type Dhcp4Message = {
  readonly type: Dhcp4Type;
  readonly transactionId: number;
  /** The client can't take unicast before it is configured. */
  readonly broadcast: boolean;
  /** Client's, as it is configured; "your", as it shall be; relay agent's. 0.0.0.0 = none. */
  readonly clientAddress: Address;
  readonly yourAddress: Address;
  readonly relayAddress: Address;
  readonly mac: Mac;
  readonly options: Dhcp4Options;
};

const op = { request: 1, reply: 2 } as const;
const ETHERNET = 1;
const BROADCAST = 0x8000;
const HARDWARE_FIELD = 16;
const SERVER_NAME_FIELD = 64;
const FILE_FIELD = 128;
const COOKIE = 0x63825363;
const PAD = 0;
const END = 255;
const OVERLOAD = 52;
const MESSAGE_TYPE = 53;
const MAX_OPTION = 255;
/** What BOOTP relays and old clients take for the smallest message (RFC 1542 section 2.1). */
const MIN_LENGTH = 300;
/** Types that only servers send. */
export const serverTypes: readonly Dhcp4Type[] = ['offer', 'ack', 'nak'];

export function decodeDhcp4(octets: Uint8Array): Dhcp4Message | LinkDropReason {
  const from = new Reader(octets);
  const direction = from.u8();
  const ethernet = from.u8() === ETHERNET && from.u8() === MAC_LENGTH;
  from.u8();
  const transactionId = from.u32();
  from.u16();
  const broadcast = (from.u16() & BROADCAST) !== 0;
  const addresses = from.take(16);
  const hardware = from.take(HARDWARE_FIELD);
  const serverName = from.take(SERVER_NAME_FIELD);
  const file = from.take(FILE_FIELD);
  const cookie = from.u32();
  if (from.failed || !ethernet || cookie !== COOKIE) return 'dhcp4-malformed';
  const mac = formatMac(hardware);
  const raw = collectOptions(from.take(from.left), file, serverName);
  const options = raw && readOptions(dhcp4Options, raw);
  const code = raw === null ? null : field.u8.read(raw.get(MESSAGE_TYPE) ?? new Uint8Array(0));
  if (raw === null || options === null || code === null || isGroupMac(mac)) return 'dhcp4-malformed';
  const type = typeOf(code);
  if (type === undefined) return 'dhcp4-type';
  if (direction !== (serverTypes.includes(type) ? op.reply : op.request)) return 'dhcp4-malformed';
  return {
    type,
    transactionId,
    broadcast,
    clientAddress: formatAddress(addresses, 0, 4),
    yourAddress: formatAddress(addresses, 4, 4),
    relayAddress: formatAddress(addresses, 12, 4),
    mac,
    options,
  };
}

function typeOf(code: number): Dhcp4Type | undefined {
  return (Object.keys(dhcp4Types) as Dhcp4Type[]).find((name) => dhcp4Types[name] === code);
}

/** Options from all fields that carry some, in the order of RFC 3396 section 5; null if one runs past its field. */
function collectOptions(options: Uint8Array, file: Uint8Array, serverName: Uint8Array): Map<number, Uint8Array> | null {
  const parts = new Map<number, Uint8Array[]>();
  if (!scanOptions(options, parts)) return null;
  const overload = parts.get(OVERLOAD)?.[0]?.[0] ?? 0;
  if (overload > 3) return null;
  if ((overload & 1) !== 0 && !scanOptions(file, parts)) return null;
  if ((overload & 2) !== 0 && !scanOptions(serverName, parts)) return null;
  // An option that comes several times is one option in pieces.
  return new Map([...parts].map(([code, pieces]) => [code, concat(...pieces)]));
}

function scanOptions(octets: Uint8Array, into: Map<number, Uint8Array[]>): boolean {
  const from = new Reader(octets);
  while (from.left > 0) {
    const code = from.u8();
    if (code === PAD) continue;
    if (code === END) return true;
    const value = from.take(from.u8());
    if (from.failed) return false;
    const pieces = into.get(code);
    if (pieces === undefined) into.set(code, [value]);
    else pieces.push(value);
  }
  return true;
}

export function encodeDhcp4(message: Dhcp4Message): Uint8Array {
  const into = new Writer();
  into.u8(serverTypes.includes(message.type) ? op.reply : op.request);
  into.u8(ETHERNET);
  into.u8(MAC_LENGTH);
  into.u8(0);
  into.u32(message.transactionId);
  into.u16(0);
  into.u16(message.broadcast ? BROADCAST : 0);
  into.octets(parseAddress(message.clientAddress)!);
  into.octets(parseAddress(message.yourAddress)!);
  into.zeros(4);
  into.octets(parseAddress(message.relayAddress)!);
  into.octets(parseMac(message.mac));
  into.zeros(HARDWARE_FIELD - MAC_LENGTH + SERVER_NAME_FIELD + FILE_FIELD);
  into.u32(COOKIE);
  writeOption(into, MESSAGE_TYPE, Uint8Array.of(dhcp4Types[message.type]));
  for (const [code, value] of writeOptions(dhcp4Options, message.options)) writeOption(into, code, value);
  into.u8(END);
  into.zeros(Math.max(0, MIN_LENGTH - into.at));
  return into.written;
}

/** In pieces if it is long (RFC 3396 section 5). */
function writeOption(into: Writer, code: number, value: Uint8Array): void {
  let at = 0;
  do {
    const piece = value.subarray(at, at + MAX_OPTION);
    into.u8(code);
    into.u8(piece.length);
    into.octets(piece);
    at += piece.length;
  } while (at < value.length);
}
