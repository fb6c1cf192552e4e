/**
 * The capsule on the wire (protocol section 3, type 15), as the data path writes and reads it in place:
 *
 *   Base Header 32 | lead (IV) | payload length 16, capsule flags 16 | inner packet | padding, tag
 */

import { Protocol, plainHeaderLength, protocolOf, Udp } from '../net/packet.ts';
import { HEADER_LENGTH, VERSION } from '../proto/constants.ts';
import { HeaderOffset } from '../proto/header.ts';
import { Flag, messageTable } from '../proto/messages.ts';
import { OPTION_CRITICAL, OPTION_SEALED } from '../proto/options.ts';
import type { EvpAead } from '../sys/evp.ts';
import type { Memory } from '../sys/memory.ts';

export const CAPSULE_TYPE = messageTable.capsule.type;
/** Payload length and capsule flags, in front of the inner packet. */
export const PREFACE = 4;

/** Writes the Base Header of a capsule; `id` holds the four words of the PathID. */
export function writeCapsuleHeader(
  view: DataView,
  at: number,
  id: readonly number[],
  relayed: boolean,
  sequence: number,
  length: number,
  epoch: number,
): void {
  view.setInt32(at + HeaderOffset.transactionId, 0);
  view.setInt32(
    at + HeaderOffset.version,
    (VERSION << 24) | ((relayed ? Flag.relayed : 0) << 16) | (CAPSULE_TYPE << 8),
  );
  view.setInt32(at + HeaderOffset.sequence, sequence);
  view.setInt32(at + HeaderOffset.length, (length << 16) | epoch);
  for (let i = 0; i < 4; i++) view.setInt32(at + HeaderOffset.id + 4 * i, id[i]!);
}

/**
 * Seals the packet of `length` octets at `at`, which has room for the preface before it, into a capsule at `out`.
 * Returns the capsule's size.
 */
export function sealCapsule(
  { view, address }: Memory,
  aead: EvpAead,
  at: number,
  length: number,
  flags: number,
  out: number,
  id: readonly number[],
  relayed: boolean,
  sequence: number,
  epoch: number,
): number {
  const size = HEADER_LENGTH + aead.sealedSize(PREFACE + length);
  writeCapsuleHeader(view, out, id, relayed, sequence, size, epoch);
  view.setUint16(at - PREFACE, length);
  view.setUint16(at - PREFACE + 2, flags);
  aead.sealAt(address + out, HEADER_LENGTH, PREFACE + length, sequence, address + at - PREFACE);
  return size;
}

/**
 * Where the body of a datagram begins: behind the clear options, none of which means anything in a capsule; -1 if they
 * run past the end, -2 if one must be understood.
 */
export function capsuleBody(view: DataView, at: number, length: number): number {
  let next = view.getUint8(at + HeaderOffset.nextOption);
  let body = HEADER_LENGTH;
  while (next !== 0 && (next & OPTION_SEALED) === 0) {
    if ((next & OPTION_CRITICAL) !== 0) return -2;
    if (body + 8 > length) return -1;
    const octets = view.getUint8(at + body + 1) * 8;
    if (octets === 0) return -1;
    next = view.getUint8(at + body);
    body += octets;
  }
  return body > length ? -1 : body;
}

/** Whether a packet out of the TUN is one of our own outer datagrams: routed into the TUN it would go round for ever. */
export function isOwnDatagram(view: DataView, ip: number, end: number, localPort: number): boolean {
  if (protocolOf(view, ip) !== Protocol.udp) return false;
  const transport = ip + plainHeaderLength(view, ip);
  const body = transport + Udp.headerLength;
  return (
    transport > ip &&
    body + HEADER_LENGTH <= end &&
    view.getUint16(transport + Udp.source) === localPort &&
    view.getUint8(body + HeaderOffset.version) === VERSION &&
    view.getUint8(body + HeaderOffset.count) === 0
  );
}
