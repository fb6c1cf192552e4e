/** The devices on the inner link that have a virtual address, as an I/O thread looks them up, and their frames' headers. */

import { type Address, parseAddress } from '../lib/ip.ts';
import { type Mac, parseMac } from '../lib/mac.ts';
import type { VirtualAddresses } from '../lib/path.ts';
import { EtherType, VLAN_TAG, vlanOf } from '../net/ethernet.ts';
import { OctetMap } from './octet-map.ts';

/** A device as the control plane admits it: what has its virtual addresses comes from this MAC address, with this tag. */
export type LinkHost = VirtualAddresses & {
  readonly mac: Mac;
  /** Tag control information; null = untagged. */
  readonly tag: number | null;
};

/** One device: what its frames come with, and the Ethernet headers of frames to it. */
export class Host {
  readonly macHigh: number;
  readonly macLow: number;
  /** VLAN identifier, -1 = untagged. */
  readonly vlan: number;
  readonly header4: Uint8Array;
  readonly header6: Uint8Array;

  constructor({ mac, tag }: LinkHost, own: Mac) {
    const octets = new DataView(parseMac(mac).buffer);
    this.macHigh = octets.getUint16(0);
    this.macLow = octets.getUint32(2);
    this.vlan = vlanOf(tag);
    this.header4 = headerOf(mac, own, tag, EtherType.ipv4);
    this.header6 = headerOf(mac, own, tag, EtherType.ipv6);
  }
}

function headerOf(to: Mac, from: Mac, tag: number | null, etherType: number): Uint8Array {
  const header = new DataView(new ArrayBuffer(tag === null ? 14 : 18));
  const octets = new Uint8Array(header.buffer);
  octets.set(parseMac(to));
  octets.set(parseMac(from), 6);
  if (tag !== null) {
    header.setUint16(12, VLAN_TAG);
    header.setUint16(14, tag);
  }
  header.setUint16(octets.length - 2, etherType);
  return octets;
}

export class HostTable {
  readonly #own: Mac;
  #hosts: readonly Host[] = [];
  #macs: ReadonlySet<number> = new Set();
  #by4 = new OctetMap(4);
  #by6 = new OctetMap(16);

  constructor(own: Mac) {
    this.#own = own;
  }

  /** Replaces the list. */
  set(hosts: readonly LinkHost[]): void {
    this.#hosts = hosts.map((host) => new Host(host, this.#own));
    this.#macs = new Set(this.#hosts.map(({ macHigh, macLow }) => numberOf(macHigh, macLow)));
    this.#by4 = indexOf(4, hosts, ({ vip4 }) => vip4);
    this.#by6 = indexOf(16, hosts, ({ vip6 }) => vip6);
  }

  /** Whether one of them has this MAC address. */
  has(macHigh: number, macLow: number): boolean {
    return this.#macs.has(numberOf(macHigh, macLow));
  }

  find4(view: DataView, at: number): Host | undefined {
    return this.#hosts[this.#by4.find(view, at)];
  }

  find6(view: DataView, at: number): Host | undefined {
    return this.#hosts[this.#by6.find(view, at)];
  }
}

function numberOf(macHigh: number, macLow: number): number {
  return macHigh * 2 ** 32 + macLow;
}

function indexOf(width: number, hosts: readonly LinkHost[], address: (host: LinkHost) => Address | null): OctetMap {
  const map = new OctetMap(width);
  hosts.forEach((host, i) => {
    const text = address(host);
    if (text !== null) map.set(parseAddress(text)!, i);
  });
  return map;
}
