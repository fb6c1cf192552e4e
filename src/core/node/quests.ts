/**
 * Route selection as initiator (protocol section 4.3): somebody wants a device by name or virtual address, the NMS is
 * asked once for all of them, and the answer counts only if the certificate in it has that name or address.
 */

import { type Certificate, verifyCertificate } from '../../crypto/certificate.ts';
import type { Address } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { Message } from '../../proto/codec.ts';
import { WAITING_PACKETS } from '../../proto/constants.ts';
import { Flag } from '../../proto/messages.ts';
import { Refusal, SenderKind } from '../../proto/options.ts';
import { Bucket } from '../limits.ts';
import type { NodeContext } from './context.ts';
import { readDirection } from './direction.ts';
import type { Directory } from './directory.ts';
import type { Peer } from './peer.ts';
import type { Registrar } from './registrar.ts';
import type { Reopening } from './reopening.ts';
import type { ResolveQuestion, ResolveResult } from './types.ts';

/** An answer later than this is none: the resolver's client has 4 s (ms). */
const RESOLVE_MS = 3_800;
/** How long packets wait for the NMS and its answer (ms). */
const QUEST_MS = 10_000;
const MAX_QUESTS = 256;
/** After a vain quest packets to that address are dropped for a while, so that they don't flood the NMS (ms). */
const NEGATIVE_MS = 2_000;
const MAX_NEGATIVE = 1_024;
/** Quests that packets to unknown addresses may start. */
const QUESTS = { burst: 100, perSecond: 100 };
/** An NMS that takes longer may be gone: the peer cache knows a way without (ms). */
const RECALL_AFTER_MS = 1_000;
const ABSENT_ID = '0'.repeat(32);

type Quest = {
  readonly key: string;
  readonly question: ResolveQuestion;
  readonly deadline: number;
  readonly tickets: { readonly ticket: number; readonly deadline: number }[];
  readonly packets: Uint8Array[];
  /** Known peer whose path this is to replace. */
  peer: Peer | null;
  /** A relay that is silent. */
  readonly avoid: string | null;
  asked: boolean;
  /** When the peer cache is looked at, unless an NMS answers before (ms). */
  recallAt: number;
};

export class Quests {
  readonly #context: NodeContext;
  readonly #registrar: Registrar;
  readonly #directory: Directory;
  readonly #reopening: () => Reopening;
  readonly #quests = new Map<string, Quest>();
  readonly #negative = new Map<Address, number>();
  readonly #rate = new Bucket(QUESTS);

  constructor(context: NodeContext, registrar: Registrar, directory: Directory, reopening: () => Reopening) {
    this.#context = context;
    this.#registrar = registrar;
    this.#directory = directory;
    this.#reopening = reopening;
  }

  resolve(ticket: number, question: ResolveQuestion, now: Now): void {
    const quest = this.#find(question, now);
    if (quest === null) this.#answer(ticket, { status: 'silent' });
    else quest.tickets.push({ ticket, deadline: now.ms + RESOLVE_MS });
  }

  /** A packet to an address that no known peer has. */
  packet(packet: Uint8Array, destination: Address, now: Now): void {
    if (this.isVain(destination, now)) {
      this.#context.drop('no-route');
      return;
    }
    const underWay = this.#quests.get(keyOf({ address: destination }));
    const quest = underWay ?? (this.#rate.take(now.ms) ? this.#find({ address: destination }, now) : null);
    if (quest === null || quest.packets.length >= WAITING_PACKETS) this.#context.drop('backlog-full');
    else quest.packets.push(packet);
  }

  /** A new path to a known peer. */
  seek(peer: Peer, avoid: string | null, now: Now): void {
    const quest = this.#find({ name: peer.fqdn }, now, avoid);
    if (quest === null) peer.seekFailed(now);
    else quest.peer = peer;
  }

  isSeeking(peer: Peer): boolean {
    return this.#quests.has(keyOf({ name: peer.fqdn }));
  }

  /** Whether a quest for this address was in vain a moment ago. */
  isVain(address: Address, now: Now): boolean {
    return (this.#negative.get(address) ?? 0) > now.ms;
  }

  remember(address: Address, now: Now): void {
    this.#negative.delete(address);
    this.#negative.set(address, now.ms + NEGATIVE_MS);
    if (this.#negative.size > MAX_NEGATIVE) this.#negative.delete(this.#negative.keys().next().value!);
  }

  /** The NMS can be asked now. */
  online(now: Now): void {
    for (const quest of this.#quests.values()) if (!quest.asked) this.#ask(quest, now);
  }

  /** Asks again what was asked in vain under a Common Key that is no more. */
  restart(): void {
    for (const quest of this.#quests.values()) {
      quest.asked = false;
      this.#context.cancel(quest);
    }
  }

  tick(now: Now): void {
    for (const quest of [...this.#quests.values()]) {
      while (quest.tickets[0] !== undefined && quest.tickets[0].deadline <= now.ms) {
        this.#answer(quest.tickets.shift()!.ticket, { status: 'silent' });
      }
      if (quest.deadline <= now.ms) this.#fail(quest, { status: 'silent' }, now);
      else if (quest.recallAt <= now.ms) this.#recall(quest, now);
    }
  }

  get next(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { deadline, recallAt, tickets } of this.#quests.values()) {
      next = Math.min(next, deadline, recallAt, tickets[0]?.deadline ?? next);
    }
    return next;
  }

  #find(question: ResolveQuestion, now: Now, avoid: string | null = null): Quest | null {
    const key = keyOf(question);
    const known = this.#quests.get(key);
    if (known !== undefined) return known;
    if (this.#quests.size >= MAX_QUESTS) return null;
    const deadline = now.ms + QUEST_MS;
    const recallAt = now.ms + (this.#registrar.state === 'offline' ? 0 : RECALL_AFTER_MS);
    const waiting = { tickets: [], packets: [], peer: null };
    const quest: Quest = { key, question, deadline, recallAt, ...waiting, avoid, asked: false };
    this.#quests.set(key, quest);
    this.#ask(quest, now);
    return quest;
  }

  #ask(quest: Quest, now: Now): void {
    const { nms, channel } = this.#registrar;
    const { session } = this.#context;
    if (nms === null || channel === null || session === null) return;
    quest.asked = true;
    const { question } = quest;
    this.#context.ask(
      {
        owner: quest,
        channel,
        to: nms,
        from: SenderKind.nms,
        expects: 'routeDirection',
        request: {
          type: 'directionRequest',
          id: session.nodeId,
          body: {
            applicationId: ABSENT_ID,
            pathId: this.#context.randomId(),
            fqdn: 'name' in question ? question.name : '',
            certificate: session.certificate,
          },
          options: {
            candidates: { list: this.#context.offered() },
            ...(quest.avoid !== null && { avoid: { relay: quest.avoid } }),
            ...('address' in question && { virtualAddress: { address: question.address } }),
          },
        },
        answered: (message, _, _rtt, at) => this.#answered(quest, message, at),
        failed: (at) => this.#fail(quest, { status: 'silent' }, at),
      },
      now,
    );
  }

  #answered(quest: Quest, message: Message, now: Now): void {
    if ((message.flags & Flag.failure) !== 0 || message.type !== 'routeDirection') {
      // It may be we who are offline, in the eyes of an NMS that has lost its memory.
      if (message.options.refusal?.reason === Refusal.offline) this.#registrar.check(now);
      this.#absent(quest, message.options.certificate?.certificate, now);
      this.#fail(quest, refusalResult(message.options.refusal?.reason), now);
      return;
    }
    const direction = readDirection(this.#context, message, 'initiator', now);
    if (typeof direction === 'string') {
      this.#context.refuse(direction, { asked: quest.key });
      this.#fail(quest, { status: 'silent' }, now);
      return;
    }
    // Names are bound to certificates, not to the NMS (section 2.1).
    const mismatch = mismatchOf(quest.question, direction.peer);
    if (mismatch !== null) {
      this.#context.refuse(mismatch, { asked: quest.key, certificate: direction.peer.fqdn });
      this.#fail(quest, { status: 'silent' }, now);
      return;
    }
    this.#directory.shown(direction.peer, now);
    const peer = this.#directory.learn(direction.peer, now);
    const opened = peer === null ? null : this.#directory.open(peer, direction, now);
    if (peer === null || opened === null) {
      this.#context.drop('path-in-use');
      this.#fail(quest, { status: 'silent' }, now);
      return;
    }
    peer.budget.wish();
    this.#found(quest, peer);
    if (opened.isNew) opened.path.begin(now);
  }

  /** It is not there, and its certificate shows whether its keys are those that we know. */
  #absent({ question }: Quest, certificate: Uint8Array | undefined, now: Now): void {
    const { session, primitives } = this.#context;
    if (certificate === undefined || session === null) return;
    const peer = verifyCertificate(primitives, certificate, session.caPublicKey, now.wall);
    if (typeof peer !== 'string' && mismatchOf(question, peer) === null) this.#directory.shown(peer, now);
  }

  /** No NMS has answered so far. */
  #recall(quest: Quest, now: Now): void {
    quest.recallAt = Number.POSITIVE_INFINITY;
    const peer = this.#reopening().open(quest.question, now);
    if (peer === null) return;
    this.#context.cancel(quest);
    this.#found(quest, peer);
  }

  #found(quest: Quest, peer: Peer): void {
    this.#quests.delete(quest.key);
    for (const { ticket } of quest.tickets) this.#answer(ticket, foundOf(peer.certificate));
    peer.adopt(quest.packets);
  }

  #fail(quest: Quest, result: ResolveResult, now: Now): void {
    this.#quests.delete(quest.key);
    this.#context.cancel(quest);
    for (const { ticket } of quest.tickets) this.#answer(ticket, result);
    for (const _ of quest.packets) this.#context.drop('no-route');
    if ('address' in quest.question) this.remember(quest.question.address, now);
    if (result.status !== 'silent') this.#reopening().denied(quest.question, now);
    quest.peer?.seekFailed(now);
  }

  #answer(ticket: number, result: ResolveResult): void {
    this.#context.emit({ do: 'answer', ticket, result });
  }
}

export function foundOf({
  fqdn,
  vip4,
  vip6,
  nodeId,
}: Pick<Certificate, 'fqdn' | 'vip4' | 'vip6' | 'nodeId'>): ResolveResult {
  return { status: 'found', fqdn, vip4, vip6, nodeId };
}

function keyOf(question: ResolveQuestion): string {
  return 'name' in question ? question.name : question.address;
}

function mismatchOf(question: ResolveQuestion, peer: Certificate): 'certificate-name' | 'certificate-address' | null {
  if ('name' in question) return peer.fqdn === question.name ? null : 'certificate-name';
  return peer.vip4 === question.address || peer.vip6 === question.address ? null : 'certificate-address';
}

function refusalResult(reason: number | undefined): ResolveResult {
  if (reason === Refusal.unknownName || reason === Refusal.disabled) return { status: 'unknown' };
  if (reason === Refusal.policy) return { status: 'refused' };
  return { status: 'silent' };
}
