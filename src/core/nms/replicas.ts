/**
 * Replicas of one NMS: the same identity at the same address, with the network spreading nodes' datagrams over them.
 * What a replica knows of where nodes are, it shares; what it asks, it asks itself, from the address they all have. The
 * answer may arrive at another one, which finds whose it is in the Transaction ID: its first octet is the number of the
 * replica that chose it (as connection IDs carry the server's in QUIC-LB), so that passing it on takes no memory, key
 * or trust. A replica holds its number by a claim in the store, and takes another one where it lost that.
 *
 * All of it is worth having and nothing of it needed: without the store each replica goes on with what it knows itself.
 */

import type { Device } from '../../lib/device.ts';
import { type Endpoint, formatEndpoint, sameEndpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { Envelope } from '../../proto/codec.ts';
import type { MessageName } from '../../proto/messages.ts';
import { Buckets, siteOf } from '../limits.ts';
import { dropped } from '../service.ts';
import type { Action } from './actions.ts';
import type { PresentNode } from './presence.ts';

type Values = readonly (string | null)[] | null;
type Then = (values: Values, now: Now) => Action[];

export type ReplicasOptions = {
  /** This replica's at the moment, 0 to 255; null = it is the only one. */
  readonly number: (() => number) | null;
  /** A node takes datagrams only from the replica that hears it, as a balancer in front translates addresses. */
  readonly behindBalancer: boolean;
  /** What is shared is written by this process only. */
  readonly alone: boolean;
  readonly nextTicket: () => number;
  readonly known: (nodeId: string) => PresentNode | undefined;
  readonly admit: (device: Device, now: Now) => PresentNode;
};

const MAX_OPEN = 8_192;
const MAX_HEARERS = 100_000;
/** Longer than the store takes to answer or refuse. */
const TIMEOUT_MS = 2_000;
/** Answers of one site that are passed on: many nodes may share an address. */
const PASS_RATE = { burst: 4_096, perSecond: 4_000 };
/** Whom a node has paths with is remembered as long as their keys count (ms). */
const PEERS_MS = 7 * 24 * 3_600_000;

const answers = new Set<MessageName>(['ack', 'routeDirectionConfirmation', 'relayResponse']);

export class Replicas {
  readonly #options: ReplicasOptions;
  readonly #open = new Map<number, { readonly deadline: number; readonly then: Then }>();
  readonly #passes = new Buckets(PASS_RATE);
  /** Of endpoints heard by others: by whom. */
  readonly #hearers = new Map<string, number>();

  constructor(options: ReplicasOptions) {
    this.#options = options;
  }

  get #number(): number | null {
    return this.#options.number?.() ?? null;
  }

  /** What becomes of a datagram that answers another replica; null = it is none. */
  pass(datagram: Uint8Array, { type, transactionId }: Envelope, from: Endpoint, now: Now): Action[] | null {
    const number = this.#number;
    const replica = transactionId >>> 24;
    if (number === null || number === replica || !answers.has(type)) return null;
    if (!this.#passes.take(siteOf(from), now.ms)) return dropped('rate-limited', from);
    return [
      { do: 'count', name: 'passed-on' },
      { do: 'pass', replica, datagram, from },
    ];
  }

  /** Something that is authentic arrived here from there. */
  hears(from: Endpoint): void {
    if (this.#hearers.size > 0) this.#hearers.delete(formatEndpoint(from));
  }

  /** What is for nodes that another replica hears, that one has to send; not what answers a datagram from `answered`. */
  route(actions: Action[], answered: Endpoint | null): Action[] {
    if (this.#hearers.size === 0) return actions;
    return actions.map((action) => {
      if (action.do === 'send' && answered !== null && sameEndpoint(action.to, answered)) return action;
      const replica = action.do === 'send' ? this.#hearers.get(formatEndpoint(action.to)) : undefined;
      if (replica === undefined || action.do !== 'send') return action;
      return { do: 'sendFrom', replica, to: action.to, datagram: action.datagram };
    });
  }

  #learn(node: PresentNode): void {
    if (!this.#options.behindBalancer) return;
    for (const { endpoint, replica } of node.sightings) {
      const key = formatEndpoint(endpoint);
      this.#hearers.delete(key);
      if (replica !== null && replica !== this.#number) this.#hearers.set(key, replica);
    }
    for (const oldest of this.#hearers.keys()) {
      if (this.#hearers.size <= MAX_HEARERS) break;
      this.#hearers.delete(oldest);
    }
  }

  /** Takes over what others, or earlier lives of this process, know of a node, then goes on. */
  refresh(device: Device, now: Now, then: (now: Now) => Action[]): Action[] {
    const { alone, known } = this.#options;
    if (alone && known(device.nodeId)?.present) return then(now);
    return this.#ask(
      (ticket) => ({ do: 'recall', ticket, keys: keysOf(device.nodeId) }),
      now,
      (values, later) => {
        if (values?.some((value) => value !== null)) {
          const node = this.#options.admit(device, later);
          node.restore(values, later);
          this.#learn(node);
        }
        return then(later);
      },
    );
  }

  /** Shares what is new of a node. */
  share(node: PresentNode, now: Now): Action[] {
    if (this.#number === null) return [];
    return node.dueRecords(now).map(({ name, value, lifeMs }) => {
      return { do: 'keep', key: `${name} ${node.nodeId}`, value, lifeMs };
    });
  }

  /** Two nodes have a path. */
  connect(initiator: string, responder: string): Action[] {
    if (this.#number === null) return [];
    const lifeMs = PEERS_MS;
    return [
      { do: 'include', set: peersOf(initiator), member: responder, lifeMs },
      { do: 'include', set: peersOf(responder), member: initiator, lifeMs },
    ];
  }

  /** Whom a node had paths with by any replica, told to one of them only; empty if nobody knows. */
  disconnect(nodeId: string, now: Now, then: (peers: readonly string[], now: Now) => Action[]): Action[] {
    return this.#ask(
      (ticket) => ({ do: 'take', ticket, set: peersOf(nodeId) }),
      now,
      (values, later) =>
        then(
          (values ?? []).filter((peer) => peer !== null),
          later,
        ),
    );
  }

  recalled(ticket: number, values: Values, now: Now): Action[] {
    const open = this.#open.get(ticket);
    this.#open.delete(ticket);
    return open?.then(values, now) ?? [];
  }

  /** Goes on without what was never answered. */
  tick(now: Now): Action[] {
    const late = [...this.#open].filter(([, { deadline }]) => deadline <= now.ms);
    return late.flatMap(([ticket]) => this.recalled(ticket, null, now));
  }

  #ask(question: (ticket: number) => Action, now: Now, then: Then): Action[] {
    if (this.#number === null || this.#open.size >= MAX_OPEN) return then(null, now);
    const ticket = this.#options.nextTicket();
    this.#open.set(ticket, { deadline: now.ms + TIMEOUT_MS, then });
    return [question(ticket)];
  }
}

/** Three records, as the two families of a node may be heard by different replicas. */
function keysOf(nodeId: string): string[] {
  return ['node', 'at4', 'at6', 'atstreamed'].map((name) => `${name} ${nodeId}`);
}

/** The set of those a node has paths with, by NodeID. */
export function peersOf(nodeId: string): string {
  return `peers ${nodeId}`;
}
