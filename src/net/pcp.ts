/** Port Control Protocol, MAP only (RFC 6887 sections 7 and 11): asks a router for a port of its outer address. */

import { Reader, Writer } from '../lib/bytes.ts';
import { type Address, type Endpoint, familyOf, formatAddress, parseAddress } from '../lib/ip.ts';

/*
 * Request and response:
 *
 *   0                   1                   2                   3
 *  |  Version = 2  |R|  Opcode     |   Reserved    | Result Code   |  0
 *  |                  Lifetime, seconds                            |  4
 *  |  client's address 128   /   Epoch Time 32, Reserved 96        |  8
 *  |                    Mapping Nonce 96                           | 24
 *  |   Protocol    |                 Reserved 24                   | 36
 *  |        Internal Port          |   External Port, or wish      | 40
 *  |            External Address 128, or wish                      | 44
 */

/** PCP and NAT-PMP servers. */
export const PORT_CONTROL_PORT = 5351;
export const PCP_NONCE = 12;

const VERSION = 2;
const MAP = 1;
const RESPONSE = 0x80;
const UDP = 17;
const LENGTH = 60;
const MAX_LENGTH = 1100;

export type PcpRequest = {
  readonly client: Address;
  readonly nonce: Uint8Array;
  readonly internalPort: number;
  /** What had best be given: as before, or the same port outside as inside. */
  readonly wish: { readonly address: Address | null; readonly port: number };
  /** Seconds; 0 = give it back. */
  readonly lifetime: number;
};

export type PcpResponse = {
  readonly result: number;
  readonly nonce: Uint8Array;
  readonly internalPort: number;
  readonly external: Endpoint;
  /** Seconds; of an error: not to be asked again before. */
  readonly lifetime: number;
  /** Seconds since the server lost its state. */
  readonly epoch: number;
};

export const PcpResult = { success: 0, unsupportedVersion: 1 } as const;

export function encodePcpRequest({ client, nonce, internalPort, wish, lifetime }: PcpRequest): Uint8Array {
  const to = new Writer(new Uint8Array(LENGTH));
  to.u8(VERSION);
  to.u8(MAP);
  to.zeros(2);
  to.u32(lifetime);
  to.octets(as16(client));
  to.octets(nonce);
  to.u8(UDP);
  to.zeros(3);
  to.u16(internalPort);
  to.u16(wish.port);
  // An address nobody wishes for is all zero in its family (section 11.1).
  to.octets(as16(wish.address ?? (familyOf(client) === 4 ? '0.0.0.0' : '::')));
  return to.written;
}

/** Null if it is no response to a MAP request for UDP. */
export function decodePcpResponse(octets: Uint8Array): PcpResponse | null {
  if (octets.length < LENGTH || octets.length > MAX_LENGTH || octets.length % 4 !== 0) return null;
  const from = new Reader(octets);
  if (from.u8() !== VERSION || from.u8() !== (RESPONSE | MAP)) return null;
  from.take(1);
  const result = from.u8();
  const lifetime = from.u32();
  const epoch = from.u32();
  from.take(12);
  const nonce = from.take(PCP_NONCE).slice();
  const protocol = from.u8();
  from.take(3);
  const internalPort = from.u16();
  const port = from.u16();
  const address = formatAddress(from.take(16));
  return protocol === UDP ? { result, nonce, internalPort, external: { address, port }, lifetime, epoch } : null;
}

/** IPv4 as IPv4-mapped (section 5). */
function as16(address: Address): Uint8Array {
  const octets = parseAddress(address)!;
  if (octets.length === 16) return octets;
  const mapped = new Uint8Array(16);
  mapped.set([0xff, 0xff], 10);
  mapped.set(octets, 12);
  return mapped;
}

/**
 * Whether a server lost its state between two answers (section 8.5): its clock must have gone on as ours did, but for a
 * sixteenth and two seconds. NAT-PMP has the same field and rule (RFC 6886 section 3.6).
 */
export function lostState(
  before: { readonly epoch: number; readonly ms: number },
  after: { readonly epoch: number; readonly ms: number },
): boolean {
  if (after.epoch + 1 < before.epoch) return true;
  const ours = (after.ms - before.ms) / 1000;
  const theirs = after.epoch - before.epoch;
  return ours + 2 < theirs - theirs / 16 || theirs + 2 < ours - ours / 16;
}
