/**
 * Who answers "who has this address?" on the inner link (protocol section 5.5): peers of the overlay look on-link, and the
 * adapter answers for them with its own MAC address (proxy ARP, RFC 1027; ND proxy, RFC 4861 section 7.2.8), never for the
 * asking device's own address nor for a neighbour on the same link.
 */

import { type Address, addressAt, contains, hostCount, isLinkLocal, type Prefix } from '../lib/ip.ts';
import { isGroupMac, type Mac } from '../lib/mac.ts';
import type { VirtualAddresses } from '../lib/path.ts';
import { type Arp, encodeArp, isAnnouncement, isProbe } from './arp.ts';
import type { ReceivedPacket } from './datagram.ts';
import { EtherType, type Frame } from './ethernet.ts';
import type { LinkDropReason } from './link-drop.ts';
import {
  ALL_NODES,
  encodeNdp,
  isDuplicateDetection,
  type NeighbourAdvertisement,
  type NeighbourSolicitation,
} from './ndp.ts';
import { noNdpOptions } from './ndp-options.ts';

/** What the adapter knows of its inner link. */
export type NeighbourTable = {
  /** Of the inner interface. */
  readonly mac: Mac;
  readonly gateway4: Address | null;
  readonly gateway6: Address | null;
  readonly range4: Prefix;
  readonly range6: Prefix;
  /** Virtual addresses of an active general node on this link; null for any other device. */
  addressesOf(mac: Mac): VirtualAddresses | null;
  /** The general node on this link that has a virtual address; null if none here has. */
  ownerOf(address: Address): Mac | null;
};

/** A frame to send, nothing to say, or why the question was not taken. */
export type NeighbourAnswer = Frame | null | LinkDropReason;

/** Answers an ARP packet that came in `frame`. */
export function answerArp(frame: Frame, arp: Arp, table: NeighbourTable): NeighbourAnswer {
  if (arp.senderMac !== frame.source) return 'neighbour-spoofed';
  const asker = table.addressesOf(frame.source);
  if (asker === null) return 'neighbour-unknown-device';
  const probe = isProbe(arp);
  if (!probe && arp.senderAddress !== asker.vip4) return claim(arp.senderAddress, table);
  if (arp.operation === 'reply' || isAnnouncement(arp) || !isForUs(frame, table)) return null;
  if (!answersFor(arp.targetAddress, asker.vip4, table)) return null;
  const reply = encodeArp({
    operation: 'reply',
    senderMac: table.mac,
    senderAddress: arp.targetAddress,
    targetMac: arp.senderMac,
    targetAddress: arp.senderAddress,
  });
  return replyTo(frame, EtherType.arp, reply, table);
}

/** Answers a neighbour solicitation that came in `frame` and `packet`. */
export function answerSolicitation(
  frame: Frame,
  packet: ReceivedPacket,
  message: NeighbourSolicitation,
  table: NeighbourTable,
): NeighbourAnswer {
  const asker = table.addressesOf(frame.source);
  if (asker === null) return 'neighbour-unknown-device';
  const { sourceMac } = message.options;
  if (sourceMac !== null && sourceMac !== frame.source) return 'neighbour-spoofed';
  const detection = isDuplicateDetection(packet);
  const { source } = packet;
  if (!detection && source !== asker.vip6 && !isLinkLocal(source)) return claim(source, table);
  if (!isForUs(frame, table) || !answersFor(message.target, asker.vip6, table)) return null;
  const gateway = message.target === table.gateway6;
  const advertisement: NeighbourAdvertisement = {
    type: 'neighbourAdvertisement',
    router: gateway,
    solicited: !detection,
    // RFC 4861 section 7.2.8: the answer of a proxy gives way to the node itself.
    override: gateway,
    target: message.target,
    options: { ...noNdpOptions, targetMac: table.mac },
  };
  const reply = encodeNdp(advertisement, message.target, detection ? ALL_NODES : source);
  // Also what is for all nodes goes to the asker only (RFC 6085): to the others it says nothing.
  return replyTo(frame, EtherType.ipv6, reply, table);
}

/** Judges a neighbour advertisement: it asks nothing, but may claim what isn't the sender's. */
export function judgeAdvertisement(
  frame: Frame,
  message: NeighbourAdvertisement,
  table: NeighbourTable,
): LinkDropReason | null {
  const sender = table.addressesOf(frame.source);
  if (sender === null) return 'neighbour-unknown-device';
  const { targetMac } = message.options;
  if (targetMac !== null && targetMac !== frame.source) return 'neighbour-spoofed';
  if (message.target === sender.vip6 || isLinkLocal(message.target)) return null;
  return claim(message.target, table);
}

/** What is wrong with a device that speaks as `address`, which isn't its own. */
function claim(address: Address, table: NeighbourTable): LinkDropReason {
  const taken = isOverlay(address, table) || table.ownerOf(address) !== null;
  return taken ? 'neighbour-spoofed' : 'neighbour-source';
}

/** A question to somebody else's MAC address is seen only because the interface takes every frame. */
function isForUs(frame: Frame, table: NeighbourTable): boolean {
  return isGroupMac(frame.destination) || frame.destination === table.mac;
}

function answersFor(target: Address, own: Address | null, table: NeighbourTable): boolean {
  if (target === own) return false;
  if (target === table.gateway4 || target === table.gateway6) return true;
  return isOverlay(target, table) && table.ownerOf(target) === null && !isWholeRange4(target, table.range4);
}

function isOverlay(address: Address, table: NeighbourTable): boolean {
  return (
    address === table.gateway4 ||
    address === table.gateway6 ||
    contains(table.range4, address) ||
    contains(table.range6, address)
  );
}

/** The range itself and its broadcast address (RFC 922 section 7) are nobody's. */
function isWholeRange4(address: Address, range: Prefix): boolean {
  return address === range.address || address === addressAt(range, hostCount(range) - 1);
}

function replyTo(frame: Frame, etherType: number, payload: Uint8Array, table: NeighbourTable): Frame {
  return { destination: frame.source, source: table.mac, tag: frame.tag, etherType, payload };
}
