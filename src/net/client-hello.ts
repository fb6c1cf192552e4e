/**
 * The server's name in the first octets that a TLS client sends (RFC 6066 section 3): as much of a record and of the
 * ClientHello in it (RFC 8446 sections 5.1 and 4.1.2) as that needs. One cut into several records counts as nameless.
 */

import { Reader } from '../lib/bytes.ts';

const HANDSHAKE = 22;
const RECORD_HEAD = 5;
const CLIENT_HELLO = 1;
const RANDOM = 32;
const SERVER_NAME = 0;
const HOST_NAME = 0;

/** Null: not whole yet. `name` is null where none is given, and in what is no ClientHello. */
export type HelloName = null | { readonly name: string | null };

export function readHelloName(octets: Uint8Array): HelloName {
  if (octets.length > 0 && octets[0] !== HANDSHAKE) return { name: null };
  if (octets.length < RECORD_HEAD) return null;
  const from = new Reader(octets, RECORD_HEAD - 2);
  const length = from.u16();
  return from.left < length ? null : { name: nameIn(new Reader(from.take(length))) };
}

function nameIn(hello: Reader): string | null {
  const isHello = hello.u8() === CLIENT_HELLO;
  // Length 24, version 16.
  hello.take(3 + 2 + RANDOM);
  hello.take(hello.u8());
  hello.take(hello.u16());
  hello.take(hello.u8());
  const extensions = new Reader(hello.take(hello.u16()));
  while (isHello && extensions.left > 0) {
    const type = extensions.u16();
    const data = new Reader(extensions.take(extensions.u16()));
    if (type !== SERVER_NAME) continue;
    data.u16();
    const isHostName = data.u8() === HOST_NAME;
    const name = data.take(data.u16());
    return isHostName && !data.failed ? Buffer.from(name).toString('latin1').toLowerCase() : null;
  }
  return null;
}
