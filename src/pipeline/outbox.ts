/**
 * Events on their way from an I/O thread to the main thread. How many may be in flight is bounded, by a counter in shared
 * memory that the main thread lowers as it handles them: a flood is dropped where it arrives and grows no queue.
 */

import type { PathEvent } from '../lib/path.ts';

/** Events of these kinds carry what strangers send, and have a bound each; the others come from keys we hold. */
const bounded = ['datagram', 'unrouted'] as const;
export type BoundedEvent = (typeof bounded)[number];

const LIMIT = 512;

export function inFlightMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(bounded.length * Int32Array.BYTES_PER_ELEMENT);
}

export class Outbox {
  readonly #inFlight: Int32Array;
  readonly #post: (events: readonly PathEvent[]) => void;
  #events: PathEvent[] = [];

  constructor(memory: SharedArrayBuffer, post: (events: readonly PathEvent[]) => void) {
    this.#inFlight = new Int32Array(memory);
    this.#post = post;
  }

  hasRoom(kind: BoundedEvent): boolean {
    return Atomics.load(this.#inFlight, bounded.indexOf(kind)) < LIMIT;
  }

  add(event: PathEvent): void {
    const kind = bounded.indexOf(event.on as BoundedEvent);
    if (kind >= 0) Atomics.add(this.#inFlight, kind, 1);
    this.#events.push(event);
  }

  flush(): void {
    if (this.#events.length === 0) return;
    this.#post(this.#events);
    this.#events = [];
  }
}

/** The main thread's half: to be called when an event was handled. */
export class Inbox {
  readonly #inFlight: Int32Array;

  constructor(memory: SharedArrayBuffer) {
    this.#inFlight = new Int32Array(memory);
  }

  handled(event: PathEvent): void {
    const kind = bounded.indexOf(event.on as BoundedEvent);
    if (kind >= 0) Atomics.sub(this.#inFlight, kind, 1);
  }
}
