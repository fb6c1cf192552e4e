/** MAC addresses as text: six lower-case hex pairs joined by colons. */
export type Mac = string;

export const BROADCAST_MAC: Mac = 'ff:ff:ff:ff:ff:ff';
export const MAC_LENGTH = 6;

/** The text of the six octets at `at`. */
export function formatMac(octets: Uint8Array, at = 0): Mac {
  let text = '';
  for (let i = at; i < at + MAC_LENGTH; i++) text += `${i > at ? ':' : ''}${octets[i]!.toString(16).padStart(2, '0')}`;
  return text;
}

/** The six octets of a canonical MAC address. */
export function parseMac(mac: Mac): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(mac.replaceAll(':', ''));
}

/** Whether an address means several devices: the lowest bit of its first octet (IEEE 802). */
export function isGroupMac(mac: Mac): boolean {
  return (Number.parseInt(mac.slice(0, 2), 16) & 1) !== 0;
}

/** The canonical form of `02-00-00-00-00-01`, `0200.0000.0001` and the like; null if it is none, or a group address. */
export function canonicalMac(text: string): Mac | null {
  if (!/^([\da-f]{2}([:-]?)[\da-f]{2}(\2[\da-f]{2}){4}|[\da-f]{4}(\.[\da-f]{4}){2})$/i.test(text)) return null;
  const digits = text.toLowerCase().replaceAll(/[^\da-f]/g, '');
  const mac = digits.match(/../g)!.join(':');
  return isGroupMac(mac) ? null : mac;
}
