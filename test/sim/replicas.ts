/**
 * Several replicas of the NMS at its one address: routing that spreads nodes' flows over those it knows, or a balancer
 * that keeps each flow with one; what they share; and how all of it fails.
 */

import type { ReplicaAction } from '../../src/core/nms/actions.ts';
import { NmsMachine } from '../../src/core/nms/machine.ts';
import type { RegisterAnswer, RegisterChange, RegisterQuery, SaveResult } from '../../src/lib/device.ts';
import { type Endpoint, formatEndpoint } from '../../src/lib/ip.ts';
import type { RelayCommand } from '../../src/lib/path.ts';
import { type Cloud, type CloudParts, overlayRanges, SimNms } from './cloud.ts';
import type { SimRegister } from './shell.ts';

/** Routing or a balancer finds out within this time that a replica is gone (ms). */
const WITHDRAWN_MS = 1_000;
/** One that stops in order leaves the routing first (ms). */
const DRAIN_MS = 500;
/** What a replica behind a balancer sends to whom it has no flow with leaves from another port. */
const FIRST_PORT = 40_000;
const SHARED_MS = 5;
const LOOK_MS = 1_000;
/** Clocks of replicas are off by so much at most (ms). */
const SKEW_MS = 5_000;

type Kept<T> = { readonly value: T; readonly until: number };

/** What replicas share, as Redis keeps it. */
class SimShared {
  readonly records = new Map<string, Kept<string>>();
  readonly sets = new Map<string, Kept<Set<string>>>();
  /** Another one after everything was lost. */
  mark = 0;
  down = false;

  flush(): void {
    this.records.clear();
    this.sets.clear();
    this.mark += 1;
  }
}

export class Front implements SimRegister {
  readonly shared = new SimShared();
  readonly replicas: readonly SimReplica[];
  /** A balancer with address translation: only the replica that hears a node reaches it. */
  readonly isBalancer: boolean;
  /** The register answers nobody. */
  registerDown = false;
  readonly #parts: CloudParts;
  readonly #cloud: Cloud;
  #routed: SimReplica[] = [];
  /** Of a balancer: where each flow goes. */
  readonly #flows = new Map<string, SimReplica>();

  /** Takes the place of the cloud's one NMS. */
  constructor(parts: CloudParts, cloud: Cloud, count: number) {
    this.#parts = parts;
    this.#cloud = cloud;
    this.isBalancer = parts.random.chance(0.3);
    cloud.nms.kill();
    this.replicas = Array.from({ length: count }, () => new SimReplica(parts, cloud, this));
    const { network } = parts;
    const own = (i: number): number => FIRST_PORT + i;
    // At the address that all have as well.
    network.attach({
      ...cloud.nms.host,
      receive: (datagram, from) => this.#routeOf(from)?.take(datagram, from),
      others: new Map(this.replicas.map((replica, i) => [own(i), replica.take.bind(replica)])),
    });
    const send = network.send.bind(network);
    network.send = (from, to, datagram, port) => {
      const i = this.replicas.findIndex(({ host }) => host === from);
      const isTranslated = i >= 0 && this.isBalancer && this.#flows.get(formatEndpoint(to))?.host !== from;
      send(from, to, datagram, isTranslated ? own(i) : port);
    };
    for (const replica of this.replicas) this.start(replica);
  }

  start(replica: SimReplica): void {
    if (replica.isUp) return;
    if (!replica.reachesStore) {
      // It waits for the store.
      this.#parts.clock.after(LOOK_MS, () => this.start(replica));
      return;
    }
    replica.start(this);
    this.#routed.push(replica);
  }

  /** `kill -9`: what comes until routing has noticed is lost. */
  kill(replica: SimReplica): void {
    replica.kill();
    this.#parts.clock.after(this.#parts.random.between(0, WITHDRAWN_MS), () => {
      if (!replica.isUp) this.#withdraw(replica);
    });
  }

  drain(replica: SimReplica): void {
    this.#withdraw(replica);
    this.#parts.clock.after(DRAIN_MS, () => {
      if (!this.#routed.includes(replica)) replica.kill();
    });
  }

  #withdraw(replica: SimReplica): void {
    this.#routed = this.#routed.filter((one) => one !== replica);
    for (const [name, one] of this.#flows) if (one === replica) this.#flows.delete(name);
  }

  /** Every change of the set moves flows, as ECMP by a plain hash does. */
  #routeOf(from: Endpoint): SimReplica | undefined {
    const name = formatEndpoint(from);
    const flow = this.isBalancer ? this.#flows.get(name) : undefined;
    if (flow !== undefined || this.#routed.length === 0) return flow;
    const sum = [...name].reduce((hash, letter) => (Math.imul(hash, 31) + letter.charCodeAt(0)) >>> 0, 7);
    const chosen = this.#routed[sum % this.#routed.length]!;
    if (this.isBalancer) this.#flows.set(name, chosen);
    return chosen;
  }

  answer(query: RegisterQuery): RegisterAnswer | null {
    return this.registerDown ? null : this.#cloud.register.answer(query);
  }

  apply(change: RegisterChange): SaveResult | null {
    return this.registerDown ? null : this.#cloud.register.apply(change);
  }
}

export class SimReplica extends SimNms {
  readonly #front: Front;
  #number = 0;
  #mark = 0;
  /** It alone does not reach what they share. */
  cut = false;

  constructor(parts: CloudParts, cloud: Cloud, front: Front) {
    super(parts, cloud, cloud.nms.identity);
    this.#front = front;
    this.#look();
  }

  get isUp(): boolean {
    return this.shell !== null;
  }

  take(datagram: Uint8Array, from: Endpoint): void {
    this.host.receive?.(datagram, from);
  }

  override start(register?: SimRegister): void {
    const { random } = this.parts;
    do this.#number = random.whole(0, 255);
    while (this.#front.replicas.some((one) => one !== this && one.isUp && one.#number === this.#number));
    this.#mark = this.#front.shared.mark;
    super.start(register);
    this.shell!.wallError = random.between(-SKEW_MS, SKEW_MS);
  }

  protected override create(): NmsMachine {
    const { primitives, keys, service } = this.identity;
    return new NmsMachine({
      primitives,
      keys,
      nodeId: service.nodeId,
      overlay: overlayRanges,
      ipv4: true,
      ipv6: true,
      replica: () => this.#number,
      behindBalancer: this.#front.isBalancer,
    });
  }

  get reachesStore(): boolean {
    return !this.cut && !this.#front.shared.down;
  }

  #look(): void {
    this.parts.clock.after(LOOK_MS, () => this.#look());
    const { mark } = this.#front.shared;
    if (mark === this.#mark || !this.reachesStore) return;
    this.#mark = mark;
    this.shell?.input((machine) => machine.sharedEmptied());
  }

  protected override perform(action: RelayCommand | ReplicaAction): void {
    const { clock, random } = this.parts;
    const { shell } = this;
    clock.after(random.between(0, SHARED_MS), () => {
      if (shell === this.shell) this.#share(action);
    });
  }

  #share(action: RelayCommand | ReplicaAction): void {
    const { shared, replicas } = this.#front;
    const { clock, network } = this.parts;
    const ms = clock.ms;
    const recalled = (ticket: number, values: readonly (string | null)[]): void =>
      this.shell?.input((machine, now) => machine.recalled(ticket, this.reachesStore ? values : null, now));
    const others = (number: number) =>
      (this.reachesStore ? replicas : []).filter((one) => one.isUp && one.#hears(number));
    const alive = (set: string): Set<string> => {
      const kept = shared.sets.get(set);
      return kept !== undefined && kept.until > ms ? kept.value : new Set();
    };
    switch (action.do) {
      case 'recall':
        recalled(
          action.ticket,
          action.keys.map((key) => {
            const kept = shared.records.get(key);
            return kept !== undefined && kept.until > ms ? kept.value : null;
          }),
        );
        break;
      case 'take':
        recalled(action.ticket, [...alive(action.set)]);
        if (this.reachesStore) shared.sets.delete(action.set);
        break;
      case 'keep':
        if (this.reachesStore) shared.records.set(action.key, { value: action.value, until: ms + action.lifeMs });
        break;
      case 'include':
        if (!this.reachesStore) break;
        shared.sets.set(action.set, { value: alive(action.set).add(action.member), until: ms + action.lifeMs });
        break;
      case 'pass':
        for (const { shell } of others(action.replica)) {
          shell!.input((machine, now) => machine.passed(action.datagram, action.from, now));
        }
        break;
      case 'sendFrom':
        for (const { host } of others(action.replica)) network.send(host, action.to, action.datagram);
        break;
    }
  }

  #hears(number: number): boolean {
    return this.#number === number && this.reachesStore;
  }
}
