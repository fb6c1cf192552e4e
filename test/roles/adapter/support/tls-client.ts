/** A device's end of a TLS connection by Node's own stack, over octets in memory. */

import { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { concat } from '../../../../src/lib/bytes.ts';

/** Turns of the event loop in which nothing comes any more: then Node has done all it can. */
const QUIET_TURNS = 5;

export class TlsClient {
  established = false;
  readonly socket: TLSSocket;
  /** Sessions that could be resumed. */
  readonly sessions: Buffer[] = [];
  readonly #wire: Duplex;
  #out: Uint8Array[] = [];
  #read: Uint8Array[] = [];
  #quiet = 0;

  constructor(options: ConnectionOptions) {
    this.#wire = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _, done) => {
        this.#quiet = 0;
        this.#out.push(Uint8Array.from(chunk));
        done();
      },
    });
    this.socket = connect({ socket: this.#wire, servername: 'adapter.lab.example', ...options });
    this.socket.on('secureConnect', () => {
      this.#quiet = 0;
      this.established = true;
    });
    this.socket.on('data', (chunk: Buffer) => {
      this.#quiet = 0;
      this.#read.push(Uint8Array.from(chunk));
    });
    this.socket.on('session', (session) => this.sessions.push(session));
    // Either end may break off; the test sees how the authenticator takes it.
    this.socket.on('error', () => {});
  }

  /** Resolves when Node has done all it can with what it was given. */
  async feed(octets: Uint8Array): Promise<void> {
    if (octets.length > 0) this.#wire.push(octets);
    for (this.#quiet = 0; this.#quiet < QUIET_TURNS; this.#quiet++) await turn();
  }

  async write(octets: Uint8Array): Promise<void> {
    this.socket.write(octets);
    await this.feed(new Uint8Array(0));
  }

  take(): Uint8Array {
    return concat(...this.#out.splice(0));
  }

  read(): Uint8Array {
    return concat(...this.#read.splice(0));
  }
}
