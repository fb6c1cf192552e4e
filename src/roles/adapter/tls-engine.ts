/** The server end of the TLS in EAP by Node's own stack: a socket over octets in memory, one per conversation. */

import { Duplex } from 'node:stream';
import { createSecureContext, TLSSocket } from 'node:tls';
import type { TlsIdentity } from '../../crypto/tls-certificate.ts';
import { clientTranscript, type HandshakeSecrets, noteSecret, type Passed } from '../../crypto/tls-transcript.ts';
import { concat } from '../../lib/bytes.ts';
import type { EapMethod, TlsEngine } from '../../net/eap-conversation.ts';

/**
 * Turns of the event loop in which nothing comes any more: then Node has done all it can, as each of its steps is due in
 * the turn after the one before.
 */
const QUIET_TURNS = 5;
/** What a device may send in the tunnel before it is authenticated: a name and a password are far shorter. */
const MAX_UNREAD = 4_096;

export class NodeTlsEngine implements TlsEngine {
  /** At first until there is a certificate to show. */
  busy = true;
  failed = false;
  established = false;
  #socket: TLSSocket | null = null;
  #closed = false;
  readonly #wire: Duplex;
  readonly #settled: () => void;
  /** Of the handshake, which prove the client's certificate; null where it needs none. */
  readonly #passed: Passed[] | null;
  readonly #secrets: HandshakeSecrets = {};
  #out: Uint8Array[] = [];
  #unread: Uint8Array[] = [];
  #quiet = 0;

  /** `server` null: there is none after all. `settled` is called whenever the engine has become idle. */
  constructor(server: Promise<TlsIdentity | null>, method: EapMethod, settled: () => void) {
    this.#settled = settled;
    this.#passed = method === 'tls' ? [] : null;
    this.#wire = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _, done) => {
        const records = Uint8Array.from(chunk);
        this.#out.push(records);
        if (!this.established) this.#passed?.push({ from: 'server', records });
        this.#stir();
        done();
      },
    });
    void server.then((identity) => this.#begin(identity, method));
  }

  feed(octets: Uint8Array): void {
    this.#stir();
    if (!this.established) this.#passed?.push({ from: 'client', records: octets });
    this.#wire.push(octets);
  }

  take(): Uint8Array {
    return concat(...this.#out.splice(0));
  }

  read(): Uint8Array {
    return concat(...this.#unread.splice(0));
  }

  write(octets: Uint8Array): void {
    this.#stir();
    this.#socket?.write(octets);
  }

  close(): void {
    this.#closed = true;
    this.#socket?.destroy();
  }

  get tls13(): boolean {
    return this.#socket?.getProtocol() === 'TLSv1.3';
  }

  get certificateProof(): Uint8Array | null {
    return clientTranscript(this.#passed ?? [], this.#secrets);
  }

  #begin(server: TlsIdentity | null, method: EapMethod): void {
    if (this.#closed) return;
    setImmediate(() => this.#listen());
    if (server === null) {
      this.failed = true;
      return;
    }
    const socket = new TLSSocket(this.#wire, {
      isServer: true,
      // Of its own, so that no ticket of another conversation opens here: RFC 9190 section 2.1.2 leaves resumption to us.
      secureContext: createSecureContext({ cert: server.certificate, key: server.privateKey, minVersion: 'TLSv1.2' }),
      requestCert: method === 'tls',
      // Whom a certificate lets in is for the AS to say.
      rejectUnauthorized: false,
    });
    this.#socket = socket;
    if (method === 'tls') socket.on('keylog', (line: Buffer) => noteSecret(line.toString(), this.#secrets));
    socket.on('secure', () => {
      this.established = true;
      if (socket.isSessionReused()) this.#fail();
      this.#stir();
    });
    socket.on('data', (chunk: Buffer) => {
      this.#unread.push(Uint8Array.from(chunk));
      if (this.#unread.reduce((sum, { length }) => sum + length, 0) > MAX_UNREAD) this.#fail();
      this.#stir();
    });
    socket.on('error', () => this.#fail());
    // A device has no reason to leave before it was told the outcome.
    socket.on('end', () => this.#fail());
  }

  #fail(): void {
    this.failed = true;
    this.#stir();
  }

  /** Something happened. */
  #stir(): void {
    this.#quiet = 0;
    if (this.busy) return;
    this.busy = true;
    setImmediate(() => this.#listen());
  }

  #listen(): void {
    if (++this.#quiet < QUIET_TURNS) {
      setImmediate(() => this.#listen());
      return;
    }
    this.busy = false;
    this.#settled();
  }
}
