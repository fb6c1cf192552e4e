/** MAC addresses as text: six lower-case hex pairs joined by colons. */
export type Mac = string;

/** The canonical form of `02-00-00-00-00-01`, `0200.0000.0001` and the like; null if it is none, or a group address. */
export function canonicalMac(text: string): Mac | null {
  if (!/^([\da-f]{2}([:-]?)[\da-f]{2}(\2[\da-f]{2}){4}|[\da-f]{4}(\.[\da-f]{4}){2})$/i.test(text)) return null;
  const digits = text.toLowerCase().replaceAll(/[^\da-f]/g, '');
  // The lowest bit of the first octet marks group addresses (IEEE 802).
  if (Number.parseInt(digits.slice(0, 2), 16) & 1) return null;
  return digits.match(/../g)!.join(':');
}
