/**
 * libpcap: frames of one interface where packet sockets with virtio-net headers are no way. The library is the system's,
 * and looked for only when it is wanted.
 *
 *   pcap_pkthdr: seconds 64, microseconds 64, captured 32, length 32      struct bpf_program: see `programMemory`
 */

import { raise } from '../lib/errors.ts';
import { bind, errno, type Library, library } from './ffi.ts';
import { libc } from './libc.ts';
import { allocate } from './memory.ts';
import { linkIndex, Netlink } from './netlink.ts';
import { MAX_FRAME } from './packet.ts';
import { type FilterProgram, programMemory } from './packet-filter.ts';
import { vectorAddress } from './vectors.ts';

/** The same library to Debian and to everybody else. */
const names = ['libpcap.so.0.8', 'libpcap.so.1'] as const;

/** PCAP_ERRBUF_SIZE */
const ERROR_ROOM = 256;
/** PCAP_D_IN */
const INCOMING = 1;
/** A frame takes a slot for the longest one, which libpcap rounds up to 128 KiB: some 250 of them. */
const BUFFER = 32 << 20;
const POINTER = 8;
const HEADER = 24;
const CAPTURED_AT = 16;

/** An open capture. Plain data, so that threads can share it. */
export type PcapHandle = { readonly fd: number; readonly pcap: number };

function findLibrary(): Library {
  let why: unknown;
  for (const name of names) {
    try {
      return library(name);
    } catch (cause) {
      why ??= cause;
    }
  }
  const first = why as { cause?: Error };
  return raise('SYS_PCAP_MISSING', { why: first.cause?.message }, why);
}

type OfHandle = (pcap: number) => number;
type Set = (pcap: number, value: number) => number;

function load() {
  const from = findLibrary();
  return {
    create: bind<(device: string, error: number) => number>(
      from,
      'int64_t pcap_create(const char *device, int64_t error)',
    ),
    setSnapshot: bind<Set>(from, 'int pcap_set_snaplen(int64_t pcap, int value)'),
    setPromiscuous: bind<Set>(from, 'int pcap_set_promisc(int64_t pcap, int value)'),
    setImmediate: bind<Set>(from, 'int pcap_set_immediate_mode(int64_t pcap, int value)'),
    setBuffer: bind<Set>(from, 'int pcap_set_buffer_size(int64_t pcap, int value)'),
    activate: bind<OfHandle>(from, 'int pcap_activate(int64_t pcap)'),
    setNonBlocking: bind<(pcap: number, on: number, error: number) => number>(
      from,
      'int pcap_setnonblock(int64_t pcap, int on, int64_t error)',
    ),
    setDirection: bind<Set>(from, 'int pcap_setdirection(int64_t pcap, int value)'),
    setFilter: bind<(pcap: number, program: number) => number>(
      from,
      'int pcap_setfilter(int64_t pcap, int64_t program)',
    ),
    descriptor: bind<OfHandle>(from, 'int pcap_get_selectable_fd(int64_t pcap)'),
    next: bind<(pcap: number, header: number, data: number) => number>(
      from,
      'int pcap_next_ex(int64_t pcap, int64_t header, int64_t data)',
    ),
    inject: bind<(pcap: number, address: number, length: number) => number>(
      from,
      'int pcap_inject(int64_t pcap, int64_t address, int64_t length)',
    ),
    error: bind<(pcap: number) => string>(from, 'const char *pcap_geterr(int64_t pcap)'),
    close: bind<(pcap: number) => void>(from, 'void pcap_close(int64_t pcap)'),
  };
}

let loaded: ReturnType<typeof load> | undefined;

function libpcap(): ReturnType<typeof load> {
  loaded ??= load();
  return loaded;
}

/** Raises an error if there is no libpcap here. */
export function requirePcap(): void {
  libpcap();
}

/** Frames from elsewhere that the filter lets through. */
export function openPcap(name: string, filter: FilterProgram): PcapHandle {
  const lib = libpcap();
  setUp(name);
  const said = allocate(ERROR_ROOM);
  const pcap = lib.create(name, said.address);
  const refuse = (why: string): never => raise('SYS_PCAP', { name, why });
  if (pcap === 0) refuse(textOf(said.bytes));
  try {
    lib.setSnapshot(pcap, MAX_FRAME);
    // Also what is for groups that the host is not in; others' frames do not pass the filter.
    lib.setPromiscuous(pcap, 1);
    lib.setImmediate(pcap, 1);
    lib.setBuffer(pcap, BUFFER);
    if (lib.activate(pcap) < 0) refuse(lib.error(pcap));
    if (lib.setNonBlocking(pcap, 1, said.address) < 0) refuse(textOf(said.bytes));
    const done = lib.setDirection(pcap, INCOMING) === 0 && lib.setFilter(pcap, programMemory(filter).address) === 0;
    if (!done) refuse(lib.error(pcap));
    return { fd: lib.descriptor(pcap), pcap };
  } catch (error) {
    lib.close(pcap);
    throw error;
  }
}

/** libpcap takes no interface that is down. */
function setUp(name: string): void {
  const netlink = new Netlink();
  try {
    netlink.setLink(linkIndex(netlink, name), { up: true });
  } finally {
    netlink.close();
  }
}

export function closePcap({ pcap }: PcapHandle): void {
  libpcap().close(pcap);
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString();
}

/** One thread's use of an open capture: one thread reads; writing is a bare send(2), which all may do. */
export class Pcap {
  /** Where the frame just read is, until the next one is. */
  address = 0;
  readonly #pcap: number;
  /** Addresses of header and frame, and a copy of the header. */
  readonly #found = allocate(2 * POINTER + HEADER);

  constructor(handle: PcapHandle) {
    this.#pcap = handle.pcap;
  }

  /** Looks at the next frame; its octets, or -1 if none waits. */
  read(): number {
    const { view, address } = this.#found;
    const result = libpcap().next(this.#pcap, address, address + POINTER);
    if (result < 0) raise('SYS_PCAP', { name: 'the inner interface', why: libpcap().error(this.#pcap) });
    if (result === 0) return -1;
    this.address = vectorAddress(view, POINTER);
    libc().memcpy(address + 2 * POINTER, vectorAddress(view, 0), HEADER);
    return view.getUint32(2 * POINTER + CAPTURED_AT, true);
  }

  /** Sends a frame; 0, or the errno. */
  write(address: number, length: number): number {
    return libpcap().inject(this.#pcap, address, length) < 0 ? errno() : 0;
  }
}
