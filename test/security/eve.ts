/**
 * Whoever runs the cloud, or has stolen it: Eve has the register and the keys of NMS and TRS, and records every datagram.
 * She lacks the CA's private key, which is a file of the AS, and what never leaves the devices.
 */

import { readCertificate } from '../../src/crypto/certificate.ts';
import { handshakePrologue } from '../../src/crypto/handshake.ts';
import { serviceKey, signallingKey } from '../../src/crypto/kdf.ts';
import { receiveNoise } from '../../src/crypto/noise.ts';
import type { KeyPair, Primitives } from '../../src/crypto/primitives.ts';
import { type Envelope, type Message, type MessageOf, readBody, readEnvelope } from '../../src/proto/codec.ts';
import { Suite } from '../../src/proto/constants.ts';
import { SenderKind } from '../../src/proto/options.ts';
import { PartBuffer } from '../../src/proto/parts.ts';
import type { Lab } from '../core/node/lab.ts';

const KEY_LENGTH = 32;
const suites = Object.values(Suite);
const now = { ms: 0, wall: 0 };

type Recorded = { readonly datagram: Uint8Array; readonly envelope: Envelope };

export class Eve {
  readonly #primitives: Primitives;
  readonly #services: readonly KeyPair[];
  /** Keys she holds or was told, by their hex form. */
  readonly #keys = new Map<string, Uint8Array>();
  /** Anything that might be a key: every 32 octets that she has ever seen. */
  readonly #candidates = new Map<string, Uint8Array>();
  /** What she opened, by the hex form of the datagram. */
  readonly #opened = new Map<string, Message>();
  readonly #parts = new PartBuffer();

  private constructor(primitives: Primitives, services: readonly KeyPair[]) {
    this.#primitives = primitives;
    this.#services = services;
  }

  /** Takes everything from the cloud of a network. */
  static async rob({ cloud }: Lab, primitives: Primitives): Promise<Eve> {
    const services = [cloud.nms, ...cloud.relays].map(({ identity }) => identity);
    const eve = new Eve(
      primitives,
      services.map(({ keys }) => keys),
    );
    for (const { keys } of services) {
      eve.#learn(keys.privateKey);
      for (const { service } of services) {
        const shared = serviceKey(primitives, keys, service.publicKey);
        if (shared !== null) eve.#learn(shared);
      }
    }
    for (const device of await cloud.register.list()) {
      const { commonKey, pendingCommonKey, signKey, handshakeKey, certificate } = device;
      for (const key of [commonKey, pendingCommonKey, signKey, handshakeKey]) if (key !== null) eve.#learn(key);
      if (certificate !== null) eve.#note(certificate);
    }
    return eve;
  }

  /** Signalling that she can read. */
  get messages(): readonly Message[] {
    return [...this.#opened.values()];
  }

  get directions(): readonly MessageOf<'routeDirection'>[] {
    return this.messages.filter((message) => message.type === 'routeDirection');
  }

  get keys(): readonly Uint8Array[] {
    return [...this.#keys.values()];
  }

  tell(secrets: readonly Uint8Array[]): void {
    for (const secret of secrets) this.#learn(secret);
  }

  /** Reads whatever she can of the datagrams; each key that she finds may open more. */
  readSignalling(datagrams: readonly Uint8Array[]): void {
    const recorded = datagrams.map(recordOf).filter((r) => r !== null && r.envelope.type !== 'capsule') as Recorded[];
    for (let known = -1; known < this.#keys.size; ) {
      known = this.#keys.size;
      for (const each of recorded) this.#openSignalling(each);
      this.#openEndKeys();
    }
  }

  /** The inner packets of all capsules that any key or candidate opens. */
  readCapsules(datagrams: readonly Uint8Array[]): Uint8Array[] {
    const keys = [...this.#candidates.values(), ...this.#derived(datagrams)];
    return datagrams.map(recordOf).flatMap((recorded) => {
      if (recorded?.envelope.type !== 'capsule') return [];
      const message = this.#open(recorded, keys);
      return message?.type === 'capsule' && message.body.payload.length > 0 ? [message.body.payload] : [];
    });
  }

  #openSignalling({ datagram, envelope }: Recorded): void {
    const name = datagram.toHex();
    const sender = envelope.options.instance;
    if (this.#opened.has(name) || sender === undefined) return;
    const kind = sender.kind as SenderKind;
    const keys = this.keys.map((key) => signallingKey(this.#primitives, key, kind, sender.instance));
    const message = this.#open({ datagram, envelope }, keys);
    if (message === null) return;
    this.#opened.set(name, message);
    if (message.type === 'routeDirection' || message.type === 'relayRequest') this.#learn(message.body.tunnelKey);
    if (message.type === 'routeDirection') this.#learn(message.body.temporaryKey);
  }

  /** The End Key fields of handshakes: sealed by one of her keys, or readable by one of her private keys. */
  #openEndKeys(): void {
    for (const message of this.messages) {
      if (message.type !== 'tunnelRequest' && message.type !== 'tunnelResponse') continue;
      const { endKey } = message.body;
      for (const key of this.keys) {
        for (const suite of suites) {
          const plain = this.#unseal(suite, key, endKey, 0, 0);
          if (plain !== null && plain.length === KEY_LENGTH) this.#learn(plain);
        }
      }
      if (message.type === 'tunnelRequest') this.#openNoise(message);
    }
  }

  #openNoise({ id: pathId, epoch, body }: MessageOf<'tunnelRequest'>): void {
    for (const { body: route, options } of this.directions) {
      const responder = options.certificate && readCertificate(options.certificate.certificate);
      const ends = options.pathEnds;
      if (route.pathId !== pathId || !responder || typeof responder === 'string' || ends === undefined) continue;
      for (const suite of [Suite.aes256Gcm, Suite.chacha20Poly1305] as const) {
        const hash = this.#primitives.sha256(responder.octets);
        const { temporaryKey } = route;
        const context = { suite, pathId, epoch, ...ends, temporaryKey, caKey: new Uint8Array(KEY_LENGTH) };
        const prologue = handshakePrologue(context, hash);
        for (const { privateKey } of this.#services) {
          const own = { privateKey, publicKey: responder.handshakeKey };
          const request = receiveNoise(this.#primitives, { suite, prologue, psk: temporaryKey, own }, body.endKey);
          const answer = request?.answer(new Uint8Array(0));
          if (answer) for (const key of [answer.send, answer.receive]) this.#learn(key);
        }
      }
    }
  }

  /** Keys that the key schedule of signalling would make of hers. */
  #derived(datagrams: readonly Uint8Array[]): Uint8Array[] {
    const senders = datagrams.flatMap((datagram) => recordOf(datagram)?.envelope.options.instance?.instance ?? []);
    return [...new Set(senders)].flatMap((instance) =>
      this.keys.flatMap((key) =>
        Object.values(SenderKind).map((kind) => signallingKey(this.#primitives, key, kind, instance)),
      ),
    );
  }

  #open({ datagram, envelope }: Recorded, keys: readonly Uint8Array[]): Message | null {
    for (const key of keys) {
      for (const suite of suites) {
        const plain = this.#unseal(suite, key, datagram, envelope.bodyStart, envelope.sequence);
        if (plain === null) continue;
        this.#note(plain);
        const message =
          envelope.options.part === undefined
            ? readBody(envelope, plain)
            : this.#parts.receive(`${envelope.id} ${envelope.options.instance?.instance}`, envelope, plain, now);
        if (message !== null && typeof message !== 'string') return message;
      }
    }
    return null;
  }

  #unseal(suite: Suite, key: Uint8Array, sealed: Uint8Array, bodyStart: number, sequence: number): Uint8Array | null {
    const aead = this.#primitives.aead(suite, key);
    const bytes = sealed.slice();
    const length = aead.open(bytes, 0, bodyStart, bytes.length, sequence);
    aead.close();
    return length < 0 ? null : bytes.slice(bodyStart + aead.lead, bodyStart + aead.lead + length);
  }

  #learn(key: Uint8Array): void {
    if (key.length !== KEY_LENGTH) return;
    this.#keys.set(key.toHex(), key.slice());
    this.#candidates.set(key.toHex(), key.slice());
  }

  #note(octets: Uint8Array): void {
    for (let i = 0; i + KEY_LENGTH <= octets.length; i++) {
      const window = octets.slice(i, i + KEY_LENGTH);
      this.#candidates.set(window.toHex(), window);
    }
  }
}

function recordOf(datagram: Uint8Array): Recorded | null {
  const envelope = readEnvelope(datagram);
  return typeof envelope === 'string' ? null : { datagram, envelope };
}
