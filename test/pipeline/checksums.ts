import { internetChecksum } from './packets.ts';

/** Whether an IPv4 header's checksum is right; IPv6 has none. */
export function isSound(packet: Uint8Array): boolean {
  return packet[0]! >> 4 === 6 || internetChecksum([...packet.subarray(0, 20)]) === 0;
}
