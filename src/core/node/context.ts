/** What the parts of one node machine share: identity, session, the host's addresses, requests under way, actions so far. */

import { certificateHash } from '../../crypto/certificate.ts';
import type { OwnCertificates } from '../../crypto/handshake.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import { sameOctets } from '../../lib/bytes.ts';
import {
  type Address,
  type Endpoint,
  type Family,
  familyOf,
  formatEndpoint,
  isForbiddenOuter,
  sameEndpoint,
} from '../../lib/ip.ts';
import type { LogLevel } from '../../lib/log.ts';
import type { VirtualAddresses } from '../../lib/path.ts';
import type { Now } from '../../lib/time.ts';
import type { Draft, Message } from '../../proto/codec.ts';
import { InnerMtu, REKEY_AFTER_MS, Suite } from '../../proto/constants.ts';
import type { DropReason } from '../../proto/drop.ts';
import { Flag, type MessageName } from '../../proto/messages.ts';
import { type Candidate, MAX_CANDIDATES, type RelayTime, type SenderKind } from '../../proto/options.ts';
import { PartBuffer } from '../../proto/parts.ts';
import { Channel, type Sender } from '../channel.ts';
import { Answers, Exchanges, type Pace, type Request, sendAll } from '../exchange.ts';
import { Streams } from './streams.ts';
import type { NodeAction, NodeOptions, Session } from './types.ts';

/** Where a message came from: `relayed` = through the TRS at that address. */
export type Arrival = {
  readonly from: Endpoint;
  readonly relayed: boolean;
  /** The local port it came in by, where that is none of the usual ones. */
  readonly port?: number | undefined;
};

export function sameArrival(a: Arrival, b: Arrival): boolean {
  return a.relayed === b.relayed && sameEndpoint(a.from, b.from);
}

/** How a request went out and what its outcome leads to. */
export type Purpose = Pace & {
  /** Whose request it is: `cancel` takes all of one owner. */
  readonly owner: object;
  readonly channel: Channel;
  readonly request: Request;
  readonly to: Endpoint;
  /** Who may answer, and with what type of message. */
  readonly from: SenderKind;
  readonly expects: MessageName;
  /** Instead of repeating the request with the echo of a challenge. */
  challenged?(echo: string, now: Now): void;
  answered(message: Message, arrival: Arrival, rttMs: number | null, now: Now, sender: Sender): void;
  failed(now: Now): void;
};

export type ChannelKey = {
  readonly id: string;
  readonly suite: Suite;
  readonly baseKey: Uint8Array;
  readonly kind: SenderKind;
  readonly accept: ReadonlyMap<SenderKind, number>;
  readonly proveAddress: boolean;
  readonly freshKey: boolean;
};

/**
 * Suites a device speaks. Whoever asks for `cbc-md5` gets nothing else, and nobody else gets it (protocol section 2.2);
 * ChaCha20 asked for by one end is granted by the default.
 */
const spoken: { readonly [S in Suite]: readonly Suite[] } = {
  [Suite.cbcMd5]: [Suite.cbcMd5],
  [Suite.aes256Gcm]: [Suite.aes256Gcm, Suite.chacha20Poly1305],
  [Suite.chacha20Poly1305]: [Suite.chacha20Poly1305],
};

/** A certificate of ours: its hash, and when it expires (Unix milliseconds). */
export type IssuedCertificate = { readonly hash: Uint8Array; readonly until: number };

/** They live for 7 days and are renewed daily (protocol section 2.1). */
const MAX_ISSUED = 8;
/** A device's own port, what its NAT makes of it, and a forwarded one; more would aim probes of ours at somebody's host. */
const PORTS_PER_ADDRESS = 3;

/** What is known of a TRS from binding paths to it. */
export type RelayContact = {
  readonly endpoint: Endpoint;
  readonly answers: boolean;
  readonly lastContact: number | null;
  readonly rttMs: number | null;
};

const MAX_RELAYS = 16;
/** A TRS is spoken to every 25 s at least, while it is of use (ms). */
const LATELY_MS = 60_000;

export class NodeContext {
  readonly options: NodeOptions;
  readonly exchanges: Exchanges<Purpose>;
  readonly answers = new Answers();
  readonly streams = new Streams(this);
  /** The NMS is heard over TLS only: relays are asked so first, UDP is tried more often. */
  udpBlocked = false;
  /** When an NMS or TRS was last heard by UDP (ms). */
  udpHeardAt = Number.NEGATIVE_INFINITY;
  /** Since when the host has the addresses that it has (ms). */
  hereSince = Number.NEGATIVE_INFINITY;
  /** Has the NMS say something, unless it has within this time (ms). */
  askNms: (gapMs: number, now: Now) => void = () => {};
  /** TRSs that were spoken to, the one spoken to last at the end. */
  readonly relays = new Map<string, RelayContact>();
  /** Addresses of TRSs, by what is in the list: thousands of paths lead through few of them. */
  readonly #lists = new Map<string, readonly Endpoint[]>();
  readonly #parts = new PartBuffer();
  #session: Session | null = null;
  /** Our own certificates, this one and those before that have not expired: peers may know an older one. */
  #issued: readonly IssuedCertificate[] = [];
  /** The host's own addresses, with our port. */
  local: readonly Candidate[] = [];
  /** Whether a host without IPv4 addresses reaches IPv4 through a NAT64. */
  behindNat64 = false;
  /** Round trips to TRSs, as last measured. */
  relayTimes: readonly RelayTime[] = [];
  /** Where the NMS sees us. */
  mapped: () => readonly Endpoint[] = () => [];
  /** Asks the NMS whether it still sees us there. */
  checkMapping: (now: Now) => void = () => {};
  /** What the router says leads to us. */
  forwarded: Endpoint | null = null;
  #actions: NodeAction[] = [];

  constructor(options: NodeOptions) {
    this.options = options;
    this.exchanges = new Exchanges(options.primitives);
  }

  get primitives(): Primitives {
    return this.options.primitives;
  }

  /** The largest inner packet that this device sends. */
  get mtu(): number {
    return this.options.mtu ?? InnerMtu.usual;
  }

  get rekeyAfterMs(): number {
    return Math.min(REKEY_AFTER_MS, this.options.rekeyAfterMs ?? REKEY_AFTER_MS);
  }

  get session(): Session | null {
    return this.#session;
  }

  set session(session: Session) {
    this.#session = session;
    const { certificate, certificateExpires: until } = session;
    this.knowIssued([{ hash: certificateHash(this.primitives, certificate), until }]);
  }

  get virtual(): VirtualAddresses {
    return { vip4: this.#session?.vip4 ?? null, vip6: this.#session?.vip6 ?? null };
  }

  ownCertificates(session: Session): OwnCertificates {
    const { handshake } = this.options.identity;
    const { certificate } = session;
    const current = certificateHash(this.primitives, certificate);
    const previous = this.#issued.map(({ hash }) => hash).filter((hash) => !sameOctets(hash, current));
    return { handshake, certificate, previous };
  }

  get issued(): readonly IssuedCertificate[] {
    return this.#issued;
  }

  knowIssued(certificates: readonly IssuedCertificate[]): void {
    const all = [...this.#issued, ...certificates];
    this.#issued = all
      .filter(({ hash }, i) => all.findIndex((other) => sameOctets(other.hash, hash)) === i)
      .sort((a, b) => b.until - a.until)
      .slice(0, MAX_ISSUED);
  }

  get suites(): readonly Suite[] {
    return spoken[this.options.suite];
  }

  emit(...actions: readonly NodeAction[]): void {
    this.#actions.push(...actions);
  }

  /** The actions since the last call. */
  drain(): NodeAction[] {
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }

  drop(reason: DropReason, from?: Endpoint): void {
    this.emit(from === undefined ? { do: 'drop', reason } : { do: 'drop', reason, from });
  }

  log(level: LogLevel, message: string, fields: Record<string, unknown> = {}): void {
    this.emit({ do: 'log', level, message, fields });
  }

  /** Drops what somebody claimed of himself or another, with a line in the log. */
  refuse(reason: DropReason, fields: Record<string, unknown>, from?: Endpoint): void {
    this.drop(reason, from);
    this.log('warn', 'refused', { reason, ...fields, ...(from !== undefined && { from: formatEndpoint(from) }) });
  }

  randomId(): string {
    return this.primitives.random(16).toHex();
  }

  /** A factor between 1 − `spread` and 1 + `spread`. */
  jitter(spread: number): number {
    const octets = this.primitives.random(2);
    return 1 + spread * (((octets[0]! << 8) | octets[1]!) / 32_767.5 - 1);
  }

  /** A channel in a life of its own: its instance is new, so that no number is used twice under one key (section 2.3). */
  channel({ kind, ...key }: ChannelKey): Channel {
    const own = { kind, instance: this.randomId() };
    return new Channel({ primitives: this.primitives, parts: this.#parts, own, ...key });
  }

  ask(purpose: Purpose, now: Now): void {
    const { channel, to } = purpose;
    const flags = (purpose.request.flags ?? 0) | streamedFlag(to);
    this.emit(...this.exchanges.start(channel, { ...purpose.request, flags }, to, purpose, now, purpose));
  }

  /** `to`: only what goes there. */
  cancel(owner: object, to?: Endpoint): void {
    this.exchanges.cancel((one) => one.owner === owner && (to === undefined || sameEndpoint(one.to, to)));
  }

  /** Whether a message may settle the request with its Transaction ID. */
  #mayAnswer(message: Message, sender: Sender, channel: Channel): boolean {
    const purpose = this.exchanges.peek(message.transactionId);
    return (
      purpose !== undefined &&
      purpose.channel === channel &&
      purpose.from === sender.kind &&
      (message.flags & Flag.response) !== 0 &&
      (message.type === purpose.expects || isRefusalOrChallenge(message))
    );
  }

  /** A TRS answered, or did not (`rttMs` is null also where retransmission leaves it open). */
  spokeToRelay(endpoint: Endpoint, answers: boolean, rttMs: number | null, now: Now): void {
    const name = nameOfRelay(endpoint);
    if (answers) this.heard(endpoint, now);
    const last = this.relays.get(name);
    const lastContact = answers ? now.ms : (last?.lastContact ?? null);
    this.relays.delete(name);
    this.relays.set(name, { endpoint, answers, lastContact, rttMs: rttMs ?? last?.rttMs ?? null });
    if (this.relays.size > MAX_RELAYS) this.relays.delete(this.relays.keys().next().value!);
  }

  /** The same list for all paths through the same TRS. */
  shared(endpoints: readonly Endpoint[]): readonly Endpoint[] {
    const name = endpoints.map(nameOfRelay).join(' ');
    const list = this.#lists.get(name) ?? endpoints;
    this.#lists.delete(name);
    this.#lists.set(name, list);
    if (this.#lists.size > MAX_RELAYS) this.#lists.delete(this.#lists.keys().next().value!);
    return list;
  }

  /** Something authentic came from a service. */
  heard({ over }: Endpoint, now: Now): void {
    if (over === undefined) this.udpHeardAt = now.ms;
  }

  /** Whether a TRS has answered at this address lately, and to where we are. */
  hasAnswered(relay: Endpoint, now: Now): boolean {
    const at = this.relays.get(nameOfRelay(relay))?.lastContact ?? Number.NEGATIVE_INFINITY;
    return at >= this.hereSince && now.ms - at < LATELY_MS;
  }

  /** Whether the message answered a request of ours. */
  settle(channel: Channel, message: Message, sender: Sender, arrival: Arrival, now: Now): boolean {
    if (!this.#mayAnswer(message, sender, channel)) return false;
    const { challenge } = message.options;
    const purpose = this.exchanges.peek(message.transactionId);
    if (challenge !== undefined && purpose?.challenged !== undefined) {
      purpose.challenged(challenge.value, now);
      return true;
    }
    const answer = this.exchanges.answer(message, arrival.from, now);
    if (answer === null) return false;
    if ('settled' in answer) answer.settled.answered(message, arrival, answer.rttMs, now, sender);
    else this.emit(...answer.actions);
    return true;
  }

  /** Answers a request where it came from. */
  reply(channel: Channel, draft: Draft, { from, relayed }: Arrival): void {
    const flags = (draft.flags ?? 0) | Flag.response | (relayed ? Flag.relayed : 0) | streamedFlag(from);
    this.emit(...sendAll(channel.seal({ ...draft, flags } as Draft), from));
  }

  families(): Family[] {
    const has = (family: Family): boolean => this.local.some(({ address }) => familyOf(address) === family);
    return ([4, 6] as const).filter((family) => has(family) || (family === 4 && this.behindNat64));
  }

  /** Whether outer datagrams may go there at all (protocol section 2.4), from a host with our addresses. */
  mayReach(endpoint: Endpoint): boolean {
    return this.isOuter(endpoint) && this.families().includes(familyOf(endpoint.address));
  }

  /** The same, whatever families this host has just now. */
  isOuter(endpoint: Endpoint): boolean {
    return (
      endpoint.port > 0 &&
      !this.#isForbidden(endpoint.address) &&
      !this.local.some((own) => sameEndpoint(own, endpoint))
    );
  }

  /** The candidates of a list that are worth a datagram, now or after a move to another family. */
  usable(candidates: readonly Candidate[]): Candidate[] {
    const once = candidates.filter((c, i) => candidates.findIndex((d) => sameEndpoint(c, d)) === i);
    // Whoever offers such an address is mistaken or means harm.
    for (const { address } of once) if (this.#isForbidden(address)) this.drop('forbidden-address');
    const ports = new Map<Address, number>();
    const fits = ({ address }: Candidate): boolean => {
      const count = (ports.get(address) ?? 0) + 1;
      ports.set(address, count);
      return count <= PORTS_PER_ADDRESS;
    };
    return once.filter((candidate) => this.isOuter(candidate) && fits(candidate)).slice(0, MAX_CANDIDATES);
  }

  /**
   * Our own addresses as we offer them to others, and the port that the router forwards: only at an address where the NMS
   * sees us as well, so that no router can aim our peers' probes at somebody else.
   */
  offered(): Candidate[] {
    const { forwarded } = this;
    const isSeen = (there: Endpoint): boolean => this.mapped().some(({ address }) => address === there.address);
    const isOurs = forwarded !== null && this.isOuter(forwarded) && isSeen(forwarded);
    const hosts = this.local.filter(({ address }) => !this.#isForbidden(address));
    if (!isOurs) return hosts.slice(0, MAX_CANDIDATES);
    return [...hosts.slice(0, MAX_CANDIDATES - 1), { ...forwarded, kind: 'forwarded' }];
  }

  /** Everything we may be reached at, as far as we know. */
  announced(): Candidate[] {
    const mapped = this.mapped().map((endpoint): Candidate => ({ ...endpoint, kind: 'mapped' }));
    // A NAT that keeps ports may do so towards the peer where an older mapping was in the way towards the NMS alone.
    const kept = mapped.flatMap((seen) => this.local.slice(0, 1).map(({ port }) => ({ ...seen, port })));
    const all = [...mapped, ...this.offered(), ...kept];
    return all.filter((c, i) => all.findIndex((d) => sameEndpoint(c, d)) === i).slice(0, MAX_CANDIDATES);
  }

  #isForbidden(address: Address): boolean {
    return isForbiddenOuter(address, this.#session?.overlay ?? []);
  }
}

function nameOfRelay(endpoint: Endpoint): string {
  return `${endpoint.over ?? 'udp'} ${formatEndpoint(endpoint)}`;
}

/** Says to the receiver that the address it sees is not ours. */
function streamedFlag({ over }: Endpoint): number {
  return over === 'tls' ? Flag.streamed : 0;
}

function isRefusalOrChallenge(message: Message): boolean {
  return message.type === 'ack' && (message.options.challenge !== undefined || (message.flags & Flag.failure) !== 0);
}
