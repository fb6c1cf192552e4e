/** NAT Port Mapping Protocol (RFC 6886 section 3): what routers had before PCP, on the same port. */

import { Reader, Writer } from '../lib/bytes.ts';
import { type Address, formatAddress } from '../lib/ip.ts';

/*
 *  |  Version = 0  |R| Op: 0 address, 1 UDP |       Result Code       |  0
 *  |                 Epoch, seconds (responses)                      |  4
 *  |  outer address, or  Internal Port 16, External Port 16          |  8
 *  |                 Lifetime, seconds (mappings)                    | 12
 */

const VERSION = 0;
const ADDRESS = 0;
const MAP_UDP = 1;
const RESPONSE = 0x80;

export type NatPmpResponse =
  | { readonly op: 'address'; readonly result: number; readonly epoch: number; readonly address: Address }
  | {
      readonly op: 'map';
      readonly result: number;
      readonly epoch: number;
      readonly internalPort: number;
      readonly externalPort: number;
      readonly lifetime: number;
    }
  /** Some error, without what was asked for. */
  | { readonly op: 'error'; readonly result: number };

export function encodeAddressRequest(): Uint8Array {
  return Uint8Array.of(VERSION, ADDRESS);
}

/** `lifetime` 0 gives the mapping back; then `wish` has to be 0 (section 3.4). */
export function encodeMapRequest(internalPort: number, wish: number, lifetime: number): Uint8Array {
  const to = new Writer(new Uint8Array(12));
  to.u8(VERSION);
  to.u8(MAP_UDP);
  to.zeros(2);
  to.u16(internalPort);
  to.u16(wish);
  to.u32(lifetime);
  return to.written;
}

export function decodeNatPmpResponse(octets: Uint8Array): NatPmpResponse | null {
  const from = new Reader(octets);
  const version = from.u8();
  const op = from.u8();
  const result = from.u16();
  if (from.failed || version !== VERSION || (op & RESPONSE) === 0) return null;
  const epoch = from.u32();
  if (op === (RESPONSE | ADDRESS) && from.left === 4) {
    return { op: 'address', result, epoch, address: formatAddress(from.take(4)) };
  }
  if (op === (RESPONSE | MAP_UDP) && from.left === 8) {
    return { op: 'map', result, epoch, internalPort: from.u16(), externalPort: from.u16(), lifetime: from.u32() };
  }
  return result === 0 ? null : { op: 'error', result };
}
