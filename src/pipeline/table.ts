/** Paths of one I/O thread by PathID, and routes by pair of virtual addresses. */

import { type Address, parseAddress } from '../lib/ip.ts';
import type { VirtualAddresses } from '../lib/path.ts';
import { OctetMap } from './octet-map.ts';
import { Slots } from './slots.ts';

const PATH_ID = 16;
const PAIR4 = 8;
const PAIR6 = 32;

export class PathTable<T> {
  readonly #ids = new OctetMap(PATH_ID);
  readonly #entries = new Slots<T>();

  get size(): number {
    return this.#ids.size;
  }

  /** The entry of the PathID that stands at `at`. */
  find(view: DataView, at: number): T | undefined {
    const index = this.#ids.find(view, at);
    return index < 0 ? undefined : this.#entries.get(index);
  }

  get(pathId: string): T | undefined {
    return this.find(new DataView(Uint8Array.fromHex(pathId).buffer), 0);
  }

  set(pathId: string, entry: T): void {
    this.remove(pathId);
    this.#ids.set(Uint8Array.fromHex(pathId), this.#entries.add(entry));
  }

  remove(pathId: string): void {
    const id = Uint8Array.fromHex(pathId);
    const index = this.#ids.find(new DataView(id.buffer), 0);
    if (index < 0) return;
    this.#ids.delete(id);
    this.#entries.remove(index);
  }
}

/** Source and destination stand side by side in both IP headers, so that a pair is looked up as one key. */
export class RouteTable<T> {
  readonly #pairs4 = new OctetMap(PAIR4);
  readonly #pairs6 = new OctetMap(PAIR6);
  readonly #targets = new Slots<T>();

  find4(view: DataView, at: number): T | undefined {
    const index = this.#pairs4.find(view, at);
    return index < 0 ? undefined : this.#targets.get(index);
  }

  find6(view: DataView, at: number): T | undefined {
    const index = this.#pairs6.find(view, at);
    return index < 0 ? undefined : this.#targets.get(index);
  }

  /** Sets the route of both families; null removes it. */
  set(local: VirtualAddresses, peer: VirtualAddresses, target: T | null): void {
    this.#set(this.#pairs4, pairOf(local.vip4, peer.vip4), target);
    this.#set(this.#pairs6, pairOf(local.vip6, peer.vip6), target);
  }

  /** Removes the routes of this pair that lead to `target`. */
  removeIf(local: VirtualAddresses, peer: VirtualAddresses, target: T): void {
    const pair4 = pairOf(local.vip4, peer.vip4);
    const pair6 = pairOf(local.vip6, peer.vip6);
    if (pair4 !== null && this.find4(new DataView(pair4.buffer), 0) === target) this.#set(this.#pairs4, pair4, null);
    if (pair6 !== null && this.find6(new DataView(pair6.buffer), 0) === target) this.#set(this.#pairs6, pair6, null);
  }

  #set(pairs: OctetMap, pair: Uint8Array<ArrayBuffer> | null, target: T | null): void {
    if (pair === null) return;
    const index = pairs.find(new DataView(pair.buffer), 0);
    if (index >= 0) {
      pairs.delete(pair);
      this.#targets.remove(index);
    }
    if (target !== null) pairs.set(pair, this.#targets.add(target));
  }
}

/** Two addresses of one family side by side, as source and destination stand in a header; null unless there are both. */
export function pairOf(source: Address | null, destination: Address | null): Uint8Array<ArrayBuffer> | null {
  const from = source === null ? null : parseAddress(source);
  const to = destination === null ? null : parseAddress(destination);
  if (from === null || to === null) return null;
  const pair = new Uint8Array(from.length + to.length);
  pair.set(from);
  pair.set(to, from.length);
  return pair;
}
