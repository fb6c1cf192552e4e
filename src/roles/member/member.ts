/** One identity of the overlay at work: its state machine, and what is asked of it and waits for the answer. */

import { NodeMachine } from '../../core/node/machine.ts';
import type { NatType } from '../../core/node/nat-check.ts';
import type { NodeAction, ProbeResult, ResolveQuestion, ResolveResult, Session } from '../../core/node/types.ts';
import type { Identity } from '../../crypto/identity.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import type { Counters } from '../../lib/counters.ts';
import { raise } from '../../lib/errors.ts';
import { canonicalAddress, formatEndpoint } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import type { Now } from '../../lib/time.ts';
import type { DataPlane } from '../../pipeline/dataplane.ts';
import type { Suite } from '../../proto/constants.ts';
import { Shell } from '../shell.ts';
import type { PortAction } from './port-fan.ts';
import type { PeerFile } from './state.ts';

export type MemberOptions = {
  readonly identity: Identity;
  readonly session: Session;
  readonly suite: Suite;
  /** Of its packets. */
  readonly mtu: number;
  readonly rekeyAfterMs: number;
  /** Absent: ports are not predicted. */
  readonly natType?: () => NatType | null;
  readonly primitives: Primitives;
  readonly plane: Pick<DataPlane, 'command' | 'sendSignalling'>;
  readonly counters: Counters;
  readonly log: Log;
  readonly tell: (event: MemberEvent) => void;
  /** Absent: nothing of its peers outlives it. */
  readonly peers?: PeerFile;
};

type Own = Exclude<NodeAction, { readonly do: 'send' | 'wake' | 'drop' | 'log' | 'count' | 'load' | 'save' }>;
/** What the machine says that is neither for the data plane nor an answer. */
export type MemberEvent = Extract<
  Own,
  { readonly do: 'online' | 'renewLogin' | 'refused' | 'seenAnew' | 'registerChanged' }
>;

export type StreamAction = Extract<Own, { readonly do: 'connect' | 'disconnect' }>;

export type PingReply = { readonly rttMs: number; readonly path: string; readonly endpoint: string };

export class Member {
  readonly machine: NodeMachine;
  readonly #options: MemberOptions;
  readonly #shell: Shell<Own>;
  readonly #waiting = new Map<number, (result: ResolveResult | ProbeResult) => void>();
  /** It needs a stream, or does not any more. */
  onStream: (action: StreamAction) => void = () => {};
  /** It opens ports beside the usual one. */
  onPort: (action: PortAction) => void = () => {};
  #session: Session;
  #restored = false;
  #tickets = 0;

  constructor(options: MemberOptions) {
    const { identity, primitives, suite, mtu, rekeyAfterMs, natType, session, plane, counters, log } = options;
    this.#options = options;
    this.#session = session;
    this.machine = new NodeMachine({ primitives, suite, identity, mtu, rekeyAfterMs, ...(natType && { natType }) });
    this.#shell = new Shell<Own>({
      machine: this.machine,
      send: (to, datagram) => plane.sendSignalling(to, datagram),
      counters,
      log,
      perform: (action) => this.#perform(action),
    });
  }

  get session(): Session {
    return this.#session;
  }

  /** After a login, and again after a renewed one. */
  begin(session: Session): void {
    this.#session = session;
    this.input((machine, now) => machine.session(session, now));
    const stored = this.#restored ? null : (this.#options.peers?.read() ?? null);
    this.#restored = true;
    if (stored !== null) this.input((machine, now) => machine.restore(stored, now));
  }

  input(give: (machine: NodeMachine, now: Now) => NodeAction[]): void {
    this.#shell.input((_, now) => give(this.machine, now));
  }

  /** Says goodbye to peers and NMS. */
  leave(): void {
    this.input((machine, now) => machine.stop(now));
    this.#shell.stop();
    for (const answer of this.#waiting.values()) answer({ status: 'silent' });
    this.#waiting.clear();
  }

  resolve(question: ResolveQuestion): Promise<ResolveResult> {
    return this.#ask((ticket, now) => this.machine.resolve(ticket, question, now)) as Promise<ResolveResult>;
  }

  /** One round trip to a device by name or virtual address. Null: no reply in time. */
  async ping(target: string): Promise<PingReply | null> {
    const found = await this.resolve(questionOf(target, this.#session.domain));
    if (found.status === 'unknown') raise('PEER_UNKNOWN_NAME', { target });
    if (found.status === 'refused') raise('REFUSED_POLICY', { target });
    if (found.status !== 'found') return null;
    if (found.nodeId === this.#session.nodeId) raise('PEER_SELF', { target });
    const result = (await this.#ask((ticket, now) => this.machine.probe(ticket, found.nodeId, now))) as ProbeResult;
    if (result.status !== 'reply') return null;
    return { rttMs: result.rttMs, path: result.path, endpoint: formatEndpoint(result.endpoint) };
  }

  #ask(give: (ticket: number, now: Now) => NodeAction[]): Promise<ResolveResult | ProbeResult> {
    const ticket = ++this.#tickets;
    return new Promise((resolve) => {
      this.#waiting.set(ticket, resolve);
      this.#shell.input((_, now) => give(ticket, now));
    });
  }

  #perform(action: Own): void {
    switch (action.do) {
      case 'answer':
        this.#waiting.get(action.ticket)?.(action.result);
        this.#waiting.delete(action.ticket);
        break;
      case 'storePeers':
        this.#options.peers?.write(action.octets);
        break;
      case 'connect':
      case 'disconnect':
        this.onStream(action);
        break;
      case 'openPort':
      case 'keepPort':
      case 'closePorts':
        this.onPort(action);
        break;
      case 'online':
      case 'renewLogin':
      case 'refused':
      case 'seenAnew':
      case 'registerChanged':
        this.#options.tell(action);
        break;
      default:
        this.#options.plane.command(action);
    }
  }
}

/** What a person means: a virtual address, a name, or its first label alone. */
export function questionOf(target: string, domain: string): ResolveQuestion {
  const address = canonicalAddress(target);
  if (address !== null) return { address };
  const name = target.includes('.') ? target.replace(/\.$/, '') : `${target}.${domain}`;
  return { name: name.toLowerCase() };
}
