/** What replicas tell each other of a node, as text: none of it is believed further than the node's own datagrams were. */

import { type Address, canonicalAddress, type Endpoint, endpointIn, type Family } from '../../lib/ip.ts';
import { type Candidate, candidateKinds, type RelayTime } from '../../proto/options.ts';

/** The message of the node that a record goes back to. */
export type Stamp = {
  /** The node's life. */
  readonly instance: string;
  readonly sequence: number;
  /** Unix milliseconds. */
  readonly at: number;
};

/** What a node said in its latest Registration Request. */
export type Registration = Stamp & {
  readonly port: number;
  readonly real: Readonly<Record<Family, Address | null>>;
  readonly hosts: readonly Candidate[];
  readonly suites: number;
  /** Round trips from it to TRSs. */
  readonly relayTimes: readonly RelayTime[];
  /** The life whose *first* registration was dealt with. */
  readonly first: string | null;
};

/** Where datagrams of one family came from last. */
export type Sighting = Stamp & {
  readonly endpoint: Endpoint;
  /** Number of the replica that heard them; null = the only one. */
  readonly replica: number | null;
};

/** It said that it leaves. */
export type Goodbye = Stamp & { readonly left: true };

/** Within one life of the node its own numbers say what is newer; clocks of replicas only decide between two lives. */
export function isNewer(one: Stamp, other: Stamp | null): boolean {
  if (other === null) return true;
  return one.instance === other.instance ? one.sequence > other.sequence : one.at >= other.at;
}

/** Null = there is none, or it is of another version of the program. */
export function parseSighting(text: string | null | undefined): Sighting | null {
  const found = parseStamped(text);
  if (found === null) return null;
  const endpoint = endpointIn(found.endpoint);
  const replica = typeof found.replica === 'number' ? found.replica : null;
  return endpoint === null ? null : { ...stampOf(found), endpoint, replica };
}

export function parseRegistration(text: string | null | undefined): Registration | Goodbye | null {
  const found = parseStamped(text);
  if (found === null) return null;
  if (found.left === true) return { ...stampOf(found), left: true };
  const { port, suites, first, hosts, relayTimes } = found;
  const real = (found.real ?? {}) as Record<string, unknown>;
  if (typeof port !== 'number' || typeof suites !== 'number' || !Array.isArray(hosts)) return null;
  return {
    ...stampOf(found),
    port,
    suites,
    first: typeof first === 'string' ? first : null,
    relayTimes: (Array.isArray(relayTimes) ? relayTimes : []).flatMap((time: Fields) => {
      const endpoint = endpointIn(time);
      const rttMs = time?.rttMs;
      return endpoint === null || !(rttMs === null || typeof rttMs === 'number') ? [] : [{ ...endpoint, rttMs }];
    }),
    real: { 4: addressOf(real['4']), 6: addressOf(real['6']) },
    hosts: hosts.flatMap((host: Fields) => {
      const endpoint = endpointIn(host);
      const kind = candidateKinds.find((known) => known === host?.kind);
      return endpoint === null || kind === undefined ? [] : [{ ...endpoint, kind }];
    }),
  };
}

type Fields = Readonly<Record<string, unknown>>;

function parseStamped(text: string | null | undefined): (Fields & Stamp) | null {
  if (text == null) return null;
  try {
    const found = JSON.parse(text) as Partial<Stamp> & Fields;
    const { instance, sequence, at } = found;
    const stamped = typeof instance === 'string' && typeof sequence === 'number' && typeof at === 'number';
    return stamped ? { ...found, instance, sequence, at } : null;
  } catch {
    return null;
  }
}

function stampOf({ instance, sequence, at }: Stamp): Stamp {
  return { instance, sequence, at };
}

function addressOf(value: unknown): Address | null {
  return typeof value === 'string' ? canonicalAddress(value) : null;
}
