/**
 * What shows that the client of a TLS handshake holds the key of its certificate: the handshake messages up to and with
 * its CertificateVerify, in which it signed all those before (RFC 5246 section 7.4.8, RFC 8446 section 4.4.3). They are
 * taken from the records of the connection, of which TLS 1.3 encrypts most.
 */

import { createDecipheriv, createHmac } from 'node:crypto';
import { concat, Reader, viewOf, Writer } from '../lib/bytes.ts';
import { firstMessage, HandshakeType, readServerHello, type Suite13, suites13 } from './tls-messages.ts';

const RecordType = { handshake: 22, applicationData: 23 } as const;
const RECORD_HEADER = 5;
const TAG = 16;
const IV = 12;

const sides = ['client', 'server'] as const;
type Side = (typeof sides)[number];

/** Records that went one way, in pieces of any size. */
export type Passed = { readonly from: Side; readonly records: Uint8Array };

/** Secrets of TLS 1.3 that encrypt the handshake, and nothing after it. */
export type HandshakeSecrets = Partial<Record<Side, Uint8Array>>;

/** Notes a line of a key log ({label, client random, secret}) if it is such a secret. */
export function noteSecret(line: string, secrets: HandshakeSecrets): void {
  const [label, , secret = ''] = line.trim().split(' ');
  const side = sides.find((it) => label === `${it.toUpperCase()}_HANDSHAKE_TRAFFIC_SECRET`);
  if (side !== undefined) secrets[side] = Uint8Array.fromHex(secret);
}

/** The messages, one after the other; null if the client has signed none. */
export function clientTranscript(passed: readonly Passed[], secrets: HandshakeSecrets): Uint8Array | null {
  const messages: Uint8Array[] = [];
  const streams = { client: new RecordStream(), server: new RecordStream() };
  for (const { from, records } of passed) {
    for (const message of streams[from].messagesIn(records)) {
      messages.push(message);
      if (message[0] === HandshakeType.certificateVerify && from === 'client') return concat(...messages);
      const hello = message[0] === HandshakeType.serverHello ? readServerHello(message) : null;
      const suite = hello === null || hello.retry ? undefined : suites13.get(hello.suite);
      if (suite !== undefined) for (const side of sides) streams[side].decryptBy(suite, secrets[side]);
    }
  }
  return null;
}

/** Handshake messages in the records of one side. */
class RecordStream {
  #octets: Uint8Array = new Uint8Array(0);
  #messages: Uint8Array = new Uint8Array(0);
  #open: ((record: Uint8Array) => Uint8Array | null) | null = null;

  /** The next records are encrypted. */
  decryptBy(suite: Suite13, secret: Uint8Array | undefined): void {
    this.#open = secret === undefined ? () => null : opener(suite, secret);
  }

  /** One by one, as the one before may change how the next is read. */
  *messagesIn(records: Uint8Array): Generator<Uint8Array, void> {
    this.#octets = concat(this.#octets, records);
    for (let record = this.#nextRecord(); record !== null; record = this.#nextRecord()) {
      this.#messages = concat(this.#messages, this.#handshakeIn(record));
      for (let message = firstMessage(this.#messages); message !== null; message = firstMessage(this.#messages)) {
        this.#messages = this.#messages.subarray(message.length);
        yield message;
      }
    }
  }

  #nextRecord(): Uint8Array | null {
    const from = new Reader(this.#octets, RECORD_HEADER - 2);
    from.take(from.u16());
    if (from.failed) return null;
    const record = this.#octets.subarray(0, from.at);
    this.#octets = this.#octets.subarray(from.at);
    return record;
  }

  #handshakeIn(record: Uint8Array): Uint8Array {
    if (record[0] === RecordType.handshake) return record.subarray(RECORD_HEADER);
    const inner = record[0] === RecordType.applicationData ? this.#open?.(record) : null;
    if (!inner) return new Uint8Array(0);
    // RFC 8446 section 5.2: the content, its type, and zeros as padding.
    const end = inner.findLastIndex((octet) => octet !== 0);
    return inner[end] === RecordType.handshake ? inner.subarray(0, end) : new Uint8Array(0);
  }
}

/** RFC 8446 section 5.2 and 5.3: opens one record after the other; null for one that isn't of this key. */
function opener({ cipher, keyLength, hash }: Suite13, secret: Uint8Array): (record: Uint8Array) => Uint8Array | null {
  const key = expandLabel(hash, secret, 'key', keyLength);
  const iv = expandLabel(hash, secret, 'iv', IV);
  let sequence = 0;
  return (record) => {
    const nonce = iv.slice();
    const view = viewOf(nonce);
    view.setUint32(IV - 4, view.getUint32(IV - 4) ^ sequence++);
    const body = record.subarray(RECORD_HEADER, record.length - TAG);
    try {
      const decipher = createDecipheriv(cipher as 'aes-256-gcm', key, nonce, { authTagLength: TAG });
      decipher.setAAD(record.subarray(0, RECORD_HEADER));
      decipher.setAuthTag(record.subarray(record.length - TAG));
      return concat(decipher.update(body), decipher.final());
    } catch {
      return null;
    }
  };
}

/** HKDF-Expand-Label (RFC 8446 section 7.1) without a context, of at most one hash's length. */
function expandLabel(hash: string, secret: Uint8Array, label: string, length: number): Uint8Array {
  const name = Buffer.from(`tls13 ${label}`);
  const info = new Writer();
  info.u16(length);
  info.u8(name.length);
  info.octets(name);
  info.u8(0);
  info.u8(1);
  return Uint8Array.from(createHmac(hash, secret).update(info.written).digest().subarray(0, length));
}
