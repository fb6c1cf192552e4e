/** TCP's maximum segment size in packets that pass by, made to fit a path (RFC 9293 section 3.7.1, RFC 6691). */

import { foldSum, Ip4, Ip6, isIp6, Protocol, Tcp, TcpFlag } from './packet.ts';

const Option = { end: 0, none: 1, mss: 2 } as const;
const MSS_LENGTH = 4;

/**
 * Lowers the MSS option of a SYN so that segments fit packets of `mtu` octets. Other packets stay as they are, and so does
 * a checksum that was wrong (RFC 1624); `partial`: one that does not cover the options yet. The packet must be whole.
 */
export function clampMss(view: DataView, ip: number, end: number, mtu: number, partial: boolean): void {
  const v6 = isIp6(view, ip);
  if (view.getUint8(ip + (v6 ? Ip6.next : Ip4.protocol)) !== Protocol.tcp) return;
  // Fragments have no room for a SYN's options, and IPv4's own options are skipped by its header length.
  const headerLength = v6 ? Ip6.length : (view.getUint8(ip) & 15) << 2;
  const tcp = ip + headerLength;
  if (tcp + Tcp.length > end || (view.getUint8(tcp + Tcp.flags) & TcpFlag.syn) === 0) return;
  if (!v6 && (view.getUint16(ip + Ip4.fragment) & FRAGMENT_OFFSET) !== 0) return;
  const optionsEnd = Math.min(end, tcp + ((view.getUint8(tcp + Tcp.dataOffset) >> 4) << 2));
  const most = mtu - (v6 ? Ip6.length : Ip4.length) - Tcp.length;
  for (let at = tcp + Tcp.length; at + MSS_LENGTH <= optionsEnd; ) {
    const kind = view.getUint8(at);
    if (kind === Option.end) return;
    if (kind === Option.none) {
      at++;
      continue;
    }
    const length = view.getUint8(at + 1);
    if (kind === Option.mss && length === MSS_LENGTH) lower(view, tcp, at + 2, most, partial);
    if (kind === Option.mss || length < 2) return;
    at += length;
  }
}

const FRAGMENT_OFFSET = 0x1fff;

function lower(view: DataView, tcp: number, at: number, most: number, partial: boolean): void {
  const mss = view.getUint16(at);
  if (mss <= most) return;
  view.setUint16(at, most);
  if (partial) return;
  // RFC 1624, equation 3. An option at an odd offset adds its octets the other way round.
  const odd = ((at - tcp) & 1) === 1;
  const before = odd ? swapped(mss) : mss;
  const after = odd ? swapped(most) : most;
  const sum = (~view.getUint16(tcp + Tcp.checksum) & 0xffff) + (~before & 0xffff) + after;
  view.setUint16(tcp + Tcp.checksum, ~foldSum(sum));
}

function swapped(word: number): number {
  return ((word & 0xff) << 8) | (word >> 8);
}
