/**
 * Which frames of the inner link the kernel hands over (a classic BPF program, see packet(7) and linux/filter.h): IP to
 * our MAC address, and of what is for groups only what an adapter answers: ARP, EAPOL, DHCP, neighbour discovery.
 * Everything else, as other devices' traffic and multicast, costs nothing in user space.
 */

import { type Mac, parseMac } from '../lib/mac.ts';
import { allocate, type Memory } from './memory.ts';
import { setAddress } from './vectors.ts';

/** Instructions of 8 octets: code 16, jump if true 8, jump if false 8, operand 32, in host order. */
export type FilterProgram = Uint8Array;

const Op = {
  loadHalf: 0x28,
  loadWord: 0x20,
  loadByte: 0x30,
  loadHalfIndexed: 0x48,
  /** X = 4 * (octet & 15): the length of an IPv4 header. */
  loadHeaderLength: 0xb1,
  and: 0x54,
  equal: 0x15,
  atLeast: 0x35,
  greater: 0x25,
  multiply: 0x24,
  shiftRight: 0x74,
  result: 0x06,
  /** What was computed. */
  resultComputed: 0x16,
} as const;

/** Offsets from the frame's begin where loads count from the packet's (SKF_LL_OFF), and what is beside a frame (SKF_AD_OFF). */
const LINK_LAYER = 0xffe0_0000;
const Beside = { packetType: 0xffff_f004 } as const;
/** PACKET_OUTGOING */
const OUTGOING = 4;
/** Knuth's multiplier: the upper bits of the product depend on all of a factor's. */
const SPREAD = 0x9e37_79b1;
const SPREAD_SHIFT = 24;

type Target = 'next' | 'accept' | 'reject' | (string & {});
type Step =
  | { readonly label: string }
  | { readonly op: number; readonly k: number; readonly yes?: Target; readonly no?: Target };

const PROGRAM = 16;
const ALL = 0x40000;
const Ethernet = { destination: 0, source: 6, type: 12, payload: 14 } as const;
const Type = { ip4: 0x0800, arp: 0x0806, tag: 0x8100, serviceTag: 0x88a8, ip6: 0x86dd, eapol: 0x888e } as const;
const Ip4 = { fragment: 20, protocol: 23 } as const;
const Ip6 = { next: 20, transport: 54 } as const;
const UDP = 17;
const ICMP6 = 58;

/** The filter of an adapter whose inner interface has this MAC address. */
export function innerFilter(mac: Mac): FilterProgram {
  const own = new DataView(parseMac(mac).buffer);
  return assemble([
    { op: Op.loadHalf, k: Ethernet.type },
    ...[Type.arp, Type.eapol, Type.tag, Type.serviceTag].map((k) => ({ op: Op.equal, k, yes: 'accept' })),
    { op: Op.equal, k: Type.ip4, yes: 'ip' },
    { op: Op.equal, k: Type.ip6, yes: 'ip', no: 'reject' },
    { label: 'ip' },
    { op: Op.loadWord, k: Ethernet.destination + 2 },
    { op: Op.equal, k: own.getUint32(2), no: 'group' },
    { op: Op.loadHalf, k: Ethernet.destination },
    { op: Op.equal, k: own.getUint16(0), yes: 'accept' },
    { label: 'group' },
    { op: Op.loadByte, k: Ethernet.destination },
    { op: Op.and, k: 1 },
    { op: Op.equal, k: 0, yes: 'reject' },
    { op: Op.loadHalf, k: Ethernet.type },
    { op: Op.equal, k: Type.ip6, yes: 'ip6' },
    { op: Op.loadByte, k: Ip4.protocol },
    { op: Op.equal, k: UDP, no: 'reject' },
    { op: Op.loadHalf, k: Ip4.fragment },
    { op: Op.and, k: 0x1fff },
    { op: Op.equal, k: 0, no: 'reject' },
    { op: Op.loadHeaderLength, k: Ethernet.payload },
    { op: Op.loadHalfIndexed, k: Ethernet.payload + 2 },
    { op: Op.equal, k: 67, yes: 'accept' },
    { op: Op.equal, k: 68, yes: 'accept', no: 'reject' },
    { label: 'ip6' },
    { op: Op.loadByte, k: Ip6.next },
    { op: Op.equal, k: ICMP6, no: 'udp6' },
    { op: Op.loadByte, k: Ip6.transport },
    // Router solicitation to redirect.
    { op: Op.atLeast, k: 133, no: 'reject' },
    { op: Op.greater, k: 137, yes: 'reject', no: 'accept' },
    { label: 'udp6' },
    { op: Op.equal, k: UDP, no: 'reject' },
    { op: Op.loadHalf, k: Ip6.transport + 2 },
    { op: Op.equal, k: 547, yes: 'accept' },
    { op: Op.equal, k: 546, yes: 'accept', no: 'reject' },
    { label: 'reject' },
    { op: Op.result, k: 0 },
    { label: 'accept' },
    { op: Op.result, k: ALL },
  ]);
}

/** The filter for a port of a bridge: a bridge keeps EAPOL from its own interface (IEEE 802.1D section 7.12.6). */
export function eapolFilter(): FilterProgram {
  return assemble([
    { op: Op.loadHalf, k: Ethernet.type },
    { op: Op.equal, k: Type.eapol, yes: 'accept', no: 'reject' },
    { label: 'reject' },
    { op: Op.result, k: 0 },
    { label: 'accept' },
    { op: Op.result, k: ALL },
  ]);
}

/** The same filter, which takes nothing that is sent here. Only the kernel knows, so this is for no other's hands. */
export function incoming(filter: FilterProgram): FilterProgram {
  const check = assemble([
    { op: Op.loadByte, k: Beside.packetType },
    { op: Op.equal, k: OUTGOING, yes: 'reject', no: 'rest' },
    { label: 'reject' },
    { op: Op.result, k: 0 },
    { label: 'rest' },
  ]);
  return Uint8Array.from([...check, ...filter]);
}

export function rejectAll(): FilterProgram {
  return assemble([{ op: Op.result, k: 0 }]);
}

/** The number of frames from a MAC address that ends in these four octets, unless `bySource` is told otherwise. */
export function numberOfSource(word: number): number {
  return Math.imul(word, SPREAD) >>> SPREAD_SHIFT;
}

/** A number for each frame by the end of the MAC address it is from; `others` are not to have their usual one. */
export function bySource(others: readonly (readonly [word: number, number: number])[] = []): FilterProgram {
  return assemble([
    { op: Op.loadWord, k: LINK_LAYER + Ethernet.source + 2 },
    ...others.flatMap(([word, number], i) => [
      { op: Op.equal, k: word, no: `after ${i}` },
      { op: Op.result, k: number },
      { label: `after ${i}` },
    ]),
    { op: Op.multiply, k: SPREAD },
    { op: Op.shiftRight, k: SPREAD_SHIFT },
    { op: Op.resultComputed, k: 0 },
  ]);
}

/** sock_fprog { length 16, pad, instructions 64 } with the instructions behind it; libpcap's bpf_program is the same to us. */
export function programMemory(filter: FilterProgram): Memory {
  const memory = allocate(PROGRAM + filter.length);
  memory.bytes.set(filter, PROGRAM);
  memory.view.setUint16(0, filter.length / 8, true);
  setAddress(memory.view, 8, memory.address + PROGRAM);
  return { ...memory, bytes: memory.bytes.subarray(0, PROGRAM) };
}

function assemble(steps: readonly Step[]): FilterProgram {
  const places = new Map<string, number>();
  const instructions: Extract<Step, { op: number }>[] = [];
  for (const step of steps) {
    if ('label' in step) places.set(step.label, instructions.length);
    else instructions.push(step);
  }
  const program = new DataView(new ArrayBuffer(instructions.length * 8));
  instructions.forEach(({ op, k, yes = 'next', no = 'next' }, i) => {
    const jump = (target: Target): number => (target === 'next' ? 0 : places.get(target)! - i - 1);
    program.setUint16(8 * i, op, true);
    program.setUint8(8 * i + 2, jump(yes));
    program.setUint8(8 * i + 3, jump(no));
    program.setUint32(8 * i + 4, k, true);
  });
  return new Uint8Array(program.buffer);
}
