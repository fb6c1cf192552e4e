/** Sending single signalling datagrams from the main thread, through the same sockets as the I/O threads. */

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
  readonly #batch = new SendBatch(1);
  readonly #memory = allocate(MAX_SIZE_PROBE);

  constructor(port: DatagramPort, tally: Tally, mayGoTo: (endpoint: Endpoint) => boolean) {
    this.#port = port;
    this.#tally = tally;
    this.#mayGoTo = mayGoTo;
  }

  /** False if it could not be sent, which is counted. */
  send(to: Endpoint, datagram: Uint8Array): boolean {
    if (!this.#mayGoTo(to)) {
      this.#tally.drop('forbidden-address');
      return false;
    }
    this.#memory.bytes.set(datagram);
    this.#batch.clear();
    this.#batch.add(-1, encodeSockaddr(to), 0, this.#memory.address, datagram.length);
    if (this.#port.send(this.#batch) > 0) {
      this.#tally.drop('not-sent');
      return false;
    }
    this.#tally.add('udpSentDatagrams', 1);
    this.#tally.add('udpSentBytes', datagram.length);
    return true;
  }
}

/** Protocol section 2.4; `loopback` is for trials on one machine. */
export function outerFilter(overlay: readonly Prefix[], loopback = false): (endpoint: Endpoint) => boolean {
  return ({ address }) => (loopback && isLoopback(address)) || !isForbiddenOuter(address, overlay);
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}
