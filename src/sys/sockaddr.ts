/**
 * Socket addresses in the kernel's form, kept as such on the data path so that nothing is parsed per datagram:
 * sockaddr_in {family 16 host order, port 16, address 32, zero 64}, sockaddr_in6 {family, port, flow 32, address 128, scope 32}.
 */

import { raise } from '../lib/errors.ts';
import { type Endpoint, familyOf, formatAddress, parseAddress } from '../lib/ip.ts';

export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCKADDR_ROOM = 28;

/** A socket address of 16 or 28 octets. */
export function encodeSockaddr(endpoint: Endpoint): Uint8Array {
  const address = parseAddress(endpoint.address) ?? raise('BUG_ARGUMENT', { what: `the address ${endpoint.address}` });
  const v4 = familyOf(endpoint.address) === 4;
  const octets = new Uint8Array(v4 ? 16 : SOCKADDR_ROOM);
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

/** Whether the socket address at `at` is `known`; flow label and scope don't count. */
export function isSockaddr(octets: Uint8Array, at: number, known: Uint8Array): boolean {
  const v4 = known.length === 16;
  for (let i = 0; i < 4; i++) if (octets[at + i] !== known[i]) return false;
  const start = v4 ? 4 : 8;
  const end = v4 ? 8 : 24;
  for (let i = start; i < end; i++) if (octets[at + i] !== known[i]) return false;
  return true;
}
