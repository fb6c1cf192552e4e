/** Which queue of the inner interface a device's frames wait in: one of its own, as long as there are enough. */

import { type Mac, parseMac } from '../lib/mac.ts';
import type { FrameHandle } from './frame-port.ts';
import { chooseSocket } from './packet.ts';
import { bySource, numberOfSource } from './packet-filter.ts';

/** The last four octets of a MAC address, by which the kernel tells devices apart. */
function wordOf(mac: Mac): number {
  return new DataView(parseMac(mac).buffer).getUint32(2);
}

/**
 * The queue of each device: where it was; of a new one, that of its number, unless somebody is there and another is free. No
 * device that is known moves: its frames would overtake those that wait.
 */
export function placesOf(
  macs: readonly Mac[],
  queues: number,
  before: ReadonlyMap<Mac, number> = new Map(),
): Map<Mac, number> {
  const places = new Map<Mac, number>();
  for (const mac of macs) if (before.has(mac)) places.set(mac, before.get(mac)!);
  const taken = new Set(places.values());
  for (const mac of macs) {
    if (places.has(mac)) continue;
    const usual = numberOfSource(wordOf(mac)) % queues;
    let queue = usual;
    for (let i = 0; i < queues && taken.has(queue); i++) queue = (usual + i) % queues;
    if (taken.has(queue)) queue = usual;
    taken.add(queue);
    places.set(mac, queue);
  }
  return places;
}

export class FrameQueues {
  readonly #fds: readonly number[];
  #places: ReadonlyMap<Mac, number> = new Map();
  #moved = '';

  constructor({ sources }: FrameHandle) {
    this.#fds = sources.map(({ fd }) => fd);
  }

  /** The devices that may send packets; replaces the former list. */
  set(macs: readonly Mac[]): void {
    const queues = this.#fds.length;
    if (queues === 1) return;
    this.#places = placesOf(macs, queues, this.#places);
    const moved = [...this.#places]
      .map(([mac, queue]) => [wordOf(mac), queue] as const)
      .filter(([word, queue]) => numberOfSource(word) % queues !== queue);
    const text = String(moved);
    // The kernel waits until nobody uses the former program any more.
    if (text !== this.#moved) chooseSocket(this.#fds[0]!, bySource(moved));
    this.#moved = text;
  }
}
