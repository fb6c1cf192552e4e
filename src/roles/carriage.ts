/**
 * One TLS connection that carries datagrams, as either end has it, and the local UDP port through which they come and go
 * (docs/protocol.md, Over TLS). Nothing piles up: what the connection or the port does not take at once is dropped, the
 * newest first, and counted.
 */

import { createSocket, type Socket as Port } from 'node:dgram';
import type { TLSSocket } from 'node:tls';
import type { Counters } from '../lib/counters.ts';
import { type Address, type Endpoint, type Family, familyOf } from '../lib/ip.ts';
import { FRAME_HEAD, FrameReader, MAX_FRAME, writeFrameHead } from '../net/frames.ts';
import { openUdp } from '../sys/udp.ts';

/** What waits in the program for a connection that does not take it; some 100 ms of a fast one. */
const MAX_WAITING = 256 << 10;
/** What waits in the program for a local port. */
const MAX_PORT_QUEUE = 1 << 20;

export type Carried = {
  datagram(datagram: Uint8Array): void;
  /** Once, at the end, however it came about. */
  closed(why: string): void;
};

export class Carriage {
  readonly #socket: TLSSocket;
  readonly #counters: Counters;
  #waiting: Uint8Array[] = [];
  #octets = 0;
  #flushing = false;
  #why = 'closed by the other end';
  /** Monotonic time (ms) when something came in, and when something that had to wait went out. */
  heardAt = performance.now();
  movedAt = performance.now();

  constructor(socket: TLSSocket, counters: Counters, carried: Carried) {
    this.#socket = socket;
    this.#counters = counters;
    const reader = new FrameReader();
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.heardAt = performance.now();
      counters.add('stream-received-bytes', chunk.length);
      if (!reader.push(chunk, (datagram) => this.#received(datagram, carried))) this.close('not our protocol');
    });
    socket.on('drain', () => {
      this.movedAt = performance.now();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#why = error.code ?? error.message;
    });
    socket.once('close', () => carried.closed(this.#why));
    socket.once('end', () => socket.destroy());
  }

  /** Whether something waits. */
  get isStuck(): boolean {
    return this.#socket.writableLength > 0;
  }

  send(datagram: Uint8Array): void {
    if (this.#socket.writableLength + this.#octets > MAX_WAITING || datagram.length > MAX_FRAME) {
      this.#counters.add('stream-drop-queue-full');
      return;
    }
    this.#counters.add('stream-sent-datagrams');
    this.#frame(datagram);
  }

  /** Shows the other end that we are there. */
  beat(): void {
    if (!this.isStuck) this.#frame(new Uint8Array(0));
  }

  close(why: string): void {
    this.#why = why;
    this.#socket.destroy();
  }

  #received(datagram: Uint8Array, carried: Carried): void {
    if (datagram.length === 0) {
      this.#counters.add('stream-heartbeats');
      carried.datagram(datagram);
      return;
    }
    this.#counters.add('stream-received-datagrams');
    carried.datagram(datagram);
  }

  /** What comes in one turn of the loop goes out in one piece. */
  #frame(datagram: Uint8Array): void {
    const head = new Uint8Array(FRAME_HEAD);
    writeFrameHead(head, 0, datagram.length);
    this.#waiting.push(head, datagram);
    this.#octets += FRAME_HEAD + datagram.length;
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#flushing = false;
    const octets = Buffer.concat(this.#waiting, this.#octets);
    this.#waiting = [];
    this.#octets = 0;
    if (this.#socket.destroyed) return;
    if (!this.isStuck) this.movedAt = performance.now();
    this.#counters.add('stream-sent-bytes', octets.length);
    this.#socket.write(octets);
  }
}

/**
 * A UDP port that speaks with one other only: the system lets nothing else in or out. Datagrams given to it before it is
 * ready go out with the first one after; few do. Where there is no way to the other one now, each datagram tries again.
 */
export class Conduit {
  readonly #port: Port;
  readonly #counters: Counters;
  readonly local: Endpoint;
  readonly #to: Endpoint;
  #early: Uint8Array[] | null = [];
  #connecting = true;

  constructor(from: Address, to: Endpoint, counters: Counters, deliver: (datagram: Uint8Array) => void) {
    const family: Family = familyOf(to.address);
    const bound = { address4: family === 4 ? from : null, address6: family === 6 ? from : null };
    const sockets = openUdp({ ...bound, port: 0, orNext: false, segment: false, gro: false });
    this.local = { address: from, port: sockets.port };
    this.#to = to;
    this.#counters = counters;
    this.#port = createSocket({ type: `udp${family}`, lookup: (host, _, found) => found(null, host, family) });
    // A port unreachable: whoever listens there is not back yet.
    this.#port.on('error', () => counters.add('stream-drop-not-sent'));
    this.#port.on('message', deliver);
    this.#port.bind({ fd: family === 4 ? sockets.fd4 : sockets.fd6 }, () => this.#connect());
  }

  send(datagram: Uint8Array): void {
    if (this.#early !== null) {
      if (this.#early.length < MAX_EARLY) this.#early.push(datagram);
      else this.#counters.add('stream-drop-queue-full');
      if (!this.#connecting) this.#connect();
    } else if (this.#port.getSendQueueSize() > MAX_PORT_QUEUE) {
      this.#counters.add('stream-drop-queue-full');
    } else {
      this.#port.send(datagram, (error) => {
        if (error !== null) this.#counters.add('stream-drop-not-sent');
      });
    }
  }

  close(): void {
    this.#early = [];
    this.#connecting = true;
    this.#port.close();
  }

  #connect(): void {
    this.#connecting = true;
    this.#port.connect(this.#to.port, this.#to.address, (error?: Error) => this.#connected(error ?? null));
  }

  #connected(error: Error | null): void {
    this.#connecting = false;
    const early = this.#early ?? [];
    if (error !== null) {
      this.#early = [];
      this.#counters.add('stream-drop-not-sent', early.length);
      return;
    }
    this.#early = null;
    for (const datagram of early) this.send(datagram);
  }
}

const MAX_EARLY = 16;
