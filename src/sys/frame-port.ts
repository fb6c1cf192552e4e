/**
 * The inner link of an adapter: frames with their headers apart from the packets in them, so that neither has to be moved.
 *
 *   head: virtio_net_hdr 10, destination 6, source 6, type 2      elsewhere: what the frame carries
 *
 * Frames come by packet sockets, or by libpcap: one contract (test/pipeline/frame-port.test.ts).
 */

import { readdirSync } from 'node:fs';
import type { Mac } from '../lib/mac.ts';
import { libc } from './libc.ts';
import { interfaceMac, interfaceMtu, openPacketSocket } from './packet.ts';
import { eapolFilter, type FilterProgram, innerFilter } from './packet-filter.ts';
import { closePcap, openPcap, type PcapHandle } from './pcap.ts';
import { VIRTIO_HEADER } from './tun.ts';

export const ETHERNET_HEADER = 14;
export const FRAME_HEAD = VIRTIO_HEADER + ETHERNET_HEADER;

/** The frame edge of an adapter's data path. */
export interface FramePort {
  /** Virtio-net and Ethernet header of the frame just read, without its tag. */
  readonly head: DataView;
  /** Tag control information of that frame; -1 = it has none. */
  readonly tag: number;
  /** What the tag says it is, 0x8100 by IEEE 802.1Q; 0 without a tag. */
  readonly tagProtocol: number;
  /** Reads one frame and returns the octets it carries; -1 = none waits. */
  read(address: number, room: number): number;
  /** Writes one frame gathered from a list of iovecs, virtio-net header first; 0, or the errno. */
  write(vectors: number, count: number): number;
}

export const captures = ['packet', 'pcap'] as const;
/** How frames are taken from an interface. */
export type Capture = (typeof captures)[number];

/** Where a port's frames come from and go to: a packet socket, or libpcap. */
export type FrameSource = PcapHandle | { readonly fd: number; readonly pcap: null };

/** An open port. Plain data, so that threads can share the descriptor. */
export type FrameHandle = {
  readonly name: string;
  readonly mac: Mac;
  /** The longest packet that the interface takes in one frame. */
  readonly mtu: number;
  readonly source: FrameSource;
  /** Where EAPOL comes from instead, if it is a bridge: its ports at the time. */
  readonly ports: readonly FrameSource[];
};

export function openFramePort(name: string, capture: Capture): FrameHandle {
  const mac = interfaceMac(name);
  const opened: FrameSource[] = [];
  const open = (link: string, filter: FilterProgram): FrameSource => {
    const source =
      capture === 'pcap' ? openPcap(link, filter) : { fd: openPacketSocket(link, { filter, link: true }), pcap: null };
    opened.push(source);
    return source;
  };
  try {
    const source = open(name, innerFilter(mac));
    const ports = bridgePorts(name).map((port) => open(port, eapolFilter()));
    return { name, mac, mtu: interfaceMtu(name), source, ports };
  } catch (error) {
    for (const source of opened) close(source);
    throw error;
  }
}

/** The interfaces that a bridge has now; none of what is no bridge. */
export function bridgePorts(name: string): string[] {
  try {
    return readdirSync(`/sys/class/net/${name}/brif`);
  } catch {
    return [];
  }
}

function close(source: FrameSource): void {
  if (source.pcap === null) libc().close(source.fd);
  else closePcap(source);
}

export function closeFramePort({ source, ports }: FrameHandle): void {
  for (const each of [source, ...ports]) close(each);
}
