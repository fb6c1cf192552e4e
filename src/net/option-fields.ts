/** Values of DHCP options: each field reads and writes the octets of one option, and tables of them make typed options. */

import { Reader, Writer } from '../lib/bytes.ts';
import { type Address, type Family, familyOf, formatAddress, parseAddress } from '../lib/ip.ts';
import { decodeNames, encodeNames } from './domain-names.ts';

/** `read` gives null for octets that are no such value. */
export interface Field<T> {
  read(octets: Uint8Array): T | null;
  write(value: T): Uint8Array;
}

function numbers(width: 1 | 2 | 4): Field<readonly number[]> {
  const method = width === 1 ? 'u8' : width === 2 ? 'u16' : 'u32';
  return {
    read: (octets) => {
      if (octets.length % width !== 0) return null;
      const from = new Reader(octets);
      return Array.from({ length: octets.length / width }, () => from[method]());
    },
    write: (values) => {
      const into = new Writer();
      for (const value of values) into[method](value);
      return into.written;
    },
  };
}

function addresses(family: Family): Field<readonly Address[]> {
  const width = family === 4 ? 4 : 16;
  return {
    read: (octets) => {
      if (octets.length === 0 || octets.length % width !== 0) return null;
      const values = Array.from({ length: octets.length / width }, (_, i) => formatAddress(octets, i * width, width));
      // An IPv4-mapped address is none of this family.
      return values.every((value) => familyOf(value) === family) ? values : null;
    },
    write: (values) => {
      const into = new Writer();
      for (const value of values) into.octets(parseAddress(value)!);
      return into.written;
    },
  };
}

/** The only one of a list. */
function single<T>(list: Field<readonly T[]>): Field<T> {
  return {
    read: (octets) => {
      const values = list.read(octets);
      return values?.length === 1 ? values[0]! : null;
    },
    write: (value) => list.write([value]),
  };
}

export const field = {
  u8: single(numbers(1)),
  u16: single(numbers(2)),
  u32: single(numbers(4)),
  u8s: numbers(1),
  u16s: numbers(2),
  address4: single(addresses(4)),
  addresses4: addresses(4),
  address6: single(addresses(6)),
  addresses6: addresses(6),
  /** Printable ASCII. */
  text: {
    read: (octets) => {
      const text = Buffer.from(octets).toString('latin1');
      return /^[\x20-\x7e]+$/.test(text) ? text : null;
    },
    write: (value) => Buffer.from(value, 'latin1'),
  } satisfies Field<string>,
  names: { read: decodeNames, write: encodeNames } satisfies Field<readonly string[]>,
  /** An option that says all by being there. */
  flag: {
    read: (octets) => (octets.length === 0 ? true : null),
    write: () => new Uint8Array(0),
  } satisfies Field<true>,
  /** Octets that mean something to their sender only, 1 to 255. */
  opaque: {
    read: (octets) => (octets.length > 0 && octets.length <= 255 ? Uint8Array.from(octets) : null),
    write: (value) => value,
  } satisfies Field<Uint8Array>,
};

export type OptionTable = Readonly<Record<string, readonly [code: number, field: Field<unknown>]>>;
export type OptionsOf<T extends OptionTable> = {
  readonly [K in keyof T]?: T[K][1] extends Field<infer V> ? V : never;
};

/** The known options among the raw ones; null if one is malformed. */
export function readOptions<T extends OptionTable>(
  table: T,
  raw: ReadonlyMap<number, Uint8Array>,
): OptionsOf<T> | null {
  const options: Record<string, unknown> = {};
  for (const [name, [code, { read }]] of Object.entries(table)) {
    const octets = raw.get(code);
    if (octets === undefined) continue;
    const value = read(octets);
    if (value === null) return null;
    options[name] = value;
  }
  return options as OptionsOf<T>;
}

/** Codes and octets in the order of the options. */
export function writeOptions<T extends OptionTable>(table: T, options: OptionsOf<T>): [number, Uint8Array][] {
  return Object.entries(options).map(([name, value]) => {
    const [code, { write }] = table[name]!;
    return [code, write(value)];
  });
}
