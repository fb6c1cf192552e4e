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
  busy = false;
  failed = false;
  established = false;
  readonly #socket: TLSSocket;
  readonly #wire: Duplex;
  readonly #settled: () => void;
  /** Of the handshake, which prove the client's certificate; null where it needs none. */
  readonly #passed: Passed[] | null;
  readonly #secrets: HandshakeSecrets = {};
  #out: Uint8Array[] = [];
  #unread: Uint8Array[] = [];
  #quiet = 0;

  /** `settled` is called whenever the engine has become idle. */
  constructor(server: TlsIdentity, method: EapMethod, settled: () => void) {
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
    this.#socket = new TLSSocket(this.#wire, {
      isServer: true,
      // Of its own, so that no ticket of another conversation opens here: RFC 9190 section 2.1.2 leaves resumption to us.
      secureContext: createSecureContext({ cert: server.certificate, key: server.privateKey, minVersion: 'TLSv1.2' }),
      requestCert: method === 'tls',
      // Whom a certificate lets in is for the AS to say.
      rejectUnauthorized: false,
    });
    if (method === 'tls') this.#socket.on('keylog', (line: Buffer) => noteSecret(line.toString(), this.#secrets));
    this.#socket.on('secure', () => {
      this.established = true;
      if (this.#socket.isSessionReused()) this.#fail();
      this.#stir();
    });
    this.#socket.on('data', (chunk: Buffer) => {
      this.#unread.push(Uint8Array.from(chunk));
      if (this.#unread.reduce((sum, { length }) => sum + length, 0) > MAX_UNREAD) this.#fail();
      this.#stir();
    });
    this.#socket.on('error', () => this.#fail());
    // A device has no reason to leave before it was told the outcome.
    this.#socket.on('end', () => this.#fail());
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
    this.#socket.write(octets);
  }

  close(): void {
    this.#socket.destroy();
  }

  get tls13(): boolean {
    return this.#socket.getProtocol() === 'TLSv1.3';
  }

  get certificateProof(): Uint8Array | null {
    return clientTranscript(this.#passed ?? [], this.#secrets);
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
