/**
 * A service as mirror (docs/protocol.md, Mirrors): tells a node where it sees it, under a key that the service derives
 * from the NodeID, so that it keeps nothing for it.
 */

import { mirrorKey, serviceKey } from '../crypto/kdf.ts';
import type { KeyPair, Primitives } from '../crypto/primitives.ts';
import type { Service } from '../lib/device.ts';
import { type Endpoint, familyOf } from '../lib/ip.ts';
import type { Now } from '../lib/time.ts';
import type { Envelope } from '../proto/codec.ts';
import { Suite } from '../proto/constants.ts';
import { Flag } from '../proto/messages.ts';
import { MAX_MIRRORS, type Mirror, SenderKind } from '../proto/options.ts';
import type { Action } from './actions.ts';
import { Channel } from './channel.ts';
import { sendAll } from './exchange.ts';
import { Bucket } from './limits.ts';
import { dropped, unopened } from './service.ts';

/** What may be asked in a second: each question costs some key derivations before it is known to be one. */
const RATE = { burst: 2_000, perSecond: 2_000 };

export type MirrorIdentity = { readonly primitives: Primitives; readonly keys: KeyPair };

/** Whether a datagram is a question to a mirror. */
export function asksMirror({ type, options }: Envelope): boolean {
  return type === 'keepAlive' && options.instance?.kind === SenderKind.prober;
}

/** Answers what nodes ask, on behalf of every NMS of the register. */
export class MirrorService {
  readonly #identity: MirrorIdentity;
  readonly #kind: SenderKind;
  #grants: readonly Uint8Array[] = [];
  readonly #rate = new Bucket(RATE);

  constructor(identity: MirrorIdentity, kind: SenderKind) {
    this.#identity = identity;
    this.#kind = kind;
  }

  /** Takes over the register's list. */
  update(services: readonly Service[]): void {
    const { primitives, keys } = this.#identity;
    this.#grants = services
      .filter(({ role }) => role === 'nms')
      .map(({ publicKey }) => serviceKey(primitives, keys, publicKey))
      .filter((key) => key !== null);
  }

  answer(datagram: Uint8Array, envelope: Envelope, from: Endpoint, now: Now): Action[] {
    if (!this.#rate.take(now.ms)) return dropped('rate-limited', from);
    const answers = this.#grants.map((grant) => this.#answerUnder(grant, datagram, envelope, from, now));
    return answers.find((actions) => actions[0]?.do !== 'drop') ?? answers[0] ?? dropped('unknown-sender', from);
  }

  #answerUnder(grant: Uint8Array, datagram: Uint8Array, envelope: Envelope, from: Endpoint, now: Now): Action[] {
    const { primitives } = this.#identity;
    const { id, transactionId } = envelope;
    // A life of its own for each answer: no number is used twice under its key, and nothing has to be remembered.
    const channel = new Channel({
      primitives,
      suite: Suite.aes256Gcm,
      baseKey: mirrorKey(primitives, grant, id),
      id,
      own: { kind: this.#kind, instance: primitives.random(16).toHex() },
      accept: new Map([[SenderKind.prober, 1]]),
      proveAddress: false,
      freshKey: true,
    });
    const opened = channel.open(datagram, envelope, from, now, false);
    if (opened.kind !== 'message') {
      channel.close();
      return unopened(opened, from);
    }
    const to = opened.message.options.answerTo?.endpoint ?? from;
    const flags = Flag.response;
    const answer = channel.seal({
      type: 'ack',
      id,
      transactionId,
      flags,
      body: {},
      options: { mapped: { endpoint: from } },
    });
    channel.close();
    if (to.address !== from.address) return dropped('foreign-address', from);
    return [{ do: 'count', name: 'mirrored' }, ...sendAll(answer, to)];
  }
}

/** What an NMS tells nodes of the mirrors there are. */
export class MirrorDirectory {
  readonly #identity: MirrorIdentity;
  #services: readonly { readonly service: Service; readonly grant: Uint8Array }[] = [];

  constructor(identity: MirrorIdentity) {
    this.#identity = identity;
  }

  /** Takes over the register's list. */
  update(services: readonly Service[]): void {
    const { primitives, keys } = this.#identity;
    this.#services = services.flatMap((service) => {
      const grant = serviceKey(primitives, keys, service.publicKey);
      return grant === null ? [] : [{ service, grant }];
    });
  }

  /** The mirrors that a node reaches by the family of its address. */
  list(nodeId: string, { address }: Endpoint): Mirror[] {
    const family = familyOf(address);
    return this.#services.slice(0, MAX_MIRRORS).flatMap(({ service, grant }) => {
      const { role, name, port, address4, address6 } = service;
      const mirrorAddress = family === 4 ? address4 : address6;
      if (mirrorAddress === null) return [];
      return [{ role, name, address: mirrorAddress, port, key: mirrorKey(this.#identity.primitives, grant, nodeId) }];
    });
  }
}
