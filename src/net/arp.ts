/** ARP for IPv4 over Ethernet (RFC 826), with the uses RFC 5227 names. */

import { Reader, Writer } from '../lib/bytes.ts';
import { type Address, formatAddress, parseAddress } from '../lib/ip.ts';
import { formatMac, isGroupMac, MAC_LENGTH, type Mac, parseMac } from '../lib/mac.ts';
import { EtherType } from './ethernet.ts';
import type { LinkDropReason } from './link-drop.ts';

const ETHERNET = 1;
const IP4_LENGTH = 4;
const operations = { request: 1, reply: 2 } as const;
const UNSPECIFIED: Address = '0.0.0.0';

export type Arp = {
  readonly operation: keyof typeof operations;
  readonly senderMac: Mac;
  readonly senderAddress: Address;
  readonly targetMac: Mac;
  readonly targetAddress: Address;
};

/** What follows in the payload is padding (IEEE 802.3 clause 4.2.3.3). */
export function decodeArp(payload: Uint8Array): Arp | LinkDropReason {
  const from = new Reader(payload);
  const known =
    from.u16() === ETHERNET && from.u16() === EtherType.ipv4 && from.u8() === MAC_LENGTH && from.u8() === IP4_LENGTH;
  const code = from.u16();
  const sender = from.take(MAC_LENGTH + IP4_LENGTH);
  const target = from.take(MAC_LENGTH + IP4_LENGTH);
  if (!known || from.failed || (code !== operations.request && code !== operations.reply)) return 'arp-malformed';
  const senderMac = formatMac(sender);
  if (isGroupMac(senderMac)) return 'arp-malformed';
  return {
    operation: code === operations.request ? 'request' : 'reply',
    senderMac,
    senderAddress: formatAddress(sender, MAC_LENGTH),
    targetMac: formatMac(target),
    targetAddress: formatAddress(target, MAC_LENGTH),
  };
}

export function encodeArp(arp: Arp): Uint8Array {
  const into = new Writer();
  into.u16(ETHERNET);
  into.u16(EtherType.ipv4);
  into.u8(MAC_LENGTH);
  into.u8(IP4_LENGTH);
  into.u16(operations[arp.operation]);
  into.octets(parseMac(arp.senderMac));
  into.octets(parseAddress(arp.senderAddress)!);
  into.octets(parseMac(arp.targetMac));
  into.octets(parseAddress(arp.targetAddress)!);
  return into.written;
}

/** "Is this address in use?" (RFC 5227 section 1.1): asked before the sender takes the address itself. */
export function isProbe(arp: Arp): boolean {
  return arp.operation === 'request' && arp.senderAddress === UNSPECIFIED;
}

/** "I use this address": an announcement (RFC 5227 section 1.1), also in its older form of a gratuitous reply. */
export function isAnnouncement(arp: Arp): boolean {
  return arp.senderAddress === arp.targetAddress && arp.senderAddress !== UNSPECIFIED;
}
