/** The identities behind one port: which of them each event of the data plane is for, and what all of them must know. */

import type { Endpoint } from '../../lib/ip.ts';
import type { PathEvent, PathTraffic } from '../../lib/path.ts';
import { readEnvelope } from '../../proto/codec.ts';
import type { Candidate, RelayTime } from '../../proto/options.ts';
import type { Carriers, StreamWatcher } from './carriers.ts';
import type { Member } from './member.ts';
import type { PortFan, PortUser } from './port-fan.ts';

export class Members {
  readonly #members = new Set<Member>();
  #candidates: readonly Candidate[] = [];
  #behindNat64 = false;
  #relayTimes: readonly RelayTime[] = [];
  #forwarded: Endpoint | null = null;

  /** Without it nobody has streams. */
  carriers: Carriers | null = null;
  /** Without it nobody opens ports. */
  ports: PortFan | null = null;

  add(member: Member): void {
    this.#members.add(member);
    const watcher: StreamWatcher = {
      streamed: (endpoint, state) => member.input((machine, now) => machine.streamed(endpoint, state, now)),
    };
    member.onStream = ({ do: what, endpoint }) => this.carriers?.[what](endpoint, watcher);
    const user: PortUser = (datagram, from, port) =>
      member.input((machine, now) => machine.receive(datagram, from, now, port));
    member.onPort = (action) => this.ports?.perform(action, user);
    member.begin(member.session);
    if (this.#candidates.length > 0) this.#place(member);
    if (this.#forwarded !== null) member.input((machine, now) => machine.forwarded(this.#forwarded, now));
  }

  remove(member: Member): void {
    this.#members.delete(member);
    member.leave();
  }

  event(event: PathEvent): void {
    this.#concerned(event)?.input((machine, now) => machine.event(event, now));
  }

  /** The host's own usable addresses, which they share, and whether a NAT64 leads to IPv4. */
  localAddresses(candidates: readonly Candidate[], behindNat64: boolean): void {
    this.#candidates = candidates;
    this.#behindNat64 = behindNat64;
    for (const member of this.#members) this.#place(member);
  }

  /** How far it is from this host to the relays. */
  relayTimes(times: readonly RelayTime[]): void {
    this.#relayTimes = times;
    for (const member of this.#members) member.input((machine, now) => machine.relayTimes(times, now));
  }

  /** The port of the router that leads to the one they share. */
  forwarded(endpoint: Endpoint | null): void {
    this.#forwarded = endpoint;
    for (const member of this.#members) member.input((machine, now) => machine.forwarded(endpoint, now));
  }

  /** Totals of the paths that carry packets. */
  traffic(paths: readonly PathTraffic[]): void {
    for (const totals of paths) {
      this.#find((member) => member.machine.owns(totals.pathId))?.input((machine, now) => machine.traffic(totals, now));
    }
  }

  #place(member: Member): void {
    member.input((machine, now) => [
      ...machine.relayTimes(this.#relayTimes, now),
      ...machine.localAddresses(this.#candidates, now, this.#behindNat64),
    ]);
  }

  #concerned(event: PathEvent): Member | undefined {
    const [first] = this.#members;
    if (this.#members.size === 1) return first;
    switch (event.on) {
      case 'datagram': {
        const envelope = readEnvelope(event.datagram);
        // What is nobody's is the first one's to drop and count.
        if (typeof envelope === 'string') return first;
        return this.#find((member) => member.machine.concerns(envelope, event.from)) ?? first;
      }
      case 'unrouted':
        return this.#find(({ session }) => session.vip4 === event.source || session.vip6 === event.source);
      default:
        return this.#find((member) => member.machine.owns(event.pathId));
    }
  }

  #find(test: (member: Member) => boolean): Member | undefined {
    for (const member of this.#members) if (test(member)) return member;
    return undefined;
  }
}
