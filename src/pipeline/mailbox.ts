/**
 * Commands from the main thread to an I/O thread that never returns to its event loop: messages on a port, a flag in
 * shared memory that says whether there are any, and an eventfd that ends the thread's wait.
 */

import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { EventFd } from '../sys/poll.ts';

/** Messages taken in one go, so that ten thousand of them don't stall traffic. */
const AT_ONCE = 64;

/** The main thread's end. */
export class MailboxSender<T> {
  readonly #post: (message: T) => void;
  readonly #pending: Int32Array;
  readonly #wake: EventFd;

  constructor(post: (message: T) => void, pending: SharedArrayBuffer, wake: EventFd) {
    this.#post = post;
    this.#pending = new Int32Array(pending);
    this.#wake = wake;
  }

  send(message: T): void {
    this.#post(message);
    if (Atomics.exchange(this.#pending, 0, 1) === 0) this.#wake.signal();
  }
}

/** The I/O thread's end. */
export class Mailbox<T> {
  readonly #port: MessagePort;
  readonly #pending: Int32Array;
  readonly #wake: EventFd;

  constructor(port: MessagePort, pending: SharedArrayBuffer, wake: EventFd) {
    this.#port = port;
    this.#pending = new Int32Array(pending);
    this.#wake = wake;
  }

  get waiting(): boolean {
    return Atomics.load(this.#pending, 0) !== 0;
  }

  /** Handles some of the messages that wait; `waiting` stays true if there may be more. */
  take(handle: (message: T) => void): void {
    this.#wake.drain();
    // Lowered before looking: a message that comes now raises it again.
    Atomics.store(this.#pending, 0, 0);
    for (let i = 0; i < AT_ONCE; i++) {
      const received = receiveMessageOnPort(this.#port);
      if (received === undefined) return;
      handle(received.message as T);
    }
    Atomics.store(this.#pending, 0, 1);
  }
}
