/**
 * The adapter's interface on the inner link (protocol section 5.1): the gateway addresses as single hosts, so that no
 * connected route appears beside the TUN's, and a kernel that answers for nothing there. What is said to devices, the
 * adapter says itself.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { raise } from '../../lib/errors.ts';
import { type Address, addressAt, familyOf, formatAddress, isLinkLocal, type Prefix } from '../../lib/ip.ts';
import { type Mac, parseMac } from '../../lib/mac.ts';
import { hostPrefix, linkIndex, type Netlink } from '../../sys/netlink.ts';

/** The host number of the gateway in both ranges; the AS gives it to no device. */
const GATEWAY = 1;

export type Gateways = {
  readonly gateway4: Address;
  readonly gateway6: Address;
  readonly range4: Prefix;
  readonly range6: Prefix;
};

export function gatewaysOf(overlay: readonly Prefix[]): Gateways {
  const range = (family: 4 | 6): Prefix =>
    overlay.find(({ address }) => familyOf(address) === family) ??
    raise('PEER_INVALID', { what: `a network without a range of IPv${family}` });
  const [range4, range6] = [range(4), range(6)];
  return { range4, range6, gateway4: addressAt(range4, GATEWAY), gateway6: addressAt(range6, GATEWAY) };
}

const settings4 = {
  /** The kernel answers no ARP there. */
  arp_ignore: '8',
  send_redirects: '0',
  accept_redirects: '0',
  proxy_arp: '0',
};
const settings6 = {
  disable_ipv6: '0',
  accept_ra: '0',
  accept_redirects: '0',
  /** A router says so in its neighbour advertisements, else devices give up their default route. */
  forwarding: '1',
};

/** Sets the interface up, also when that was done before. */
export function bringInnerUp(name: string, { gateway4, gateway6 }: Gateways, netlink: Netlink): void {
  const index = linkIndex(netlink, name);
  for (const [family, settings] of [
    ['ipv4', settings4],
    ['ipv6', settings6],
  ] as const) {
    for (const [setting, value] of Object.entries(settings))
      set(`/proc/sys/net/${family}/conf/${name}/${setting}`, value);
  }
  netlink.setLink(index, { up: true });
  for (const address of [gateway4, gateway6]) netlink.addAddress(index, hostPrefix(address));
}

/** Takes the gateway addresses away again; an interface that is gone has none. */
export function takeInnerDown(name: string, { gateway4, gateway6 }: Gateways, netlink: Netlink): void {
  const link = netlink.link(name);
  if (link === null) return;
  for (const address of [gateway4, gateway6]) netlink.removeAddress(link.index, hostPrefix(address));
}

/** The interface's link-local address, as the kernel has it; one is added where it has none. */
export function linkLocalOf(name: string, mac: Mac, netlink: Netlink): Address {
  const index = linkIndex(netlink, name);
  const known = netlink
    .addresses()
    .find((entry) => entry.index === index && isLinkLocal(entry.address) && familyOf(entry.address) === 6);
  if (known !== undefined) return known.address;
  const octets = parseMac(mac);
  const made = new Uint8Array(16);
  made.set([0xfe, 0x80]);
  made.set([octets[0]! ^ 2, octets[1]!, octets[2]!, 0xff, 0xfe, octets[3]!, octets[4]!, octets[5]!], 8);
  const address = formatAddress(made);
  netlink.addAddress(index, { address, length: 64 });
  return address;
}

function set(file: string, value: string): void {
  try {
    if (readFileSync(file, 'latin1').trim() !== value) writeFileSync(file, value);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code;
    raise('SYS_SETTING', { file, value, why }, cause);
  }
}
