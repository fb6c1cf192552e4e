/**
 * Asks the routers of a link for an advertisement (RFC 4861 section 6.3.7). The kernel takes it, and tells of options that
 * are not its own business (`netlink.ts`). Without CAP_NET_RAW nothing is asked: they advertise from time to time anyway.
 */

import { addressOf } from './ffi.ts';
import { libc } from './libc.ts';
import { AF_INET6, encodeSockaddr } from './sockaddr.ts';
import { setOption } from './socket-option.ts';

const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const IPPROTO_ICMPV6 = 58;
const IPPROTO_IPV6 = 41;
const IPV6_MULTICAST_IF = 17;
const IPV6_MULTICAST_HOPS = 18;
const ALL_ROUTERS = { address: 'ff02::2', port: 0 };
const ROUTER_SOLICITATION = 133;
const LENGTH = 8;

export function solicitRouters(index: number): void {
  const fd = libc().socket(AF_INET6, SOCK_RAW_CLOEXEC, IPPROTO_ICMPV6);
  if (fd < 0) return;
  setOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, index);
  // Proof that it comes from this link.
  setOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 255);
  const to = Buffer.allocUnsafeSlow(28);
  to.set(encodeSockaddr(ALL_ROUTERS));
  // The kernel adds the checksum.
  const message = Buffer.allocUnsafeSlow(LENGTH).fill(0);
  message[0] = ROUTER_SOLICITATION;
  if (libc().connect(fd, addressOf(to), to.length) === 0) libc().send(fd, addressOf(message), LENGTH, 0);
  libc().close(fd);
}
