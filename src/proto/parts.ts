/**
 * Reassembly of messages longer than one datagram (protocol section 3.2). Parts of one message have consecutive sequence
 * numbers, so sequence minus part number names the message; a retransmission is another message here, because its clear
 * options, and with them the places of the cuts, may differ.
 */

import type { Now } from '../lib/time.ts';
import { type Envelope, type Message, readBody } from './codec.ts';
import { PART_LIFETIME_MS, PART_MESSAGES, PART_OCTETS, PART_TOTAL_OCTETS } from './constants.ts';
import type { DropReason } from './drop.ts';

export type PartLimits = {
  /** Unfinished messages and their octets, per sender. */
  readonly messages: number;
  readonly octets: number;
  /** Milliseconds from the first part to the last. */
  readonly lifetime: number;
  /** Octets over all senders. */
  readonly total: number;
};

const defaults: PartLimits = {
  messages: PART_MESSAGES,
  octets: PART_OCTETS,
  lifetime: PART_LIFETIME_MS,
  total: PART_TOTAL_OCTETS,
};

type Unfinished = {
  readonly envelope: Envelope;
  readonly deadline: number;
  readonly slices: (Uint8Array | undefined)[];
  missing: number;
  octets: number;
};

export class PartBuffer {
  readonly #limits: PartLimits;
  /** By sender, the one with the newest message last; then by sequence number of part 0, oldest first. */
  readonly #senders = new Map<string, Map<number, Unfinished>>();
  #octets = 0;
  #abandoned = 0;

  constructor(limits: Partial<PartLimits> = {}) {
    this.#limits = { ...defaults, ...limits };
  }

  /** Octets held. */
  get octets(): number {
    return this.#octets;
  }

  /** Messages given up unfinished: too old, or displaced by newer ones of the same sender. */
  get abandoned(): number {
    return this.#abandoned;
  }

  /**
   * Takes an opened body of an authenticated sender, whose name includes its instance. Gives the message, at once if it
   * came whole; null while parts are missing.
   */
  receive(sender: string, envelope: Envelope, plain: Uint8Array, now: Now): Message | DropReason | null {
    const { part, ...options } = envelope.options;
    if (part === undefined) return readBody(envelope, plain);
    this.#expire(now);
    this.#expireFrom(sender, now);
    const { number, count } = part;
    if (count < 2 || number >= count || plain.length === 0) return 'part-malformed';

    const first = envelope.sequence - number;
    const known = this.#senders.get(sender)?.get(first);
    if (known !== undefined) {
      if (!sameMessage(known.envelope, envelope)) return 'part-malformed';
      if (known.slices[number] !== undefined) return 'replayed';
    }
    const held = this.#heldBy(sender);
    if (held + plain.length > this.#limits.octets || this.#octets + plain.length > this.#limits.total) {
      if (known !== undefined) this.#abandon(sender, first);
      return 'part-overflow';
    }

    const message = known ?? this.#begin(sender, first, envelope, count, now);
    message.slices[number] = plain.slice();
    message.missing--;
    message.octets += plain.length;
    this.#octets += plain.length;
    if (message.missing > 0) return null;
    this.#remove(sender, first);
    return readBody({ ...envelope, options, sequence: first }, join(message));
  }

  /** Drops what a sender that is gone left behind. */
  forget(sender: string): void {
    for (const first of this.#senders.get(sender)?.keys() ?? []) this.#abandon(sender, first);
  }

  #heldBy(sender: string): number {
    let octets = 0;
    for (const message of this.#senders.get(sender)?.values() ?? []) octets += message.octets;
    return octets;
  }

  #begin(sender: string, first: number, envelope: Envelope, count: number, now: Now): Unfinished {
    const mine = this.#senders.get(sender) ?? new Map<number, Unfinished>();
    this.#senders.delete(sender);
    this.#senders.set(sender, mine);
    const slices = new Array<Uint8Array | undefined>(count).fill(undefined);
    const message = { envelope, deadline: now.ms + this.#limits.lifetime, slices, missing: count, octets: 0 };
    mine.set(first, message);
    if (mine.size > this.#limits.messages) {
      const [oldest] = mine.keys();
      this.#abandon(sender, oldest!);
    }
    return message;
  }

  #expire(now: Now): void {
    // Senders stand in the order of their newest message: after one that keeps any, all do.
    for (const sender of this.#senders.keys()) if (this.#expireFrom(sender, now)) return;
  }

  /** Whether the sender keeps any. */
  #expireFrom(sender: string, now: Now): boolean {
    for (const [first, message] of this.#senders.get(sender) ?? []) {
      if (message.deadline <= now.ms) this.#abandon(sender, first);
    }
    return this.#senders.has(sender);
  }

  #abandon(sender: string, first: number): void {
    this.#abandoned++;
    this.#remove(sender, first);
  }

  #remove(sender: string, first: number): void {
    const messages = this.#senders.get(sender);
    this.#octets -= messages?.get(first)?.octets ?? 0;
    messages?.delete(first);
    if (messages?.size === 0) this.#senders.delete(sender);
  }
}

function sameMessage(a: Envelope, b: Envelope): boolean {
  return (
    a.type === b.type &&
    a.id === b.id &&
    a.transactionId === b.transactionId &&
    a.flags === b.flags &&
    a.epoch === b.epoch &&
    a.nextSealed === b.nextSealed &&
    a.options.part?.count === b.options.part?.count
  );
}

function join(message: Unfinished): Uint8Array {
  const whole = new Uint8Array(message.octets);
  let at = 0;
  for (const slice of message.slices) {
    whole.set(slice!, at);
    at += slice!.length;
  }
  return whole;
}
