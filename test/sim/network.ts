/** Networks, routers between them, and datagrams on their way, with everything that happens to datagrams. */

import { type Address, type Endpoint, familyOf } from '../../src/lib/ip.ts';
import type { Clock } from './clock.ts';
import type { Firewall, Nat } from './nat.ts';
import type { Random } from './random.ts';

/** One network: hosts and routers see each other's addresses in it. */
export class Segment {
  readonly name: string;
  /** Delay between a host here and the middle of the Internet (ms). */
  readonly latency: number;
  /** The way out; null = this is the Internet itself. */
  readonly router: Router | null;
  /** IPv4 addresses here. */
  readonly owners = new Map<Address, Host | Router>();

  constructor(name: string, latency: number, router: Router | null) {
    this.name = name;
    this.latency = latency;
    this.router = router;
  }
}

/** Translates IPv4 between two networks; IPv6 passes, through a firewall if there is one. */
export class Router {
  readonly nat: Nat;
  readonly firewall: Firewall | null;
  readonly outside: Segment;
  inside: Segment | null = null;

  constructor(nat: Nat, firewall: Firewall | null, outside: Segment) {
    this.nat = nat;
    this.firewall = firewall;
    this.outside = outside;
    outside.owners.set(nat.outside, this);
  }

  /** Back after a failure, with another address. */
  reboot(address: Address): void {
    this.outside.owners.delete(this.nat.outside);
    this.nat.outside = address;
    this.outside.owners.set(address, this);
    this.nat.reboot();
    this.firewall?.reboot();
  }
}

export type Receiver = (datagram: Uint8Array, from: Endpoint) => void;

/** A machine with one UDP port. */
export type Host = {
  readonly name: string;
  readonly port: number;
  segment: Segment;
  address4: Address | null;
  address6: Address | null;
  /** Null while it is switched off. */
  receive: Receiver | null;
  /** Other ports, and who receives there. */
  readonly others?: Map<number, Receiver>;
};

export type Fate = 'delivered' | 'lost' | 'no route' | 'hairpin' | 'not let in' | 'nobody there';

/** One datagram's journey, for drawings. */
export type Journey = {
  readonly sentAt: number;
  readonly from: Host;
  readonly to: Endpoint;
  readonly datagram: Uint8Array;
  readonly receiver: Host | null;
  readonly fate: Fate;
};

/** A datagram under way. */
type Trip = {
  readonly sentAt: number;
  readonly host: Host;
  /** As the routers passed so far left it. */
  source: Endpoint;
  readonly to: Endpoint;
  readonly datagram: Uint8Array;
};

type Target = { readonly host: Host; readonly port: number };

export type Weather = {
  readonly loss: number;
  readonly duplication: number;
  /** Share of datagrams that are held back, and for how long at most (ms). */
  readonly reordering: number;
  readonly heldBack: number;
};

/** Between two hosts of one network (ms). */
const LAN_LATENCY = 0.3;

export class Network {
  readonly clock: Clock;
  readonly internet = new Segment('internet', 10, null);
  readonly #random: Random;
  readonly #owners6 = new Map<Address, Host>();
  weather: Weather;
  datagrams = 0;
  /** Called for every datagram at the end of its journey. */
  onJourney: ((journey: Journey) => void) | null = null;

  constructor(clock: Clock, weather: Weather, random: Random) {
    this.clock = clock;
    this.weather = weather;
    this.#random = random;
  }

  attach(host: Host): void {
    if (host.address4 !== null) host.segment.owners.set(host.address4, host);
    if (host.address6 !== null) this.#owners6.set(host.address6, host);
  }

  detach(host: Host): void {
    if (host.address4 !== null) host.segment.owners.delete(host.address4);
    if (host.address6 !== null) this.#owners6.delete(host.address6);
  }

  send(host: Host, to: Endpoint, datagram: Uint8Array, port = host.port): void {
    this.datagrams++;
    const address = familyOf(to.address) === 4 ? host.address4 : host.address6;
    const trip: Trip = {
      sentAt: this.clock.ms,
      host,
      source: { address: address ?? '', port },
      to,
      datagram,
    };
    if (address === null) this.#end(trip, 'no route');
    else if (familyOf(address) === 4) this.#send4(trip);
    else this.#send6(trip);
  }

  #send4(trip: Trip): void {
    let { segment } = trip.host;
    let latency = 0;
    for (;;) {
      const owner = segment.owners.get(trip.to.address);
      if (owner !== undefined) {
        if (owner instanceof Router) latency += owner.inside?.latency ?? 0;
        else if (segment === this.internet) latency += segment.latency;
        this.#travel(trip, latency, () => this.#enter(owner, trip));
        return;
      }
      const { router } = segment;
      // None of these routers sends back what is addressed to itself.
      if (router === null || trip.to.address === router.nat.outside) {
        this.#end(trip, router === null ? 'no route' : 'hairpin');
        return;
      }
      trip.source = router.nat.out(trip.source, trip.to, this.clock.ms);
      latency += segment.latency;
      segment = router.outside;
    }
  }

  /** Through the routers in front of a host. */
  #enter(owner: Host | Router, { source, to }: Trip): Target | Fate {
    let at: Host | Router | undefined = owner;
    let { port } = to;
    while (at instanceof Router) {
      const inside = at.nat.in(port, source, this.clock.ms);
      if (inside === null) return 'not let in';
      port = inside.port;
      at = at.inside?.owners.get(inside.address);
    }
    return at === undefined ? 'nobody there' : { host: at, port };
  }

  #send6(trip: Trip): void {
    const { source, to, host } = trip;
    const target = this.#owners6.get(to.address);
    if (target === undefined) {
      this.#end(trip, 'no route');
      return;
    }
    const neighbours = target.segment === host.segment && host.segment !== this.internet;
    if (!neighbours) host.segment.router?.firewall?.out(source, to, this.clock.ms);
    this.#travel(trip, neighbours ? 0 : host.segment.latency + target.segment.latency, () => {
      const owner = this.#owners6.get(to.address);
      if (owner === undefined) return 'nobody there';
      const firewall = neighbours ? null : owner.segment.router?.firewall;
      const open = firewall == null || firewall.lets(source, to, this.clock.ms);
      return open ? { host: owner, port: to.port } : 'not let in';
    });
  }

  /** Beyond the own network anything can happen to a datagram. */
  #travel(trip: Trip, latency: number, enter: () => Target | Fate): void {
    const { clock, weather } = this;
    const random = this.#random;
    const arrive = (): void => this.#arrive(trip, enter());
    if (latency === 0) {
      clock.after(LAN_LATENCY * random.between(1, 2), arrive);
      return;
    }
    if (random.chance(weather.loss)) {
      this.#end(trip, 'lost');
      return;
    }
    const copies = random.chance(weather.duplication) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const held = random.chance(weather.reordering) ? random.between(0, weather.heldBack) : 0;
      clock.after(latency * random.between(1, 1.2) + held, arrive);
    }
  }

  #arrive(trip: Trip, target: Target | Fate): void {
    if (typeof target === 'string') {
      this.#end(trip, target);
      return;
    }
    const { host, port } = target;
    const receive = port === host.port ? host.receive : host.others?.get(port);
    this.#end(trip, receive == null ? 'nobody there' : 'delivered', receive == null ? null : host);
    receive?.(trip.datagram, trip.source);
  }

  #end({ sentAt, host, to, datagram }: Trip, fate: Fate, receiver: Host | null = null): void {
    this.onJourney?.({ sentAt, from: host, to, datagram, receiver, fate });
  }
}
