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
import { interfaceMac, interfaceMtu, openPacketGroup, openPacketSocket } from './packet.ts';
import { bySource, eapolFilter, type FilterProgram, innerFilter } from './packet-filter.ts';
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
  /** Each device's frames come from one of them; all take what is sent. */
  readonly sources: readonly FrameSource[];
  /** Where EAPOL comes from instead, if it is a bridge: its ports at the time. */
  readonly ports: readonly FrameSource[];
};

/** Queues of frames, by device: enough that few of some hundred devices share one with another that floods. */
const QUEUES = 16;

type Opener = {
  readonly queues: (name: string, filter: FilterProgram) => readonly FrameSource[];
  readonly single: (name: string, filter: FilterProgram) => FrameSource;
};

const openers: Readonly<Record<Capture, Opener>> = {
  packet: {
    queues: (name, filter) => openPacketGroup(name, QUEUES, { filter, choose: bySource() }).map(ofSocket),
    single: (name, filter) => ofSocket(openPacketSocket(name, { filter, link: true })),
  },
  pcap: { queues: (name, filter) => [openPcap(name, filter)], single: openPcap },
};

function ofSocket(fd: number): FrameSource {
  return { fd, pcap: null };
}

export function openFramePort(name: string, capture: Capture): FrameHandle {
  const mac = interfaceMac(name);
  const { queues, single } = openers[capture];
  const sources = queues(name, innerFilter(mac));
  const ports: FrameSource[] = [];
  const handle: FrameHandle = { name, mac, mtu: interfaceMtu(name), sources, ports };
  try {
    for (const port of bridgePorts(name)) ports.push(single(port, eapolFilter()));
    return handle;
  } catch (error) {
    closeFramePort(handle);
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

export function closeFramePort({ sources, ports }: FrameHandle): void {
  for (const each of [...sources, ...ports]) close(each);
}
