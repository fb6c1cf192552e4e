/**
 * The Base Header (protocol section 3):
 *
 *   0                   1                   2                   3
 *  |                        Transaction ID                         |
 *  |    Version    |     Flag      |     Type      |     Count     |
 *  |                        Sequence Number                        |
 *  |        Message Length         |   Next Opt    |  Epoch (Rsvd) |
 *  |                      ID, 16 octets                            |
 */

import { Reader, Writer } from '../lib/bytes.ts';
import { raise } from '../lib/errors.ts';
import { HEADER_LENGTH, VERSION } from './constants.ts';
import type { DropReason } from './drop.ts';
import { type MessageName, messageTable } from './messages.ts';

/** Where the fields stand; for the data path, which reads and writes them in place. */
export const HeaderOffset = {
  transactionId: 0,
  version: 4,
  flags: 5,
  type: 6,
  count: 7,
  sequence: 8,
  length: 12,
  nextOption: 14,
  epoch: 15,
  id: 16,
} as const;

export type Header = {
  readonly transactionId: number;
  readonly flags: number;
  readonly sequence: number;
  readonly epoch: number;
  /** NodeID or PathID, 32 hex digits. */
  readonly id: string;
};

const ID_LENGTH = 16;
const nameOfType: (MessageName | undefined)[] = new Array(256).fill(undefined);
for (const name of Object.keys(messageTable) as MessageName[]) nameOfType[messageTable[name].type] = name;

/**
 * Whether `length` octets at `offset` could be a datagram of ours, by the header alone: for the data path, without
 * allocation. Null = yes.
 */
export function plausible(buffer: Uint8Array, offset: number, length: number): DropReason | null {
  if (length < HEADER_LENGTH || offset + length > buffer.length) return 'short';
  if (buffer[offset + HeaderOffset.version] !== VERSION) return 'version';
  if (nameOfType[buffer[offset + HeaderOffset.type]!] === undefined) return 'type';
  if (buffer[offset + HeaderOffset.count] !== 0) return 'count';
  const claimed = (buffer[offset + HeaderOffset.length]! << 8) | buffer[offset + HeaderOffset.length + 1]!;
  return claimed === length ? null : 'length';
}

/** The header of a `plausible` datagram. */
export function readHeader(datagram: Uint8Array): Header & { readonly type: MessageName; readonly nextOption: number } {
  const from = new Reader(datagram);
  const transactionId = from.u32();
  from.u8();
  const flags = from.u8();
  const type = nameOfType[from.u8()]!;
  from.u8();
  const sequence = from.u32();
  from.u16();
  const nextOption = from.u8();
  const epoch = from.u8();
  return { transactionId, flags, sequence, epoch, id: from.take(16).toHex(), type, nextOption };
}

export function writeHeader(to: Writer, type: MessageName, header: Header, length: number, nextOption: number): void {
  to.u32(header.transactionId);
  to.u8(VERSION);
  to.u8(header.flags);
  to.u8(messageTable[type].type);
  to.u8(0);
  to.u32(header.sequence);
  to.u16(length);
  to.u8(nextOption);
  to.u8(header.epoch);
  writeId(to, header.id);
}

export function writeId(to: Writer, id: string): void {
  if (id.length !== 2 * ID_LENGTH) raise('BUG_ENCODING', { what: `id "${id}"` });
  to.hex(id);
}

/** The 16 octets of an id. */
export function idOctets(id: string): Uint8Array {
  const octets = new Uint8Array(ID_LENGTH);
  writeId(new Writer(octets), id);
  return octets;
}
