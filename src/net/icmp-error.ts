/** ICMP errors about a packet that is not carried on (RFC 792, RFC 1191, RFC 4443). How often is the caller's matter. */

import { isZero, viewOf, Writer } from '../lib/bytes.ts';
import { type Address, formatAddress } from '../lib/ip.ts';
import { encodeIp, sealTransport } from './datagram.ts';
import { completeChecksum, Ip4, Ip6, isIp6, isWholePacket, Protocol } from './packet.ts';

/** `prohibited` by policy, `unreachable` as nobody has that address, `tooBig` for a next hop that takes `mtu` octets. */
export type IcmpError =
  | { readonly kind: 'prohibited' | 'unreachable' }
  | { readonly kind: 'tooBig'; readonly mtu: number };

const HOP_LIMIT = 64;
const CHECKSUM = 2;
/** RFC 1812 section 4.3.2.3 and RFC 4443 section 2.4 (c): as much of the packet as leaves the error this long. */
const LONGEST = { 4: 576, 6: 1280 } as const;
const HEADER = 8;

/** Type and code. */
const forms = {
  4: { prohibited: [3, 13], unreachable: [3, 1], tooBig: [3, 4] },
  6: { prohibited: [1, 1], unreachable: [1, 3], tooBig: [2, 0] },
} as const;

/** The error about a whole IP packet, from `from` to the packet's source; null if there must be none. */
export function icmpError(packet: Uint8Array, from: Address, error: IcmpError): Uint8Array | null {
  const view = viewOf(packet);
  if (!isWholePacket(view, 0, packet.length)) return null;
  const family = isIp6(view, 0) ? 6 : 4;
  if (family === 6 ? !mayAnswer6(packet, error) : !mayAnswer4(packet)) return null;
  const [type, code] = forms[family][error.kind];
  const mtu = error.kind === 'tooBig' ? error.mtu : 0;
  const headers = HEADER + (family === 6 ? Ip6.length : Ip4.length);
  const into = new Writer();
  into.u8(type);
  into.u8(code);
  into.u16(0);
  // Both families have the next hop's MTU in the low 16 bits of this word (RFC 1191 section 4, RFC 4443 section 3.2).
  into.u32(mtu);
  into.octets(packet.subarray(0, LONGEST[family] - headers));
  const source = family === 6 ? Ip6.source : Ip4.source;
  const octets = encodeIp({
    source: from,
    destination: formatAddress(packet, source, family === 6 ? 16 : 4),
    protocol: family === 6 ? Protocol.icmp6 : Protocol.icmp,
    hopLimit: HOP_LIMIT,
    payload: into.written,
  });
  if (family === 6) return sealTransport(octets, CHECKSUM);
  completeChecksum(viewOf(octets), Ip4.length, CHECKSUM, octets.length, false);
  return octets;
}

const FRAGMENT_OFFSET = 0x1fff;
/** RFC 792's errors: unreachable, source quench, redirect, time exceeded, parameter problem. */
const errors4: readonly number[] = [3, 4, 5, 11, 12];

/** RFC 1122 section 3.2.2: no error about an error, a later fragment, or to and from what is no single host. */
function mayAnswer4(packet: Uint8Array): boolean {
  const view = viewOf(packet);
  const source = packet[Ip4.source]!;
  if ((view.getUint16(Ip4.fragment) & FRAGMENT_OFFSET) !== 0) return false;
  if (source === 0 || source === 127 || source >= 224 || packet[Ip4.destination]! >= 224) return false;
  const type = packet[(packet[0]! & 15) << 2];
  return packet[Ip4.protocol] !== Protocol.icmp || (type !== undefined && !errors4.includes(type));
}

const REDIRECT = 137;
const FIRST_INFORMATIONAL = 128;
const MULTICAST = 0xff;

/** RFC 4443 section 2.4 (e). */
function mayAnswer6(packet: Uint8Array, error: IcmpError): boolean {
  const source = packet.subarray(Ip6.source, Ip6.destination);
  if (source[0] === MULTICAST || (isZero(source.subarray(0, 15)) && source[15]! <= 1)) return false;
  if (packet[Ip6.destination] === MULTICAST && error.kind !== 'tooBig') return false;
  const type = icmp6Type(packet);
  return type === null || (type >= FIRST_INFORMATIONAL && type !== REDIRECT);
}

const Extension = { hopByHop: 0, routing: 43, fragment: 44, destination: 60 } as const;
const extensions: readonly number[] = Object.values(Extension);

/** The ICMPv6 type behind any extension headers; null if it is another protocol, 0 if that can't be seen. */
function icmp6Type(packet: Uint8Array): number | null {
  let next = packet[Ip6.next]!;
  let at = Ip6.length;
  while (extensions.includes(next)) {
    if (at + 8 > packet.length) return 0;
    if (next === Extension.fragment && (viewOf(packet).getUint16(at + 2) & ~7) !== 0) return 0;
    const length = next === Extension.fragment ? 8 : 8 * (packet[at + 1]! + 1);
    next = packet[at]!;
    at += length;
  }
  return next === Protocol.icmp6 ? (packet[at] ?? 0) : null;
}
