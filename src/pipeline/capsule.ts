/**
 * The capsule on the wire (protocol section 3, type 15), as the data path writes and reads it in place:
 *
 *   Base Header 32 | lead (IV) | payload length 16, capsule flags 16 | inner packet | padding, tag
 */

import { HEADER_LENGTH, VERSION } from '../proto/constants.ts';
import { HeaderOffset } from '../proto/header.ts';
import { Flag, messageTable } from '../proto/messages.ts';
import { OPTION_CRITICAL, OPTION_SEALED } from '../proto/options.ts';

export const CAPSULE_TYPE = messageTable.capsule.type;
/** Payload length and capsule flags, in front of the inner packet. */
export const PREFACE = 4;

/** Writes the Base Header of a capsule; `id` holds the PathID's 16 octets. */
export function writeCapsuleHeader(
  view: DataView,
  at: number,
  id: DataView,
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
  for (let i = 0; i < 16; i += 4) view.setInt32(at + HeaderOffset.id + i, id.getInt32(i));
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
