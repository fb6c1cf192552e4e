/**
 * The ways to a peer on one path: its candidate addresses, and the relay. A way is used only after it was proven: its far
 * end sent back a random challenge, or a fresh handshake went through it (protocol section 2.3).
 */

import { type Endpoint, familyOf, formatEndpoint, isPrivate, sameEndpoint } from '../../lib/ip.ts';
import { type Candidate, MAX_CANDIDATES } from '../../proto/options.ts';
import type { Arrival } from './context.ts';
import type { PathKind } from './types.ts';

/** `reflexive`: nobody announced it, authentic messages came from there. */
export type WayOrigin = Candidate['kind'] | 'reflexive' | 'relay';

export type Way = {
  readonly endpoint: Endpoint;
  readonly origin: WayOrigin;
  /** When it was last proven (ms), null = not, or not any more. */
  provenAt: number | null;
  /** Whether it ever was: the peer was there. */
  answered: boolean;
  /** There are signs that the peer has left it: another proven way goes before it. */
  doubted: boolean;
  rttMs: number | null;
  /** Of its last round trips, the latest in the lowest bit, 1 = lost; and how many there were. */
  losses: number;
  outcomes: number;
  /** Octets of the largest datagram that it was found to carry. */
  carries: number | null;
  /** The peer is being asked over it whether it still works, in a hurry or not. */
  checking: 'soon' | 'regularly' | null;
  /** Last time a message from there made us probe it (ms). */
  triggeredAt: number;
};

/** A way not in use is trusted for so long after its last proof (ms). */
const PROOF_MS = 6_500;
const MAX_REFLEXIVE = 8;
/** A way of equal class replaces the one in use only for a gain of 20 % or 10 ms, whichever is larger. */
const GAIN = 0.2;
const GAIN_MS = 10;
/** Outcomes remembered of a way; so many count; so many losses say something; one loss in a hundred weighs like this (ms). */
const OUTCOMES = 32;
const LEAST_OUTCOMES = 8;
const LEAST_LOSSES = 2;
const LOSS_MS = 10;

/** A relay reached by a stream is the last resort: what is lost there holds up what follows. */
const Class = { lan: 0, direct: 1, relay: 8, streamed: 9, doubted: 10 } as const;

export class Ways {
  #list: Way[];
  #announced: string;
  /** Where capsules go. */
  chosen: Way | null = null;

  constructor(candidates: readonly Candidate[]) {
    this.#list = candidates.map(({ address, port, kind }) => newWay({ address, port }, kind));
    this.#announced = textOf(candidates);
  }

  get all(): readonly Way[] {
    return this.#list;
  }

  get direct(): readonly Way[] {
    return this.#list.filter(({ origin }) => origin !== 'relay');
  }

  /** Where the peer may be: the way in use, then proven ones, then what it announced. */
  get candidates(): Candidate[] {
    const rank = (way: Way): number => (way === this.chosen ? 0 : way.provenAt !== null ? 1 : 2);
    return this.direct
      .filter((way) => way.origin !== 'reflexive' || way.provenAt !== null)
      .sort((a, b) => rank(a) - rank(b))
      .slice(0, MAX_CANDIDATES)
      .map(({ endpoint, origin }) => ({ ...endpoint, kind: isAnnounced(origin) ? origin : 'mapped' }));
  }

  find(endpoint: Endpoint, relayed: boolean): Way | undefined {
    return this.#list.find((way) => sameEndpoint(way.endpoint, endpoint) && (way.origin === 'relay') === relayed);
  }

  /** The way that a datagram came in; a new one takes the place of an unproven reflexive one if there are many. */
  findOrAdd(endpoint: Endpoint, relayed: boolean): Way {
    const known = this.find(endpoint, relayed);
    if (known !== undefined) return known;
    const way = newWay(endpoint, relayed ? 'relay' : 'reflexive');
    const reflexive = this.#list.filter(({ origin }) => origin === 'reflexive');
    if (way.origin === 'reflexive' && reflexive.length >= MAX_REFLEXIVE) {
      const idle = reflexive.filter((w) => w !== this.chosen);
      const victim = idle.find(({ provenAt }) => provenAt === null) ?? idle[0];
      this.#list = this.#list.filter((w) => w !== victim);
    }
    this.#list.push(way);
    return way;
  }

  isProven(way: Way, ms: number): boolean {
    return way.provenAt !== null && (way === this.chosen || ms - way.provenAt < PROOF_MS);
  }

  /** The proven way to use now; null if there is none. */
  best(ms: number): Way | null {
    let best: Way | null = null;
    for (const way of this.#list) {
      if (this.isProven(way, ms) && (best === null || this.#isBetter(way, best))) best = way;
    }
    return best;
  }

  /** By class, then by round trip; of two that are about as fast IPv6 goes first, where no NAT forgets. */
  #isBetter(way: Way, than: Way): boolean {
    const [rank, thanRank] = [classOf(way), classOf(than)];
    if (rank !== thanRank) return rank < thanRank;
    if (way === this.chosen) return !outdoes(than, way);
    return than === this.chosen ? outdoes(way, than) : costOf(way) < costOf(than);
  }

  /** Where the peer most likely is, before anything is proven; `lan`: the NMS saw both ends behind one NAT. */
  likely(lan: boolean, mayReach: (endpoint: Endpoint) => boolean): Arrival | null {
    const reachable = this.direct.filter(({ endpoint }) => mayReach(endpoint));
    const way = reachable.find(({ endpoint }) => isPrivate(endpoint.address) === lan) ?? reachable[0];
    return way === undefined ? null : arrivalOf(way);
  }

  /** Whether the peer said the same before. */
  isAnnounced(candidates: readonly Candidate[]): boolean {
    return textOf(candidates) === this.#announced;
  }

  /** What the peer says it may be reached at now. Returns the ways that came and went. */
  announce(candidates: readonly Candidate[]): { readonly added: Way[]; readonly withdrawn: Way[] } {
    this.#announced = textOf(candidates);
    const isListed = (way: Way): boolean => candidates.some((candidate) => sameEndpoint(candidate, way.endpoint));
    // What is in use is left only for something better.
    const stays = (way: Way): boolean => way === this.chosen || !isAnnounced(way.origin) || isListed(way);
    const withdrawn = this.#list.filter((way) => !stays(way));
    this.#list = this.#list.filter(stays);
    const unknown = candidates.filter((candidate) => this.find(candidate, false) === undefined);
    const added = unknown.map(({ address, port, kind }) => newWay({ address, port }, kind));
    this.#list.push(...added);
    return { added, withdrawn };
  }

  /** After a move every old proof is in doubt, and void where it can't hold. */
  doubtAll(mayReach: (endpoint: Endpoint) => boolean): void {
    for (const way of this.#list) {
      way.doubted = true;
      if (!mayReach(way.endpoint)) way.provenAt = null;
    }
  }
}

function newWay(endpoint: Endpoint, origin: WayOrigin): Way {
  const unknown = {
    provenAt: null,
    answered: false,
    doubted: false,
    rttMs: null,
    losses: 0,
    outcomes: 0,
    carries: null,
    checking: null,
  };
  return { endpoint, origin, ...unknown, triggeredAt: Number.NEGATIVE_INFINITY };
}

function textOf(candidates: readonly Candidate[]): string {
  return candidates.map(formatEndpoint).sort().join(' ');
}

/** Whether the peer itself, or the NMS for it, named the address. */
function isAnnounced(origin: WayOrigin): origin is Candidate['kind'] {
  return origin !== 'relay' && origin !== 'reflexive';
}

function classOf({ origin, endpoint, doubted }: Way): number {
  const relay = endpoint.over === 'tls' ? Class.streamed : Class.relay;
  const own = origin === 'relay' ? relay : isPrivate(endpoint.address) ? Class.lan : Class.direct;
  return own + (doubted ? Class.doubted : 0);
}

export function arrivalOf({ endpoint, origin }: Way): Arrival {
  return { from: endpoint, relayed: origin === 'relay' };
}

/** One round trip came back, or did not. */
export function noteOutcome(way: Way, lost: boolean): void {
  way.losses = (way.losses << 1) | (lost ? 1 : 0);
  way.outcomes = Math.min(OUTCOMES, way.outcomes + 1);
}

/** The share of round trips that is lost; 0 while too little is known to say so. */
export function lossOf({ losses, outcomes }: Way): number {
  let lost = 0;
  for (let bits = losses; bits !== 0; bits &= bits - 1) lost++;
  return outcomes < LEAST_OUTCOMES || lost < LEAST_LOSSES ? 0 : lost / outcomes;
}

/** Round trip with the loss in it (ms). */
function costOf(way: Way): number {
  return (way.rttMs ?? Number.POSITIVE_INFINITY) + 100 * LOSS_MS * lossOf(way);
}

/** Whether a way is so much better than the one in use that packets move to it. */
function outdoes(way: Way, used: Way): boolean {
  const [cost, usedCost] = [costOf(way), costOf(used)];
  const gain = Math.max(GAIN_MS, GAIN * Math.max(cost, usedCost));
  const isNewer = familyOf(way.endpoint.address) > familyOf(used.endpoint.address);
  // A way is not left for its loss before as much is known of the other one.
  if (lossOf(used) > 0 && way.outcomes < LEAST_OUTCOMES) return false;
  return isNewer ? cost < usedCost + gain : cost < usedCost - gain;
}

/** How `status` names a way; `lan`: the NMS saw both ends behind one NAT. */
export function kindOf(way: Way, lan: boolean): PathKind {
  if (way.origin === 'relay') return 'relay';
  return lan && isPrivate(way.endpoint.address) ? 'lan' : 'direct';
}
