/** One end of a TLS connection by Node's own stack, over octets in memory. */

import { X509Certificate } from 'node:crypto';
import { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { connect, createSecureContext, TLSSocket as Socket, type TLSSocket } from 'node:tls';
import type { TlsIdentity } from '../../../src/crypto/tls-certificate.ts';
import { concat } from '../../../src/lib/bytes.ts';
import type { TlsEngine } from '../../../src/net/eap-conversation.ts';

export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

/** Turns of the event loop in which nothing comes any more: then Node has done all it can. */
const QUIET_TURNS = 5;

export class TlsEnd implements TlsEngine {
  busy = false;
  failed = false;
  established = false;
  readonly #socket: TLSSocket;
  readonly #wire: Duplex;
  #out: Uint8Array[] = [];
  #read: Uint8Array[] = [];
  #quiet = 0;

  private constructor(make: (wire: Duplex) => TLSSocket, established: 'secure' | 'secureConnect') {
    this.#wire = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _, done) => {
        this.#quiet = 0;
        this.#out.push(Uint8Array.from(chunk));
        done();
      },
    });
    this.#socket = make(this.#wire);
    this.#socket.on(established, () => {
      this.#quiet = 0;
      this.established = true;
    });
    this.#socket.on('data', (chunk: Buffer) => {
      this.#quiet = 0;
      this.#read.push(Uint8Array.from(chunk));
    });
    this.#socket.on('error', () => {
      this.failed = true;
    });
  }

  static server(identity: TlsIdentity, version: TlsVersion, requestCert: boolean): TlsEnd {
    const { certificate: cert, privateKey: key } = identity;
    const secureContext = createSecureContext({ cert, key, minVersion: version, maxVersion: version });
    const options = { isServer: true, secureContext, requestCert, rejectUnauthorized: false };
    return new TlsEnd((wire) => new Socket(wire, options), 'secure');
  }

  static client(root: string, version: TlsVersion, identity: TlsIdentity | null): TlsEnd {
    const own = identity === null ? {} : { cert: identity.certificate, key: identity.privateKey };
    const options = { ca: root, minVersion: version, maxVersion: version, servername: 'radius.lab.example', ...own };
    return new TlsEnd((socket) => connect({ socket, ...options }), 'secureConnect');
  }

  feed(octets: Uint8Array): void {
    this.busy = true;
    this.#wire.push(octets);
  }

  /** Resolves when Node has done all it can with what it was given. */
  async settled(): Promise<void> {
    for (this.#quiet = 0; this.#quiet < QUIET_TURNS; this.#quiet++) await turn();
    this.busy = false;
  }

  take(): Uint8Array {
    return concat(...this.#out.splice(0));
  }

  read(): Uint8Array {
    return concat(...this.#read.splice(0));
  }

  write(octets: Uint8Array): void {
    this.busy = true;
    this.#socket.write(octets);
  }

  close(): void {
    this.#socket.destroy();
  }

  get tls13(): boolean {
    return this.#socket.getProtocol() === 'TLSv1.3';
  }

  get peerCertificate(): Uint8Array | null {
    const certificate = this.#socket.getPeerX509Certificate();
    return certificate instanceof X509Certificate ? Uint8Array.from(certificate.raw) : null;
  }
}
