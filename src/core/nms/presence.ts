/** The nodes this NMS hears of: where each is (protocol section 4.2) and the channels to speak with it. */

import type { Primitives } from '../../crypto/primitives.ts';
import { sameOctets } from '../../lib/bytes.ts';
import type { Device, Service } from '../../lib/device.ts';
import {
  type Address,
  type Endpoint,
  type Family,
  familyOf,
  formatEndpoint,
  isForbiddenOuter,
  type Prefix,
  sameEndpoint,
} from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { Envelope, Message, MessageOf } from '../../proto/codec.ts';
import { PRESENCE_MS, Suite } from '../../proto/constants.ts';
import { Flag } from '../../proto/messages.ts';
import { type Candidate, MAX_CANDIDATES, SenderKind } from '../../proto/options.ts';
import type { PartBuffer } from '../../proto/parts.ts';
import { Channel, type Opened, type Sender } from '../channel.ts';
import { Answers } from '../exchange.ts';
import {
  type Goodbye,
  isNewer,
  parseRegistration,
  parseSighting,
  type Registration,
  type Sighting,
} from './records.ts';

/** A sighting with the time of this process (ms); whether peers may be told of the place, and its name. */
type Mapped = Sighting & { readonly heard: number; readonly offerable: boolean; readonly place: string };

export type PresenceOptions = {
  readonly primitives: Primitives;
  readonly overlay: readonly Prefix[];
  readonly parts: PartBuffer;
};

/** Where a node is seen: by family, or at a TRS that takes what it shall get over TLS, which no peer can use. */
const ways = [4, 6, 'streamed'] as const;
type Way = (typeof ways)[number];
const recordOf = { 4: 'at4', 6: 'at6', streamed: 'atstreamed' } as const;
/** Willing to use what every node can, if it didn't say. */
const DEFAULT_SUITES = (1 << Suite.aes256Gcm) | (1 << Suite.chacha20Poly1305);
/** A TRS that a node has not measured, and one that did not answer it (ms). */
const UNMEASURED_MS = 500;
const SILENT_MS = 10_000;
const RELOAD_MS = 1_000;
/** The register and the other replicas are told anew of a node that stays where it is (ms). */
const SEEN_MS = 45_000;
/** Records outlive the node's presence by the time in which they are not renewed (ms). */
const RECORD_MS = PRESENCE_MS + SEEN_MS;

export class PresentNode {
  readonly #options: PresenceOptions;
  #device: Device;
  /** Current and pending Common Key; the one that opened the latest datagram first. */
  #channels: { readonly key: Uint8Array; readonly channel: Channel }[] = [];
  readonly #mapped: Record<Way, Mapped | null> = { 4: null, 6: null, streamed: null };
  #registration: Registration | null = null;
  #goodbye: Goodbye | null = null;
  readonly answers = new Answers();
  /** When a datagram of this node was last authenticated, or the node was first asked for (ms). */
  heard: number;
  /** Disabled or removed: it is only told so. */
  revoked = false;
  /** It lived before this NMS did, or made more paths than are remembered: it may have some that we know nothing of. */
  mayHaveUnknownPaths = false;
  #reloadAt = Number.NEGATIVE_INFINITY;
  #seenAt = Number.NEGATIVE_INFINITY;
  /** What other replicas were told, or told us, and when (ms). */
  readonly #shared = new Map<string, { readonly what: unknown; readonly at: number }>();

  constructor(options: PresenceOptions, device: Device, now: Now) {
    this.#options = options;
    this.#device = device;
    this.heard = now.ms;
    this.update(device);
  }

  get nodeId(): string {
    return this.#device.nodeId;
  }

  get device(): Device {
    return this.#device;
  }

  get registered(): boolean {
    return this.#registration !== null;
  }

  /** Whether it can be spoken to. */
  get present(): boolean {
    return this.registered && this.endpoint() !== null;
  }

  get suites(): number {
    return this.#registration?.suites ?? DEFAULT_SUITES;
  }

  get port(): number {
    return this.#registration?.port ?? 0;
  }

  /** Takes over a newer record: channels of keys that are no longer in force end. */
  update(device: Device): void {
    this.#device = device;
    const keys = [device.commonKey, device.pendingCommonKey].filter((key) => key !== null);
    const kept = this.#channels.filter((c) => keys.some((key) => sameOctets(key, c.key)));
    for (const gone of this.#channels) if (!kept.includes(gone)) gone.channel.close();
    const added = keys.filter((key) => !kept.some((c) => sameOctets(key, c.key)));
    this.#channels = [...kept, ...added.map((key) => ({ key, channel: this.#channelOf(key) }))];
  }

  /** The channel this node speaks on; a new one once its numbers are used up. */
  get channel(): Channel | null {
    const first = this.#channels[0];
    if (first === undefined || !first.channel.exhausted) return first?.channel ?? null;
    first.channel.close();
    const renewed = { key: first.key, channel: this.#channelOf(first.key) };
    this.#channels[0] = renewed;
    return renewed.channel;
  }

  open(datagram: Uint8Array, envelope: Envelope, from: Endpoint, now: Now, answersUs: boolean): Opened {
    for (const entry of this.#channels) {
      const opened = entry.channel.open(datagram, envelope, from, now, answersUs);
      if (opened.kind === 'drop' && opened.reason === 'tag') continue;
      if (opened.kind === 'message' && entry !== this.#channels[0]) {
        this.#channels = [entry, ...this.#channels.filter((c) => c !== entry)];
      }
      return opened;
    }
    return { kind: 'drop', reason: 'tag' };
  }

  /** An authenticated datagram from a proven address; one that was overtaken on its way moves nothing back. */
  hear(
    { instance }: Sender,
    { sequence, flags }: Pick<Message, 'sequence' | 'flags'>,
    from: Endpoint,
    replica: number | null,
    now: Now,
  ): void {
    if (this.revoked) return;
    this.heard = now.ms;
    const way = (flags & Flag.streamed) !== 0 ? 'streamed' : familyOf(from.address);
    const last = this.#mapped[way];
    if (last?.instance === instance && last.sequence > sequence) return;
    const sighting = { endpoint: from, instance, sequence, at: now.wall, replica };
    const stays = last !== null && last.replica === replica && sameEndpoint(last.endpoint, from);
    const { offerable, place } = stays ? last : this.#placeOf(sighting);
    this.#mapped[way] = { ...sighting, heard: now.ms, offerable, place };
  }

  /** Whether this is the first thing a new life of the node says, so that nothing of its former one counts any more. */
  register(
    { body, options, sequence, flags }: MessageOf<'registrationRequest'>,
    { instance }: Sender,
    now: Now,
  ): boolean {
    const last = this.#registration;
    const first = (flags & Flag.first) !== 0 ? instance : (last?.first ?? null);
    const isNew = first === instance && last?.first !== first;
    if (last?.instance === instance && last.sequence > sequence) return isNew;
    this.#registration = {
      instance,
      sequence,
      at: now.wall,
      port: body.port,
      real: { 4: this.#offerable(body.node4), 6: this.#offerable(body.node6) },
      hosts: this.#offerableOf(options.candidates?.list ?? []),
      suites: options.suites?.mask ?? DEFAULT_SUITES,
      relayTimes: options.relayTimes?.list ?? [],
      first,
    };
    return isNew;
  }

  leave({ instance }: Sender, sequence: number, now: Now): void {
    this.#goodbye = { instance, sequence, at: now.wall, left: true };
  }

  /** Takes over what other replicas know, as far as it is newer. */
  restore([node, ...at]: readonly (string | null)[], now: Now): void {
    if (this.revoked) return;
    const since = (wall: number): number => now.ms - Math.max(0, now.wall - wall);
    const registration = parseRegistration(node);
    if (registration !== null && isNewer(registration, this.#registration)) {
      const believed = 'left' in registration ? registration : this.#asIfSaid(registration);
      this.#registration = 'left' in believed ? null : believed;
      if ('left' in registration) for (const way of ways) this.#mapped[way] = null;
      this.#shared.set('node', { what: believed, at: since(believed.at) });
    }
    for (const [i, way] of ways.entries()) {
      const sighting = parseSighting(at[i]);
      if (sighting === null || !isNewer(sighting, this.#mapped[way])) continue;
      const heard = since(sighting.at);
      // Records outlive what they say.
      if (now.ms - heard > PRESENCE_MS) continue;
      const mapped = { ...sighting, heard, ...this.#placeOf(sighting) };
      this.#mapped[way] = mapped;
      this.heard = Math.max(this.heard, heard);
      this.#shared.set(recordOf[way], { what: mapped.place, at: heard });
    }
  }

  /** No further than the node itself would be believed. */
  #asIfSaid(registration: Registration): Registration {
    const { real, hosts } = registration;
    return {
      ...registration,
      real: { 4: this.#offerable(real[4]), 6: this.#offerable(real[6]) },
      hosts: this.#offerableOf(hosts),
    };
  }

  /** What other replicas should be told now. */
  dueRecords(now: Now): { readonly name: string; readonly value: string; readonly lifeMs: number }[] {
    if (this.revoked) return [];
    const due: { name: string; value: string; lifeMs: number }[] = [];
    const tell = (name: string, what: unknown, at: number, record: () => Registration | Goodbye | Sighting): void => {
      const last = this.#shared.get(name);
      if (last !== undefined && last.what === what && at - last.at < SEEN_MS) return;
      this.#shared.set(name, { what, at });
      due.push({ name, value: JSON.stringify(record()), lifeMs: RECORD_MS });
    };
    const standing = this.#goodbye ?? this.#registration;
    if (standing !== null) tell('node', standing, now.ms, () => standing);
    for (const way of ways) {
      const mapped = this.#mapped[way];
      if (mapped !== null) tell(recordOf[way], mapped.place, mapped.heard, () => sightingOf(mapped));
    }
    return due;
  }

  get sightings(): Mapped[] {
    return Object.values(this.#mapped).filter((mapped) => mapped !== null);
  }

  /** Other replicas have forgotten what they were told. */
  unshare(): void {
    this.#shared.clear();
  }

  /** Where datagrams of one family came from, if that is recent. */
  mapped(family: Family, now: Now): Endpoint | null {
    const mapped = this.#mapped[family];
    return mapped === null || now.ms - mapped.heard > PRESENCE_MS ? null : mapped.endpoint;
  }

  /** The mapped endpoint, if it may be told to peers. */
  reachable(family: Family, now: Now): Endpoint | null {
    return this.#mapped[family]?.offerable === true ? this.mapped(family, now) : null;
  }

  real(family: Family): Address | null {
    return this.#registration?.real[family] ?? null;
  }

  /** How far it is from there to a TRS (ms), as the node says; one that says nothing has no say in the choice. */
  distanceTo({ address4, address6, port }: Service): number {
    const times = this.#registration?.relayTimes ?? [];
    if (times.length === 0) return 0;
    const own = times.filter((time) => time.port === port && (time.address === address4 || time.address === address6));
    if (own.length === 0) return UNMEASURED_MS;
    return Math.min(...own.map(({ rttMs }) => rttMs ?? SILENT_MS));
  }

  /** Whether something between the node and us translates addresses of this family. */
  natted(family: Family, now: Now): boolean {
    const mapped = this.mapped(family, now);
    return mapped !== null && (mapped.address !== this.real(family) || mapped.port !== this.port);
  }

  /** Where to send what it didn't ask for: the address it was heard from last. */
  endpoint(): Endpoint | null {
    let last: Mapped | null = null;
    for (const way of ways) {
      const mapped = this.#mapped[way];
      if (mapped !== null && (last === null || mapped.heard > last.heard)) last = mapped;
    }
    return last?.endpoint ?? null;
  }

  /** Whether it is reached over TLS at a TRS, recently. */
  streamed(now: Now): boolean {
    const { streamed } = this.#mapped;
    return streamed !== null && now.ms - streamed.heard <= PRESENCE_MS;
  }

  candidates(now: Now): Candidate[] {
    const mapped = ([4, 6] as const)
      .map((family) => this.reachable(family, now))
      .filter((endpoint) => endpoint !== null)
      .map((endpoint): Candidate => ({ ...endpoint, kind: 'mapped' }));
    const hosts = (this.#registration?.hosts ?? []).filter((host) => !mapped.some((m) => sameEndpoint(m, host)));
    return [...hosts.slice(0, MAX_CANDIDATES - mapped.length), ...mapped];
  }

  /** Whether the register may be asked for this node again, which a wrong tag alone can bring about. */
  mayReload(now: Now): boolean {
    if (now.ms - this.#reloadAt < RELOAD_MS) return false;
    this.#reloadAt = now.ms;
    return true;
  }

  /** Whether the register should be told that this node was seen. */
  dueSeen(now: Now): boolean {
    if (now.ms - this.#seenAt < SEEN_MS) return false;
    this.#seenAt = now.ms;
    return true;
  }

  close(): void {
    for (const { channel } of this.#channels) channel.close();
  }

  /** Where and by whom it is heard. */
  #placeOf({ endpoint, replica }: Sighting): Pick<Mapped, 'offerable' | 'place'> {
    const offerable = this.#offerable(endpoint.address) !== null;
    return { offerable, place: `${formatEndpoint(endpoint)} ${replica}` };
  }

  #offerable(address: Address | null): Address | null {
    return address === null || isForbiddenOuter(address, this.#options.overlay) ? null : address;
  }

  /** Where it is mapped nobody says but who sees it. */
  #offerableOf(hosts: readonly Candidate[]): Candidate[] {
    return hosts.filter(({ kind, address }) => kind !== 'mapped' && this.#offerable(address) !== null);
  }

  /** Each channel has an instance of its own: one that was dropped and made again must not repeat numbers. */
  #channelOf(key: Uint8Array): Channel {
    const { primitives, parts } = this.#options;
    return new Channel({
      primitives,
      suite: Suite.aes256Gcm,
      baseKey: key,
      id: this.nodeId,
      own: { kind: SenderKind.nms, instance: primitives.random(16).toHex() },
      accept: new Map([[SenderKind.node, 1]]),
      proveAddress: true,
      freshKey: false,
      parts,
    });
  }
}

/** What others are told of it. */
function sightingOf({ endpoint, instance, sequence, at, replica }: Mapped): Sighting {
  return { endpoint, instance, sequence, at, replica };
}
