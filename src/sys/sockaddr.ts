/**
 * Socket addresses in the kernel's form, kept as such on the data path so that nothing is parsed per datagram:
 * sockaddr_in {family 16 host order, port 16, address 32, zero 64}, sockaddr_in6 {family, port, flow 32, address 128, scope 32}.
 */

import { raise } from '../lib/errors.ts';
import { type Endpoint, familyOf, formatAddress, parseAddress } from '../lib/ip.ts';

export const AF_INET = 2;
export const AF_INET6 = 10;
const SOCKADDR4 = 16;
export const SOCKADDR_ROOM = 28;

/** A socket address of 16 or 28 octets. */
export function encodeSockaddr(endpoint: Endpoint): Uint8Array<ArrayBuffer> {
  const address = parseAddress(endpoint.address) ?? raise('BUG_ARGUMENT', { what: `the address ${endpoint.address}` });
  const v4 = familyOf(endpoint.address) === 4;
  const octets = new Uint8Array(v4 ? SOCKADDR4 : SOCKADDR_ROOM);
  octets[0] = v4 ? AF_INET : AF_INET6;
  octets[2] = endpoint.port >> 8;
  octets[3] = endpoint.port & 255;
  octets.set(address, v4 ? 4 : 8);
  return octets;
}

export function decodeSockaddr(octets: Uint8Array, at = 0): Endpoint {
  const v4 = octets[at] === AF_INET;
  const address = v4 ? formatAddress(octets, at + 4, 4) : formatAddress(octets, at + 8, 16);
  return { address, port: (octets[at + 2]! << 8) | octets[at + 3]! };
}

/** Whether the socket address at `at` is the one in the words `known`; flow label and scope don't count. */
export function isSockaddr(view: DataView, at: number, known: readonly number[]): boolean {
  const first = known[0]!;
  if (view.getInt32(at) !== first) return false;
  if (first >>> 24 === AF_INET) return view.getInt32(at + 4) === known[1];
  for (let i = 2; i < 6; i++) if (view.getInt32(at + 4 * i) !== known[i]) return false;
  return true;
}
