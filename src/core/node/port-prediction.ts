/**
 * A direct way between an end whose NAT takes another port for every destination and one whose NAT lets in only what it was
 * asked for, port by port (docs/protocol.md, Port prediction): neither can say where the other is to send. By agreement over
 * the relay the first opens many ports towards the second's address, the second tries many ports of the first's; by the
 * birthday paradox two of them soon meet. What then arrives is an ordinary Hole Punching, and proven like any.
 */

import { type Endpoint, familyOf, sameEndpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import { PredictionRole } from '../../proto/options.ts';
import { sendAll } from '../exchange.ts';
import { byWay, headerBy } from './by-way.ts';
import type { Arrival, NodeContext } from './context.ts';
import type { Path } from './path.ts';
import { Timers } from './timers.ts';

/** Ports opened, and probes sent, in a round: one hits with 98 % (1 - (1 - 256/64512)^1024). */
const PORTS = 256;
const PROBES = 1_024;
const ROUNDS = 2;
/** A hundred datagrams a second, ten at a time (ms). */
const PACE_MS = 100;
const AT_ONCE = 10;
const ROUND_MS = (PROBES / AT_ONCE) * PACE_MS;
/** Ordinary probes go first; the peer is asked less and less often while it does not agree (ms). */
const ASK_AFTER_MS = 3_000;
const PAUSE_MS = 3_600_000;
/** NATs don't give out the well-known ports. */
const FIRST_PORT = 1_024;

type Round = { readonly role: PredictionRole; readonly there: Endpoint; number: number; since: number; sent: number };

export class PortPrediction {
  readonly timers: Timers<'ask' | 'punch'>;
  readonly #context: NodeContext;
  readonly #path: Path;
  #round: Round | null = null;
  /** Where everything goes from a port that a probe met, and others may still be open. */
  #opened: Endpoint | null = null;
  #met = false;
  #wait = ASK_AFTER_MS;

  constructor(context: NodeContext, path: Path) {
    this.#context = context;
    this.#path = path;
    this.timers = new Timers(path);
  }

  /** The path goes another way, or has lost the one it had. */
  wayChanged(now: Now): void {
    const { kind } = this.#path;
    if (kind === 'relay') {
      if (this.#round === null) this.close();
      if (this.#path.direction.role === 'initiator' && !this.timers.isSet('ask')) this.#askLater(now);
    } else if (kind !== null) {
      this.timers.clear('ask');
      if (this.#round !== null) this.#succeeded();
    }
  }

  /** The path is direct, and no port is open for it but the usual one. */
  get isOver(): boolean {
    return this.#path.kind !== 'relay' && this.#round === null && this.#opened === null;
  }

  /** The peer wants to begin; our role if we agree. */
  asked(theirs: number, now: Now): PredictionRole | null {
    const role = this.#role();
    if (role === null || !isOther(role, theirs) || now.ms < this.#path.peer.predictionPausedUntil) return null;
    if (this.#path.kind !== 'relay') return null;
    if (this.#round === null) this.#begin(role, now);
    return this.#round === null ? null : role;
  }

  /** Something authentic came in by an opened port. Returns whether that is the one now, which is still to be proven. */
  heard({ from, port }: Arrival): boolean {
    const round = this.#round;
    if (port === undefined || round === null || this.#met || !sameEndpoint(from, round.there)) return false;
    this.#met = true;
    this.#context.emit({ do: 'keepPort', to: round.there, port });
    return true;
  }

  /** Ports of one network mean nothing in another, and what failed in one may work there. */
  readdress(now: Now): void {
    this.#halt();
    this.close();
    this.#wait = ASK_AFTER_MS;
    this.wayChanged(now);
  }

  tick(now: Now): void {
    for (const timer of this.timers.due(now.ms)) {
      if (timer === 'ask') this.#ask(now);
      else this.#punch(now);
    }
  }

  stop(): void {
    this.#halt();
    this.timers.clearAll();
  }

  /** The last word was said. */
  close(): void {
    if (this.#opened !== null) this.#context.emit({ do: 'closePorts', to: this.#opened });
    this.#opened = null;
    this.#met = false;
  }

  #role(): PredictionRole | null {
    const { mapping, filtering } = this.#context.options.natType?.() ?? { mapping: null, filtering: null };
    if (this.#path.direction.noPortPrediction || mapping === null) return null;
    if (filtering !== 'address-and-port-dependent') return null;
    return mapping === 'endpoint-independent' ? PredictionRole.probes : PredictionRole.opens;
  }

  #askLater(now: Now): void {
    this.timers.set('ask', Math.max(now.ms + this.#wait, this.#path.peer.predictionPausedUntil));
    this.#wait = Math.min(PAUSE_MS, 2 * this.#wait);
  }

  #ask(now: Now): void {
    const { chosen } = this.#path;
    const role = this.#role();
    if (chosen?.origin !== 'relay' || this.#round !== null) return;
    this.#askLater(now);
    if (role === null || !this.#path.isUp) return;
    const options = { portPrediction: { role } };
    this.#context.ask(
      {
        ...byWay(this.#path, chosen),
        owner: this,
        request: { type: 'keepAlive', ...headerBy(this.#path, chosen), body: {}, options },
        answered: (message, _arrival, _rttMs, at) => {
          const theirs = message.options.portPrediction?.role;
          if (isOther(role, theirs) && this.#round === null && this.#path.kind === 'relay') this.#begin(role, at);
        },
        failed: () => {},
      },
      now,
    );
  }

  #begin(role: PredictionRole, now: Now): void {
    // Nobody but the NMS names the address that so much is sent to.
    const { candidates, fresh } = this.#path.direction;
    const there = candidates.find(({ kind, address }) => kind === 'mapped' && familyOf(address) === 4);
    if (there === undefined || !fresh || !this.#context.mayReach(there)) return;
    const { address, port } = there;
    this.#round = { role, there: { address, port }, number: 1, since: now.ms, sent: 0 };
    this.timers.clear('ask');
    // Also for other paths to the same peer, and should this one end meanwhile.
    this.#path.peer.predictionPausedUntil = now.ms + PAUSE_MS;
    this.#context.emit({ do: 'count', name: 'port-prediction-rounds' });
    this.#punch(now);
  }

  #punch(now: Now): void {
    const round = this.#round;
    if (round === null) return;
    if (now.ms - round.since >= ROUND_MS && !this.#nextRound(round, now)) return;
    const all = round.role === PredictionRole.opens ? PORTS : PROBES;
    for (let i = 0; i < AT_ONCE && round.sent < all && !this.#met; i++, round.sent++) this.#send(round);
    this.timers.set('punch', now.ms + PACE_MS);
  }

  #send({ role, there }: Round): void {
    const { channel } = this.#path;
    const random = this.#context.primitives.random(8);
    const numbers = new DataView(random.buffer, random.byteOffset);
    const transactionId = numbers.getUint32(0);
    const datagrams = channel.seal({ type: 'holePunching', id: channel.id, transactionId, body: {} });
    if (role === PredictionRole.opens) {
      this.#opened = there;
      for (const datagram of datagrams) this.#context.emit({ do: 'openPort', to: there, datagram });
    } else {
      const port = FIRST_PORT + (numbers.getUint32(4) % (65_536 - FIRST_PORT));
      this.#context.emit(...sendAll(datagrams, { address: there.address, port }));
    }
  }

  /** False: that was the last one, for an hour. */
  #nextRound(round: Round, now: Now): boolean {
    this.close();
    if (round.number < ROUNDS) {
      Object.assign(round, { number: round.number + 1, since: now.ms, sent: 0 });
      this.#context.emit({ do: 'count', name: 'port-prediction-rounds' });
      return true;
    }
    this.#halt();
    this.#context.emit({ do: 'count', name: 'port-prediction-failed' });
    this.#path.peer.predictionPausedUntil = now.ms + PAUSE_MS;
    this.wayChanged(now);
    return false;
  }

  #succeeded(): void {
    const met = this.#met;
    this.#halt();
    this.#path.peer.predictionPausedUntil = Number.NEGATIVE_INFINITY;
    this.#wait = ASK_AFTER_MS;
    // It may have become direct by another way meanwhile.
    if (!met) this.close();
    this.#context.emit({ do: 'count', name: 'port-prediction-succeeded' });
  }

  #halt(): void {
    this.#round = null;
    this.timers.clear('punch');
    this.#context.cancel(this);
  }
}

function isOther(role: PredictionRole, theirs: number | undefined): boolean {
  return theirs === (role === PredictionRole.opens ? PredictionRole.probes : PredictionRole.opens);
}
