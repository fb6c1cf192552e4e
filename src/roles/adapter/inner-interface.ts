/**
 * The adapter's interface on the inner link (protocol section 5.1): the gateway addresses as single hosts, so that no
 * connected route appears beside the TUN's, and a kernel that answers for nothing there. What is said to devices, the
 * adapter says itself.
 */

import { existsSync } from 'node:fs';
import { raise } from '../../lib/errors.ts';
import { type Address, addressAt, familyOf, formatAddress, isLinkLocal, type Prefix } from '../../lib/ip.ts';
import { type Mac, parseMac } from '../../lib/mac.ts';
import type { Capture } from '../../sys/frame-port.ts';
import { linkIndex, type Netlink } from '../../sys/netlink.ts';

export type AdapterSettings = {
  readonly inner: string;
  readonly outer: string;
  readonly internet: boolean;
  readonly capture: Capture;
};

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

/** What the kernel does on the inner interface, and for `internet` beyond. */
export function settingsOf({ inner, outer, internet }: AdapterSettings): [file: string, value: string][] {
  const conf = (family: 'ipv4' | 'ipv6', name: string, setting: string): string =>
    `/proc/sys/net/${family}/conf/${name}/${setting}`;
  const quiet: [string, string][] = [
    // It answers no ARP there, and sends no redirects.
    [conf('ipv4', inner, 'arp_ignore'), '8'],
    [conf('ipv4', inner, 'send_redirects'), '0'],
    [conf('ipv4', inner, 'accept_redirects'), '0'],
    [conf('ipv4', inner, 'proxy_arp'), '0'],
    [conf('ipv6', inner, 'disable_ipv6'), '0'],
    [conf('ipv6', inner, 'accept_ra'), '0'],
    [conf('ipv6', inner, 'accept_redirects'), '0'],
    // A router says so in its neighbour advertisements, else devices give up their default route.
    [conf('ipv6', inner, 'forwarding'), '1'],
    [conf('ipv4', inner, 'forwarding'), internet ? '1' : '0'],
  ];
  // What a bridge takes in is ours before it is the firewall's, which drops overlay addresses on the way to the kernel.
  if (existsSync(`/sys/class/net/${inner}/bridge`)) {
    const hooks = ['iptables', 'ip6tables', 'arptables'].map((kind) => `/proc/sys/net/bridge/bridge-nf-call-${kind}`);
    quiet.push(...hooks.filter((file) => existsSync(file)).map((file): [string, string] => [file, '0']));
  }
  if (!internet) return quiet;
  return [
    ...quiet,
    [conf('ipv4', outer, 'forwarding'), '1'],
    // Also as a router this host learns its own way out by router advertisements.
    [conf('ipv6', outer, 'accept_ra'), '2'],
    [conf('ipv6', 'all', 'forwarding'), '1'],
  ];
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
