/** Attribute-value pairs inside an EAP-TTLS tunnel (RFC 5281 section 10), for PAP (section 11.2.5). */

import { Reader, Writer } from '../lib/bytes.ts';

export type Avp = {
  readonly code: number;
  /** Null for the attributes of RADIUS itself. */
  readonly vendor: number | null;
  readonly mandatory: boolean;
  readonly value: Uint8Array;
};

const Flag = { vendor: 0x80, mandatory: 0x40, reserved: 0x3f } as const;
const UNIT = 4;
/** A name and a password take two; anything near this is no login. */
const MAX_AVPS = 16;

export const avpCode = { userName: 1, userPassword: 2 } as const;

/** Null for anything but a list of whole pairs. */
export function decodeAvps(octets: Uint8Array): Avp[] | null {
  const from = new Reader(octets);
  const avps: Avp[] = [];
  while (from.left > 0) {
    const code = from.u32();
    const flagsAndLength = from.u32();
    const flags = flagsAndLength >>> 24;
    const length = flagsAndLength & 0xff_ffff;
    const vendor = (flags & Flag.vendor) === 0 ? null : from.u32();
    const value = from.take(length - (vendor === null ? 8 : 12));
    // The last one's padding may be missing.
    from.take(Math.min(from.left, (UNIT - (length % UNIT)) % UNIT));
    if (from.failed || (flags & Flag.reserved) !== 0 || avps.length === MAX_AVPS) return null;
    avps.push({ code, vendor, mandatory: (flags & Flag.mandatory) !== 0, value });
  }
  return avps;
}

export function encodeAvps(avps: readonly Avp[]): Uint8Array {
  const into = new Writer();
  for (const { code, vendor, mandatory, value } of avps) {
    const length = (vendor === null ? 8 : 12) + value.length;
    into.u32(code);
    into.u8((vendor === null ? 0 : Flag.vendor) | (mandatory ? Flag.mandatory : 0));
    into.u8(length >> 16);
    into.u16(length & 0xffff);
    if (vendor !== null) into.u32(vendor);
    into.octets(value);
    into.zeros((UNIT - (length % UNIT)) % UNIT);
  }
  return into.written;
}

export type PapCredentials = { readonly userName: Uint8Array; readonly password: Uint8Array };

/** Name and password; null if there is another inner method, or something that must be understood and isn't. */
export function papCredentials(avps: readonly Avp[]): PapCredentials | null {
  const known = (avp: Avp): boolean =>
    avp.vendor === null && (avp.code === avpCode.userName || avp.code === avpCode.userPassword);
  if (avps.some((avp) => avp.mandatory && !known(avp))) return null;
  const values = (code: number) => avps.filter((avp) => known(avp) && avp.code === code).map(({ value }) => value);
  const [userName, ...moreNames] = values(avpCode.userName);
  const [padded, ...morePasswords] = values(avpCode.userPassword);
  if (userName === undefined || padded === undefined || moreNames.length + morePasswords.length > 0) return null;
  // Zeros hide how long the password is.
  const password = padded.subarray(0, padded.findLastIndex((octet) => octet !== 0) + 1);
  return userName.length === 0 || password.length === 0 ? null : { userName, password };
}
