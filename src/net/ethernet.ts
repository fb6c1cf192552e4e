/** Ethernet II frames (IEEE 802.3 clause 3) without their check sequence, with at most one tag (IEEE 802.1Q). */

import { Reader, Writer } from '../lib/bytes.ts';
import { type Address, familyOf, parseAddress } from '../lib/ip.ts';
import { formatMac, isGroupMac, MAC_LENGTH, type Mac, parseMac } from '../lib/mac.ts';
import type { LinkDropReason } from './link-drop.ts';

export const EtherType = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd, eapol: 0x888e } as const;

export const VLAN_TAG = 0x8100;
/** Tags in front of a tag: IEEE 802.1ad, and what came before that standard. */
const outerTags: readonly number[] = [VLAN_TAG, 0x88a8, 0x9100, 0x9200];
/** IEEE 802.3 clause 3.2.6: smaller values are lengths of frames without an EtherType. */
const LOWEST_TYPE = 0x0600;
const VLAN_ID = 0xfff;
const RESERVED_VLAN = 0xfff;
const NO_MAC: Mac = '00:00:00:00:00:00';

export type Frame = {
  readonly destination: Mac;
  readonly source: Mac;
  /** Tag control information, with priority; null if the frame is untagged. */
  readonly tag: number | null;
  readonly etherType: number;
  /** As long as the frame: protocols with a length of their own cut the padding off. */
  readonly payload: Uint8Array;
};

export function decodeFrame(octets: Uint8Array): Frame | LinkDropReason {
  const from = new Reader(octets);
  const macs = from.take(2 * MAC_LENGTH);
  let etherType = from.u16();
  const tagged = etherType === VLAN_TAG;
  const tag = tagged ? from.u16() : null;
  if (tagged) etherType = from.u16();
  if (from.failed) return 'frame-short';
  const source = formatMac(macs, MAC_LENGTH);
  if (isGroupMac(source) || source === NO_MAC) return 'frame-source';
  if (outerTags.includes(etherType) || vlanOf(tag) === RESERVED_VLAN) return 'frame-tag';
  if (etherType < LOWEST_TYPE) return 'frame-length';
  return { destination: formatMac(macs), source, tag, etherType, payload: from.take(from.left) };
}

/** The VLAN that a tag names, without the priority beside it (IEEE 802.1Q section 9.6); -1 = none. */
export function vlanOf(tag: number | null): number {
  return tag === null ? -1 : tag & VLAN_ID;
}

/** Not padded: interfaces do that. */
export function encodeFrame(frame: Frame): Uint8Array {
  const into = new Writer();
  into.octets(parseMac(frame.destination));
  into.octets(parseMac(frame.source));
  if (frame.tag !== null) {
    into.u16(VLAN_TAG);
    into.u16(frame.tag);
  }
  into.u16(frame.etherType);
  into.octets(frame.payload);
  return into.written;
}

/** Where a packet to a multicast address goes: RFC 1112 section 6.4, RFC 2464 section 7. */
export function multicastMac(address: Address): Mac {
  const octets = parseAddress(address)!;
  if (familyOf(address) === 6) return formatMac(Uint8Array.of(0x33, 0x33, ...octets.subarray(12)));
  return formatMac(Uint8Array.of(0x01, 0x00, 0x5e, octets[1]! & 0x7f, octets[2]!, octets[3]!));
}
