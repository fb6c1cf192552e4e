/** The codec's promise, checked on one octet string: a message or a drop reason, and one form only for each message. */

import { isDeepStrictEqual } from 'node:util';
import { type Draft, layout, type Message, plainSizes, readBody, readEnvelope } from '../../src/proto/codec.ts';
import { dropReasons } from '../../src/proto/drop.ts';

const known: ReadonlySet<string> = new Set(dropReasons);

/** Decodes a datagram that has no tag, so that nothing of it is hidden from the decoder. */
export function decode(datagram: Uint8Array): Message | string {
  const envelope = readEnvelope(datagram);
  return typeof envelope === 'string' ? envelope : readBody(envelope, datagram.subarray(envelope.bodyStart));
}

export function encode(message: Message): Uint8Array {
  return layout(message as Draft, plainSizes, () => message.sequence, 0xffff)[0]!.bytes;
}

/** Null if the promise is kept, else what is wrong. */
export function brokenPromise(datagram: Uint8Array, decoded: Message | string): string | null {
  if (typeof decoded === 'string') return known.has(decoded) ? null : `unknown drop reason ${decoded}`;
  const again = encode(decoded);
  if (again.length === datagram.length) return isDeepStrictEqual(again, datagram) ? null : 'encoded otherwise';
  // Only unknown options, which are whole units of 8 octets, may be lost.
  if (again.length > datagram.length || (datagram.length - again.length) % 8 !== 0)
    return 'encoded with another length';
  return isDeepStrictEqual(decode(again), decoded) ? null : 'another message after encoding';
}
