/**
 * The ways to a peer on one path: its candidate addresses, and the relay. A way is used only after it was proven: its far
 * end sent back a random challenge, or a fresh handshake went through it (protocol section 2.3).
 */

import { type Endpoint, isPrivate, sameEndpoint } from '../../lib/ip.ts';
import type { Candidate } from '../../proto/options.ts';
import type { PathKind } from './types.ts';

/** `reflexive`: nobody announced it, authentic messages came from there. */
export type WayOrigin = Candidate['kind'] | 'reflexive' | 'relay';

export type Way = {
  readonly endpoint: Endpoint;
  readonly origin: WayOrigin;
  /** When it was last proven (ms), null = not, or not any more. */
  provenAt: number | null;
  /** There are signs that the peer has left it: another proven way goes before it. */
  doubted: boolean;
  rttMs: number | null;
  /** Last time a message from there made us probe it (ms). */
  triggeredAt: number;
};

/** A way not in use loses its NAT mapping and with it its proof (ms). */
const PROOF_MS = 45_000;
const MAX_REFLEXIVE = 8;
/** A way of equal rank replaces the one in use only if it is this much faster. */
const FASTER = 0.7;

const ranks: { readonly [O in WayOrigin]: number } = { host: 0, forwarded: 1, mapped: 1, reflexive: 2, relay: 9 };
const DOUBT = 4;

export class Ways {
  #list: Way[];
  /** Where capsules go. */
  chosen: Way | null = null;

  constructor(candidates: readonly Candidate[]) {
    this.#list = candidates.map(({ address, port, kind }) => newWay({ address, port }, kind));
  }

  get direct(): readonly Way[] {
    return this.#list.filter(({ origin }) => origin !== 'relay');
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

  #isBetter(way: Way, than: Way): boolean {
    const [rank, thanRank] = [rankOf(way), rankOf(than)];
    if (rank !== thanRank) return rank < thanRank;
    const [rtt, thanRtt] = [way.rttMs ?? Number.POSITIVE_INFINITY, than.rttMs ?? Number.POSITIVE_INFINITY];
    if (than === this.chosen) return rtt < thanRtt * FASTER;
    return way === this.chosen ? rtt * FASTER < thanRtt || rtt === thanRtt : rtt < thanRtt;
  }

  /** After a move every old proof is in doubt. */
  doubtAll(): void {
    for (const way of this.#list) way.doubted = true;
  }
}

function newWay(endpoint: Endpoint, origin: WayOrigin): Way {
  return { endpoint, origin, provenAt: null, doubted: false, rttMs: null, triggeredAt: Number.NEGATIVE_INFINITY };
}

function rankOf(way: Way): number {
  return ranks[way.origin] + (way.doubted ? DOUBT : 0);
}

/** How `status` names a way; `lan`: the NMS saw both ends behind one NAT. */
export function kindOf(way: Way, lan: boolean): PathKind {
  if (way.origin === 'relay') return 'relay';
  return lan && isPrivate(way.endpoint.address) ? 'lan' : 'direct';
}
