/** Lists of domain names as search options carry them (RFC 3397, RFC 8106, RFC 8415): RFC 1035 section 3.1, uncompressed. */

import { Reader, Writer } from '../lib/bytes.ts';

const MAX_NAME = 255;
const MAX_LABEL = 63;

/** Names without their final dot, one after the other. */
export function encodeNames(names: readonly string[]): Uint8Array {
  const into = new Writer();
  for (const name of names) {
    for (const label of name.split('.')) {
      into.u8(label.length);
      into.octets(Buffer.from(label, 'latin1'));
    }
    into.u8(0);
  }
  return into.written;
}

/** Null if it isn't a list of whole names with labels of printable ASCII; empty names (padding) are passed over. */
export function decodeNames(octets: Uint8Array): string[] | null {
  const from = new Reader(octets);
  const names: string[] = [];
  while (from.left > 0) {
    const labels: string[] = [];
    const start = from.at;
    for (let length = from.u8(); length > 0 && !from.failed; length = from.u8()) {
      const label = Buffer.from(from.take(length)).toString('latin1');
      if (length > MAX_LABEL || from.at - start >= MAX_NAME || !/^[\x21-\x2d\x2f-\x7e]+$/.test(label)) from.fail();
      labels.push(label);
    }
    if (from.failed) return null;
    if (labels.length > 0) names.push(labels.join('.'));
  }
  return names;
}
