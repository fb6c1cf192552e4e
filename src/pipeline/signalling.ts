/** Sending signalling datagrams from the main thread, through the same sockets as the I/O threads. */

import { type Endpoint, isForbiddenOuter, type Prefix } from '../lib/ip.ts';
import { MAX_SIZE_PROBE } from '../proto/constants.ts';
import { allocate } from '../sys/memory.ts';
import { SendBatch } from '../sys/mmsg.ts';
import { encodeSockaddr } from '../sys/sockaddr.ts';
import type { DatagramPort } from '../sys/udp.ts';
import type { Tally } from './tally.ts';

export class SignallingSender {
  readonly #port: DatagramPort;
  readonly #tally: Tally;
  readonly #mayGoTo: (endpoint: Endpoint) => boolean;
  readonly #batch: SendBatch;
  readonly #memory;
  #octets = 0;

  /** What one turn of the event loop brings about goes out in one system call, at most `atOnce` datagrams. */
  constructor(port: DatagramPort, tally: Tally, mayGoTo: (endpoint: Endpoint) => boolean, atOnce = 1) {
    this.#port = port;
    this.#tally = tally;
    this.#mayGoTo = mayGoTo;
    this.#batch = new SendBatch(atOnce);
    this.#memory = allocate(atOnce * MAX_SIZE_PROBE);
  }

  /** What could not be sent is counted. */
  send(to: Endpoint, datagram: Uint8Array): void {
    if (!this.#mayGoTo(to)) {
      this.#tally.drop('forbidden-address');
      return;
    }
    const batch = this.#batch;
    const at = batch.count * MAX_SIZE_PROBE;
    this.#memory.bytes.set(datagram, at);
    this.#octets += datagram.length;
    batch.add(-1, encodeSockaddr(to), 0, this.#memory.address + at, datagram.length);
    if (batch.full) this.#flush();
    else if (batch.count === 1) queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    const batch = this.#batch;
    const failed = this.#port.send(batch);
    if (failed > 0) {
      this.#tally.drop('not-sent', failed);
      for (let i = 0; i < batch.count; i++) this.#octets -= batch.failed(i) * batch.segment(i);
    }
    this.#tally.add('udpSentDatagrams', batch.count - failed);
    this.#tally.add('udpSentBytes', this.#octets);
    this.#octets = 0;
    batch.clear();
  }
}

/** Protocol section 2.4; `loopback` is for trials on one machine. */
export function outerFilter(overlay: readonly Prefix[], loopback = false): (endpoint: Endpoint) => boolean {
  return ({ address }) => (loopback && isLoopback(address)) || !isForbiddenOuter(address, overlay);
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}
