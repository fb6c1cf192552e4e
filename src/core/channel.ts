/**
 * A signalling channel: one base key (Common, Tunnel or service key) as one of its holders uses it. Seals what this
 * holder sends, opens what the others send, and decides whom to believe (protocol section 2.3):
 *
 * 1. the sender's kind and instance select the message key; the tag must fit;
 * 2. the sequence number must be new in that instance's window;
 * 3. an unknown instance, or (with `proveAddress`) an unproven source address, is believed only if the message answers
 *    our own fresh transaction or echoes the challenge that this very address was sent. Everything else gets a
 *    challenge, at most `CHALLENGES`, and changes nothing.
 */

import type { Aead } from '../crypto/aead.ts';
import { signallingKey } from '../crypto/kdf.ts';
import type { Primitives } from '../crypto/primitives.ts';
import { ReplayWindow } from '../crypto/replay.ts';
import { type Endpoint, formatEndpoint, sameEndpoint } from '../lib/ip.ts';
import type { Now } from '../lib/time.ts';
import { type Draft, type Envelope, layout, MAX_LENGTH, type Message } from '../proto/codec.ts';
import {
  MAX_SIGNALLING,
  MAX_SIZE_PROBE,
  REJECT_AFTER_PACKETS,
  SIGNALLING_WINDOW,
  type Suite,
} from '../proto/constants.ts';
import type { DropReason } from '../proto/drop.ts';
import { Flag } from '../proto/messages.ts';
import type { SenderKind } from '../proto/options.ts';
import { PartBuffer } from '../proto/parts.ts';
import { Bucket } from './limits.ts';

/** A challenge stays the same for this long, so that a repeated request does not void the echo under way. */
const CHALLENGE_MS = 5_000;
/**
 * Of one sender. Bounds the work, not the traffic: a challenge is never three times as long as what it answers. Each
 * sender has its own, as datagrams recorded from an earlier life are challenged whenever somebody repeats them.
 */
const CHALLENGES = { burst: 50, perSecond: 50 };
/** Addresses of one instance that stay proven: both families, and the previous ones while a device moves. */
const MAX_PROVEN = 4;
/** Keys of instances not believed yet, kept for the echo that follows. */
const MAX_STRANGERS = 4;

export type ChannelOptions = {
  readonly primitives: Primitives;
  readonly suite: Suite;
  readonly baseKey: Uint8Array;
  /** The NodeID or PathID that messages of this channel carry. */
  readonly id: string;
  readonly own: { readonly kind: SenderKind; readonly instance: string };
  /** Kinds of senders that may speak here, with how many instances of each live at once (replicas: several). */
  readonly accept: ReadonlyMap<SenderKind, number>;
  /** Whether a source address must be proven before a message from it counts (services), or the caller does that. */
  readonly proveAddress: boolean;
  /** The base key was made for this channel just now: its first instance of each kind can't be of an earlier life. */
  readonly freshKey: boolean;
  /** Where parts of longer messages wait; shared by the channels of one machine, so that its bound is one for all. */
  readonly parts?: PartBuffer;
};

export type Sender = { readonly kind: SenderKind; readonly instance: string };

export type Opened =
  /**
   * `newest`: its sender sent nothing later that has arrived. Only such a message may move the sender's endpoint, else
   * one that was held back on its way would move it to where the sender has left from.
   */
  | { readonly kind: 'message'; readonly message: Message; readonly sender: Sender; readonly newest: boolean }
  /** Send these to where the datagram came from; nothing else happened. */
  | { readonly kind: 'challenge'; readonly datagrams: readonly Uint8Array[] }
  /** A part of a longer message was kept. */
  | { readonly kind: 'part' }
  | { readonly kind: 'drop'; readonly reason: DropReason };

type Correspondent = Sender & {
  readonly aead: Aead;
  readonly window: ReplayWindow;
  proven: readonly Endpoint[];
  /** Challenges it may be given, once it has been given any. */
  challenges: Bucket | null;
};

/** Where datagrams are opened; what is kept of them is copied, and nothing else runs in between. */
const opening = new Uint8Array(MAX_LENGTH);

/** Shared by all channels where nobody is known. */
const nobody: readonly never[] = [];

const drop = (reason: DropReason): Opened => ({ kind: 'drop', reason });

export class Channel {
  readonly #options: ChannelOptions;
  readonly #aead: Aead;
  readonly #parts: PartBuffer;
  #sequence = 0;
  #closed = false;
  /** Believed senders, oldest first. */
  #believed: readonly Correspondent[] = nobody;
  #strangers: readonly Correspondent[] = nobody;
  /** Null: nobody can have been challenged. */
  #challengeSecret: Uint8Array | null = null;
  #challengeSince = Number.NEGATIVE_INFINITY;

  constructor(options: ChannelOptions) {
    this.#options = options;
    this.#aead = this.#keyOf(options.own);
    this.#parts = options.parts ?? new PartBuffer();
  }

  get id(): string {
    return this.#options.id;
  }

  /**
   * The datagrams of one message, sealed; a repeated message is sealed again, as every number is used once. None once the
   * channel is closed, as a request outlives its channel until somebody gives it up, nor once its numbers are used up.
   */
  seal(draft: Draft): Uint8Array[] {
    if (this.#closed || this.exhausted) return [];
    const { own } = this.#options;
    const signed = { ...draft, options: { instance: own, ...draft.options } } as Draft;
    const maximum = draft.type === 'sizeProbe' ? MAX_SIZE_PROBE : MAX_SIGNALLING;
    return layout(signed, this.#aead, () => ++this.#sequence, maximum).map((laid) => {
      this.#aead.seal(laid.bytes, 0, laid.bodyStart, laid.plainLength, laid.sequence);
      return laid.bytes;
    });
  }

  /** No message can be sealed any more: the owner starts a channel with a new instance. */
  get exhausted(): boolean {
    return this.#sequence >= REJECT_AFTER_PACKETS - 64;
  }

  /**
   * Opens a datagram whose envelope was read. `answersUs` = its Transaction ID is that of an outstanding request of
   * ours to this very address. The datagram itself stays untouched.
   */
  open(datagram: Uint8Array, envelope: Envelope, from: Endpoint, now: Now, answersUs: boolean): Opened {
    if (this.#closed) return drop('unknown-sender');
    const claimed = envelope.options.instance;
    if (claimed === undefined) return drop('no-instance');
    const limit = this.#options.accept.get(claimed.kind as SenderKind);
    if (limit === undefined) return drop('sender-kind');
    const sender = { kind: claimed.kind as SenderKind, instance: claimed.instance };

    const known = this.#believed.find((c) => sameSender(c, sender));
    const correspondent = known ?? this.#stranger(sender);
    const { bodyStart, sequence } = envelope;
    opening.set(datagram);
    const plainLength = correspondent.aead.open(opening, 0, bodyStart, datagram.length, sequence);
    if (plainLength < 0) return drop('tag');
    if (!correspondent.window.check(sequence)) return drop('replayed');

    const echo = envelope.options.echo?.value;
    const echoed = echo !== undefined && echo === this.#challengeFor(sender, from);
    const proven = !this.#options.proveAddress || correspondent.proven.some((p) => sameEndpoint(p, from));
    const firstOfFreshKey =
      this.#options.freshKey && !this.#options.proveAddress && !this.#believed.some((c) => c.kind === sender.kind);
    const believed = known !== undefined && proven;
    if (!(believed || echoed || answersUs || firstOfFreshKey))
      return this.#challenge(envelope, correspondent, from, now);

    if (known === undefined) {
      // What it sent before it proved itself may be from an earlier life of ours. Parts of this message are not.
      if (!firstOfFreshKey) correspondent.window.startAt(sequence - (envelope.options.part?.number ?? 0));
      this.#believe(correspondent, limit);
    }
    correspondent.window.accept(sequence);
    if (!correspondent.proven.some((p) => sameEndpoint(p, from)) && (echoed || answersUs)) {
      correspondent.proven = [from, ...correspondent.proven].slice(0, MAX_PROVEN);
    }

    const start = bodyStart + correspondent.aead.lead;
    const plain = opening.subarray(start, start + plainLength);
    const message = this.#parts.receive(this.#nameOf(correspondent), envelope, plain, now);
    if (message === null) return { kind: 'part' };
    if (typeof message === 'string') return drop(message);
    const { part } = envelope.options;
    const last = part === undefined ? sequence : sequence - part.number + part.count - 1;
    return { kind: 'message', message, sender, newest: last >= correspondent.window.highest };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#aead.close();
    for (const c of [...this.#believed, ...this.#strangers]) this.#forget(c);
  }

  #nameOf(sender: Sender): string {
    return `${this.#options.id} ${sender.kind} ${sender.instance}`;
  }

  #forget(correspondent: Correspondent): void {
    correspondent.aead.close();
    this.#parts.forget(this.#nameOf(correspondent));
  }

  #keyOf(sender: Sender): Aead {
    const { primitives, suite, baseKey } = this.#options;
    return primitives.aead(suite, signallingKey(primitives, baseKey, sender.kind, sender.instance));
  }

  #stranger(sender: Sender): Correspondent {
    const cached = this.#strangers.find((c) => sameSender(c, sender));
    if (cached !== undefined) return cached;
    const stranger: Correspondent = {
      ...sender,
      aead: this.#keyOf(sender),
      window: new ReplayWindow(SIGNALLING_WINDOW),
      proven: nobody,
      challenges: null,
    };
    const [oldest, ...others] = this.#strangers;
    if (oldest === undefined || others.length < MAX_STRANGERS - 1) {
      this.#strangers = this.#strangers.concat(stranger);
    } else {
      this.#forget(oldest);
      this.#strangers = others.concat(stranger);
    }
    return stranger;
  }

  /** A new instance of a kind ends the oldest one: what that one sent in its earlier life is refused from here on. */
  #believe(correspondent: Correspondent, limit: number): void {
    const strangers = this.#strangers.filter((c) => c !== correspondent);
    this.#strangers = strangers.length > 0 ? strangers : nobody;
    this.#believed = this.#believed.concat(correspondent);
    const sameKind = this.#believed.filter((c) => c.kind === correspondent.kind);
    if (sameKind.length <= limit) return;
    const oldest = sameKind[0] as Correspondent;
    this.#believed = this.#believed.filter((c) => c !== oldest);
    this.#forget(oldest);
    // Else an echo recorded from that life would open the door to it once more.
    this.#challengeSecret = null;
  }

  /** Null: none was given. */
  #challengeFor(sender: Sender, from: Endpoint): string | null {
    if (this.#challengeSecret === null) return null;
    const text = `${sender.kind} ${sender.instance} ${formatEndpoint(from)}`;
    return this.#options.primitives.hmac(this.#challengeSecret, new TextEncoder().encode(text)).subarray(0, 16).toHex();
  }

  #challenge(envelope: Envelope, sender: Correspondent, from: Endpoint, now: Now): Opened {
    sender.challenges ??= new Bucket(CHALLENGES);
    if (!sender.challenges.take(now.ms)) return drop('rate-limited');
    if (this.#challengeSecret === null || now.ms - this.#challengeSince > CHALLENGE_MS) {
      this.#challengeSecret = this.#options.primitives.random(32);
      this.#challengeSince = now.ms;
    }
    const datagrams = this.seal({
      type: 'ack',
      id: envelope.id,
      transactionId: envelope.transactionId,
      // What a TRS forwarded is answered through it.
      flags: Flag.response | (envelope.flags & Flag.relayed),
      body: {},
      options: { challenge: { value: this.#challengeFor(sender, from)! } },
    });
    return { kind: 'challenge', datagrams };
  }
}

function sameSender(a: Sender, b: Sender): boolean {
  return a.kind === b.kind && a.instance === b.instance;
}
