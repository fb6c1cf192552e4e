/** Waiting for several descriptors, and the eventfd by which another thread ends the wait. */

import { check, libc } from './libc.ts';
import { allocate, type Memory } from './memory.ts';

const POLLIN = 1;
const POLLOUT = 4;
const POLLFD = 8;
const EFD_NONBLOCK_CLOEXEC = 0o2004000;

/** What a loop waits on. */
export interface Waiter {
  /** Blocks until one of the descriptors can be read, at most `timeoutMs` (-1 = for ever). */
  wait(timeoutMs: number): void;
  /** Whether descriptor number `index` can be read (or has an error to tell), as of the last wait. */
  ready(index: number): boolean;
}

export class Poller implements Waiter {
  readonly #fds: Memory;
  readonly #count: number;

  constructor(fds: readonly number[]) {
    this.#count = fds.length;
    this.#fds = allocate(fds.length * POLLFD);
    fds.forEach((fd, i) => {
      this.#fds.view.setInt32(i * POLLFD, fd, true);
      this.#fds.view.setInt16(i * POLLFD + 4, POLLIN, true);
    });
  }

  wait(timeoutMs: number): void {
    // A failure (EINTR) leaves the former results in place: whoever reads then finds nothing, and waits again.
    libc().poll(this.#fds.address, this.#count, timeoutMs);
  }

  ready(index: number): boolean {
    return this.#fds.view.getInt16(index * POLLFD + 6, true) !== 0;
  }
}

let writable: Memory | undefined;

/** Waits until a socket takes data again. */
export function waitWritable(fd: number, timeoutMs: number): void {
  writable ??= allocate(POLLFD);
  writable.view.setInt32(0, fd, true);
  writable.view.setInt16(4, POLLOUT, true);
  libc().poll(writable.address, 1, timeoutMs);
}

/** A flag with a descriptor: set by one thread, it wakes another one out of `Poller.wait`. */
export class EventFd {
  readonly fd: number;
  readonly #value: Memory;

  constructor(fd = check(libc().eventfd(0, EFD_NONBLOCK_CLOEXEC), 'eventfd')) {
    this.fd = fd;
    this.#value = allocate(8);
  }

  signal(): void {
    this.#value.view.setUint32(0, 1, true);
    this.#value.view.setUint32(4, 0, true);
    libc().write(this.fd, this.#value.address, 8);
  }

  drain(): void {
    libc().read(this.fd, this.#value.address, 8);
  }

  close(): void {
    libc().close(this.fd);
  }
}
