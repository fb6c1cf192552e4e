/** What kind of NAT is in between: looked at whenever we are seen from elsewhere, and when somebody asks. */

import type { MirrorSight, NatReport, NatType } from '../../core/node/nat-check.ts';
import type { MappingProtocol } from '../../core/node/port-mapping.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import { type Family, familyOf, formatEndpoint, formatPrefix, type Prefix } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import type { Mirror, RelayTime } from '../../proto/options.ts';
import { probeNat } from './nat-probe.ts';
import { discoverNat64 } from './nat64.ts';

/** After a change of address several registrations and handshakes go before (ms). */
const SETTLED_MS = 1_500;

const families = [4, 6] as const;

export type NatWatchOptions = {
  readonly primitives: Primitives;
  readonly log: Log;
  readonly nodeId: () => string;
  readonly mirrors: () => readonly Mirror[];
  readonly streams: () => readonly string[];
  /** Told after every look how far the relays are. */
  readonly measured: (times: readonly RelayTime[]) => void;
  readonly portMapping: () => MappingProtocol | null;
  /** By which IPv4 is reached, if not as it is. */
  readonly nat64: () => Prefix | null;
};

export type NetcheckRelay = { readonly name: string; readonly address: string; readonly rttMs: number | null };

export type NetcheckReport = {
  /** Whether a service was reached by this family. */
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  /** Whether a service was reached over UDP at all. */
  readonly udp: boolean;
  /** Where services are reached over TLS at this moment, because UDP is blocked. */
  readonly tls: readonly string[];
  readonly natType: NatType | null;
  readonly mapped: readonly string[];
  readonly portMapping: MappingProtocol | null;
  readonly nat64Prefix: string | null;
  readonly relays: readonly NetcheckRelay[];
  readonly preferredRelay: string | null;
};

export class NatWatch {
  readonly #options: NatWatchOptions;
  #timer: NodeJS.Timeout | undefined;
  #reports: ReadonlyMap<Family, NatReport> = new Map();
  #looking: Promise<void> | null = null;

  constructor(options: NatWatchOptions) {
    this.#options = options;
  }

  /** That of IPv4. */
  get natType4(): NatType | null {
    return this.#reports.get(4)?.type ?? null;
  }

  /** That of IPv4, which is where NATs are, if a service was reached by it. */
  get natType(): NatType | null {
    return this.natType4 ?? this.#reports.get(6)?.type ?? null;
  }

  /** Seen from elsewhere: looks soon. */
  moved(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#look(), SETTLED_MS);
  }

  /** Looks now. */
  async netcheck(): Promise<NetcheckReport> {
    const [nat64] = await Promise.all([discoverNat64(), this.#look()]);
    const sights = [...this.#reports.values()].flatMap((report) => report.sights);
    const reached = sights.filter(({ mapped }) => mapped !== null);
    const by = (family: Family): boolean => reached.some(({ mirror }) => familyOf(mirror.address) === family);
    const relays = relaysOf(sights);
    return {
      ipv4: by(4),
      ipv6: by(6),
      udp: reached.length > 0,
      tls: this.#options.streams(),
      natType: this.natType,
      mapped: [...new Set(reached.map(({ mapped }) => formatEndpoint(mapped!)))],
      portMapping: this.#options.portMapping(),
      nat64Prefix: nat64 === null ? null : formatPrefix(nat64),
      relays,
      preferredRelay: relays.find(({ rttMs }) => rttMs !== null)?.name ?? null,
    };
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  /** One look at a time: who asks meanwhile gets the same. */
  #look(): Promise<void> {
    this.#looking ??= this.#probe().finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  async #probe(): Promise<void> {
    const { primitives, log, nodeId, mirrors, measured, nat64 } = this.#options;
    const reports = new Map<Family, NatReport>();
    const all = mirrors();
    await Promise.all(
      families.map(async (family) => {
        const ofFamily = all.filter(({ address }) => familyOf(address) === family);
        if (ofFamily.length === 0) return;
        try {
          reports.set(family, await probeNat(primitives, nodeId(), ofFamily, family, family === 4 ? nat64() : null));
        } catch (error) {
          log.debug('no socket to look for NATs', { family, why: String(error) });
        }
      }),
    );
    this.#reports = new Map(
      families.flatMap((family) => (reports.has(family) ? [[family, reports.get(family)!]] : [])),
    );
    measured([...this.#reports.values()].flatMap(({ sights }) => timesOf(sights)));
  }
}

/** What the NMS is told: also who is silent, but nothing of an answer that may belong to any of several questions. */
function timesOf(sights: readonly MirrorSight[]): RelayTime[] {
  return sights
    .filter(({ mirror, mapped, rttMs }) => mirror.role === 'trs' && (mapped === null || rttMs !== null))
    .map(({ mirror: { address, port }, rttMs }) => ({ address, port, rttMs }));
}

/** Each relay once, with its best address; the nearest first, silent ones last. */
function relaysOf(sights: readonly MirrorSight[]): NetcheckRelay[] {
  const times = sights
    .filter(({ mirror }) => mirror.role === 'trs')
    .map(({ mirror, rttMs }) => ({ name: mirror.name, address: formatEndpoint(mirror), rttMs }))
    .sort((a, b) => (a.rttMs ?? Number.POSITIVE_INFINITY) - (b.rttMs ?? Number.POSITIVE_INFINITY));
  return times.filter((time, i) => times.findIndex(({ name }) => name === time.name) === i);
}
