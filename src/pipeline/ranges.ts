/** Address ranges and sets of addresses, asked by where an address stands in a packet. */

import { type Address, type Prefix, parseAddress } from '../lib/ip.ts';
import { OctetMap } from './octet-map.ts';

type Range = { readonly words: Int32Array; readonly masks: Int32Array };

/** A few ranges of both families. */
export class Ranges {
  readonly #ranges4: readonly Range[];
  readonly #ranges6: readonly Range[];

  constructor(prefixes: readonly Prefix[]) {
    const ranges = prefixes.map(toRange);
    this.#ranges4 = ranges.filter((range) => range.words.length === 1);
    this.#ranges6 = ranges.filter((range) => range.words.length === 4);
  }

  has4(view: DataView, at: number): boolean {
    return isIn(this.#ranges4, view, at);
  }

  has6(view: DataView, at: number): boolean {
    return isIn(this.#ranges6, view, at);
  }
}

function toRange(prefix: Prefix): Range {
  const octets = parseAddress(prefix.address)!;
  const view = new DataView(octets.buffer, octets.byteOffset);
  const words = new Int32Array(octets.length / 4);
  const masks = new Int32Array(words.length);
  for (let i = 0; i < words.length; i++) {
    const bits = Math.min(32, Math.max(0, prefix.length - 32 * i));
    masks[i] = bits === 0 ? 0 : -1 << (32 - bits);
    words[i] = view.getInt32(4 * i) & masks[i]!;
  }
  return { words, masks };
}

function isIn(ranges: readonly Range[], view: DataView, at: number): boolean {
  for (let r = 0; r < ranges.length; r++) {
    const { words, masks } = ranges[r]!;
    let i = 0;
    while (i < words.length && (view.getInt32(at + 4 * i) & masks[i]!) === words[i]) i++;
    if (i === words.length) return true;
  }
  return false;
}

/** A set of single addresses of both families. */
export class AddressSet {
  readonly #set4 = new OctetMap(4);
  readonly #set6 = new OctetMap(16);

  constructor(addresses: readonly Address[] = []) {
    for (const address of addresses) {
      const octets = parseAddress(address)!;
      (octets.length === 4 ? this.#set4 : this.#set6).set(octets, 0);
    }
  }

  has4(view: DataView, at: number): boolean {
    return this.#set4.find(view, at) === 0;
  }

  has6(view: DataView, at: number): boolean {
    return this.#set6.find(view, at) === 0;
  }
}
