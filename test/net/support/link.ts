/** Addresses, devices and helpers that tests of the inner link share. */

import { canonicalAddress, formatAddress, parsePrefix } from '../../../src/lib/ip.ts';
import type { Mac } from '../../../src/lib/mac.ts';
import { internetChecksum } from '../../pipeline/packets.ts';
import fc from '../../support/property.ts';

export const adapterMac = '02:00:00:00:00:fe';
export const cameraMac = '02:00:00:00:00:01';
export const plcMac = '02:00:00:00:00:02';
export const strangerMac = '02:00:00:00:00:66';
export const range4 = parsePrefix('100.80.0.0/16')!;
export const range6 = parsePrefix('fd00:80::/64')!;
export const gateway4 = '100.80.0.1';
export const gateway6 = 'fd00:80::1';
export const camera = { vip4: '100.80.0.5', vip6: 'fd00:80::5' };
export const plc = { vip4: '100.80.0.6', vip6: 'fd00:80::6' };
export const remote = { vip4: '100.80.3.9', vip6: 'fd00:80::9' };
export const devices: ReadonlyMap<Mac, typeof camera> = new Map([
  [cameraMac, camera],
  [plcMac, plc],
]);

export const macArbitrary = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((octets) => Buffer.from([octets[0]! & 0xfe, 1 | octets[1]!, ...octets.subarray(2)]))
  .map((octets) => octets.toString('hex').match(/../g)!.join(':'));
export const address4Arbitrary = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((octets) => formatAddress(octets));
export const address6Arbitrary = fc
  .uint8Array({ minLength: 15, maxLength: 15 })
  .map((octets) => formatAddress(Uint8Array.of(0xfd, ...octets)));

/** What was decoded; a drop reason fails the test. */
export function decoded<T>(result: T): Exclude<T, string> {
  if (typeof result === 'string') throw new Error(`dropped: ${result}`);
  return result as Exclude<T, string>;
}

/** All proper beginnings. */
export function truncations(octets: Uint8Array): Uint8Array[] {
  return Array.from({ length: octets.length }, (_, length) => octets.subarray(0, length));
}

export function octetsOf(address: string): number[] {
  const [left = '', right] = canonicalAddress(address)!.split('::');
  if (!address.includes(':')) return address.split('.').map(Number);
  const groups = (text: string | undefined) => (text ? text.split(':') : []).map((group) => Number.parseInt(group, 16));
  const [head, tail] = [groups(left), groups(right)];
  const all = [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
  return all.flatMap((group) => [group >> 8, group & 255]);
}

/** An IPv6 packet of ICMPv6 octets (checksum zero), by slow code that shares none with the product. */
export function icmp6Packet(source: string, destination: string, icmp: readonly number[], hopLimit = 255): Uint8Array {
  const addresses = [...octetsOf(source), ...octetsOf(destination)];
  const sum = internetChecksum([...addresses, 0, 0, icmp.length >> 8, icmp.length & 255, 0, 0, 0, 58, ...icmp]);
  const body = [...icmp.slice(0, 2), sum >> 8, sum & 255, ...icmp.slice(4)];
  return Uint8Array.from([0x60, 0, 0, 0, body.length >> 8, body.length & 255, 58, hopLimit, ...addresses, ...body]);
}

export function toHex(octets: Uint8Array): string {
  return Buffer.from(octets).toString('hex');
}
