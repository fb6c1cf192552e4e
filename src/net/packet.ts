/**
 * IPv4, IPv6, TCP and UDP headers read and written in place, and the Internet checksum: for the data path, so nothing
 * here allocates. Offsets are relative to the start of the header they are named after.
 */

/** RFC 791 section 3.1. */
export const Ip4 = {
  tos: 1,
  totalLength: 2,
  id: 4,
  fragment: 6,
  ttl: 8,
  protocol: 9,
  checksum: 10,
  source: 12,
  destination: 16,
  length: 20,
} as const;

/** RFC 8200 section 3. */
export const Ip6 = { payloadLength: 4, next: 6, hopLimit: 7, source: 8, destination: 24, length: 40 } as const;

/** RFC 9293 section 3.1. */
export const Tcp = {
  source: 0,
  destination: 2,
  sequence: 4,
  acknowledgment: 8,
  dataOffset: 12,
  flags: 13,
  window: 14,
  checksum: 16,
  urgent: 18,
  length: 20,
} as const;
export const TcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32, ece: 64, cwr: 128 } as const;

/** RFC 768. */
export const Udp = { source: 0, destination: 2, length: 4, checksum: 6, headerLength: 8 } as const;

export const Protocol = { icmp: 1, tcp: 6, udp: 17, icmp6: 58 } as const;

const MORE_FRAGMENTS_OR_OFFSET = 0x3fff;

/** The unfolded one's complement sum (RFC 1071) of big-endian 16-bit words, an odd octet padded with zero. */
export function sumWords(view: DataView, at: number, length: number): number {
  let high = 0;
  let low = 0;
  let high2 = 0;
  let low2 = 0;
  const end = at + length;
  let i = at;
  for (; i + 8 <= end; i += 8) {
    const a = view.getInt32(i);
    const b = view.getInt32(i + 4);
    high += a >>> 16;
    low += a & 0xffff;
    high2 += b >>> 16;
    low2 += b & 0xffff;
  }
  for (; i + 2 <= end; i += 2) low += view.getUint16(i);
  if (i < end) high += view.getUint8(i) << 8;
  return high + low + (high2 + low2);
}

/** Folds a sum of at most 48 bits to 16. */
export function foldSum(sum: number): number {
  let folded = sum > 0x7fff_ffff ? (sum % 0x1_0000) + Math.floor(sum / 0x1_0000) : sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

/** Sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1) without the transport length. */
export function pseudoSum(view: DataView, ip: number, protocol: number): number {
  return protocol + (isIp6(view, ip) ? sumWords(view, ip + Ip6.source, 32) : sumWords(view, ip + Ip4.source, 8));
}

export function isIp6(view: DataView, ip: number): boolean {
  return view.getUint8(ip) >> 4 === 6;
}

/** Writes the header checksum of an IPv4 header. */
export function writeIp4Checksum(view: DataView, ip: number, headerLength: number): void {
  view.setUint16(ip + Ip4.checksum, 0);
  view.setUint16(ip + Ip4.checksum, ~foldSum(sumWords(view, ip, headerLength)));
}

/** Where the checksum stands in a transport header. */
export function checksumOffset(protocol: number): number {
  return protocol === Protocol.tcp ? Tcp.checksum : Udp.checksum;
}

/**
 * Completes a transport checksum whose field holds the folded pseudo-header sum, as the kernel leaves it for a device
 * that computes checksums: `start` is where summing begins, `end` the packet's end.
 */
export function completeChecksum(view: DataView, start: number, field: number, end: number, udp: boolean): void {
  const checksum = ~foldSum(sumWords(view, start, end - start)) & 0xffff;
  // RFC 768: a computed zero is sent as all ones, as zero says that there is none.
  view.setUint16(start + field, udp && checksum === 0 ? 0xffff : checksum);
}

/** Whether a TCP or UDP checksum is right. */
export function checksumValid(view: DataView, ip: number, transport: number, end: number, protocol: number): boolean {
  const length = end - transport;
  return foldSum(pseudoSum(view, ip, protocol) + length + sumWords(view, transport, length)) === 0xffff;
}

/** Whether the header checksum of an IPv4 packet is right; IPv6 has none. */
export function headerValid(view: DataView, ip: number, headerLength: number): boolean {
  return isIp6(view, ip) || foldSum(sumWords(view, ip, headerLength)) === 0xffff;
}

/** Whether the octets [ip, end) are one whole IP packet by version and length fields. */
export function isWholePacket(view: DataView, ip: number, end: number): boolean {
  const length = end - ip;
  if (length < Ip4.length) return false;
  const version = view.getUint8(ip) >> 4;
  if (version === 4) {
    const headerLength = (view.getUint8(ip) & 15) << 2;
    return headerLength >= Ip4.length && headerLength <= length && view.getUint16(ip + Ip4.totalLength) === length;
  }
  return version === 6 && length >= Ip6.length && view.getUint16(ip + Ip6.payloadLength) === length - Ip6.length;
}

/**
 * The length of a plain IP header, in front of a transport header that starts at once: 20 or 40; 0 for IPv4 with options
 * or in fragments. IPv6 extension headers, fragments among them, show as the protocol.
 */
export function plainHeaderLength(view: DataView, ip: number): number {
  if (isIp6(view, ip)) return Ip6.length;
  const plain = view.getUint8(ip) === 0x45 && (view.getUint16(ip + Ip4.fragment) & MORE_FRAGMENTS_OR_OFFSET) === 0;
  return plain ? Ip4.length : 0;
}

/** Protocol or next header. */
export function protocolOf(view: DataView, ip: number): number {
  return view.getUint8(ip + (isIp6(view, ip) ? Ip6.next : Ip4.protocol));
}

/** DSCP and ECN of a packet: IPv4's TOS, IPv6's traffic class. */
export function trafficClass(view: DataView, ip: number): number {
  return isIp6(view, ip) ? (view.getUint16(ip) >> 4) & 0xff : view.getUint8(ip + Ip4.tos);
}

/** RFC 3168 section 5. */
export const Ecn = { notEct: 0, ect1: 1, ect0: 2, ce: 3, mask: 3 } as const;

/**
 * What a packet that came in a tunnel has in the end (RFC 6040 section 4.2, figure 4); -1 = it must be dropped, as its
 * sender would not understand the mark.
 */
function decapsulatedEcn(inner: number, outer: number): number {
  if (outer === Ecn.ce) return inner === Ecn.notEct ? -1 : Ecn.ce;
  return inner === Ecn.ect0 && outer === Ecn.ect1 ? Ecn.ect1 : inner;
}

/** Changes a packet's ECN field, and what that means for IPv4's checksum (RFC 1624): a wrong one stays wrong. */
function setEcn(view: DataView, ip: number, ecn: number): void {
  if (isIp6(view, ip)) {
    view.setUint16(ip, (view.getUint16(ip) & ~(Ecn.mask << 4)) | (ecn << 4));
    return;
  }
  const before = view.getUint16(ip);
  const after = (before & ~Ecn.mask) | ecn;
  const checksum = ~view.getUint16(ip + Ip4.checksum) & 0xffff;
  view.setUint16(ip, after);
  view.setUint16(ip + Ip4.checksum, ~foldSum(checksum + (~before & 0xffff) + after));
}

/** Gives a packet that came in a tunnel the outer header's mark; false = it must be dropped. */
export function handOnEcn(view: DataView, ip: number, outer: number): boolean {
  if (outer === Ecn.notEct) return true;
  const inner = trafficClass(view, ip) & Ecn.mask;
  const ecn = decapsulatedEcn(inner, outer);
  if (ecn >= 0 && ecn !== inner) setEcn(view, ip, ecn);
  return ecn >= 0;
}
