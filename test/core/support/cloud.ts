/**
 * An NMS and TRSs with scripted nodes around them: every datagram is delivered at once unless a test takes it away;
 * time moves only when a test says so.
 */

import type { Action } from '../../../src/core/actions.ts';
import type { Machine } from '../../../src/core/machine.ts';
import type { ReplicaAction } from '../../../src/core/nms/actions.ts';
import { NmsMachine, type NmsOptions } from '../../../src/core/nms/machine.ts';
import { TrsMachine, type TrsOptions } from '../../../src/core/trs.ts';
import type { KeyPair, Primitives } from '../../../src/crypto/primitives.ts';
import type { Device, RegisterAnswer, RegisterChange, RegisterQuery, Service } from '../../../src/lib/device.ts';
import { type Endpoint, formatEndpoint, parsePrefix } from '../../../src/lib/ip.ts';
import type { RelayCommand } from '../../../src/lib/path.ts';
import type { Now } from '../../../src/lib/time.ts';
import { World } from '../../support/primitives.ts';
import { enrolledDevice } from './device.ts';
import { FakeNode, type Host } from './node.ts';

export const overlay = [parsePrefix('100.80.0.0/16')!, parsePrefix('fd00:1::/64')!];
export const nmsEndpoint: Endpoint = { address: '198.51.100.10', port: 7441 };
const nmsEndpoint6: Endpoint = { address: '2001:db8:ff::10', port: 7441 };

type Sent = { readonly from: Endpoint; readonly to: Endpoint; readonly datagram: Uint8Array };
type AnyAction = Action | RelayCommand | ReplicaAction;
type ServiceMachine = Machine<RelayCommand | ReplicaAction> & { registerChanged(now: Now): AnyAction[] };

export class FakeRegister {
  readonly devices = new Map<string, Device>();
  services: Service[] = [];
  revision = 0;
  removed: { deviceId: string; nodeId: string; revision: number }[] = [];
  readonly changes: RegisterChange[] = [];
  readonly queries: RegisterQuery[] = [];
  /** Questions are answered with null. */
  broken = false;

  put(device: Omit<Device, 'revision'>): Device {
    const stored = { ...device, revision: ++this.revision };
    this.devices.set(device.nodeId, stored);
    return stored;
  }

  change(nodeId: string, changes: Partial<Device>): void {
    this.put({ ...this.devices.get(nodeId)!, ...changes });
  }

  remove(nodeId: string): void {
    const { deviceId } = this.devices.get(nodeId)!;
    this.devices.delete(nodeId);
    this.removed.push({ deviceId, nodeId, revision: ++this.revision });
  }

  answer(query: RegisterQuery): RegisterAnswer | null {
    this.queries.push(query);
    if (this.broken) return null;
    const devices = [...this.devices.values()];
    switch (query.get) {
      case 'device': {
        const { by, value } = query.selector;
        const is = (d: Device): boolean => (by === 'vip' ? [d.vip4, d.vip6].includes(value) : d[by] === value);
        return { got: 'device', device: devices.find(is) ?? null };
      }
      case 'services':
        return { got: 'services', services: this.services };
      case 'changes':
        return {
          got: 'changes',
          revision: this.revision,
          changed: devices.filter((d) => d.revision > query.since),
          removed: this.removed.filter((r) => r.revision > query.since),
        };
      case 'credentials':
        throw new RangeError('an NMS or TRS asked for credentials');
    }
  }
}

export class Cloud implements Host {
  readonly world: World;
  readonly register = new FakeRegister();
  readonly counts = new Map<string, number>();
  readonly drops = new Map<string, number>();
  readonly relayed: RelayCommand[] = [];
  /** Everything that was sent, in order. */
  readonly sent: Sent[] = [];
  /** Return false to lose a datagram. */
  filter: (sent: Sent) => boolean = () => true;
  ms = 1_000;
  readonly nmsKeys: KeyPair;
  readonly nmsId = 'e0'.repeat(16);
  nms: NmsMachine;
  /** More of the NMS, by their numbers; nodes' datagrams go where `spread` says. */
  readonly replicas = new Map<number, NmsMachine>();
  /** Which replicas sent to an address. */
  readonly sentBy = new Map<string, number[]>();
  spread: (from: Endpoint) => number = () => 0;
  /** What they share; null = it cannot be reached. */
  shared: { records: Map<string, string>; sets: Map<string, Set<string>> } | null = {
    records: new Map(),
    sets: new Map(),
  };
  readonly #services = new Map<string, { machine: ServiceMachine; at: Endpoint }>();
  readonly #nodes = new Map<string, FakeNode>();
  #queue: Sent[] = [];
  #hosts = 0;

  constructor(seed: number | string = 1) {
    this.world = new World(seed);
    const primitives = this.world.primitives('keys');
    this.nmsKeys = primitives.x25519Generate();
    this.register.services = [
      {
        name: 'nms',
        role: 'nms',
        nodeId: this.nmsId,
        publicKey: this.nmsKeys.publicKey,
        address4: nmsEndpoint.address,
        address6: nmsEndpoint6.address,
        port: nmsEndpoint.port,
        tlsPort: null,
      },
    ];
    this.nms = this.startNms('first');
  }

  primitives(name: string): Primitives {
    return this.world.primitives(name);
  }

  get now(): Now {
    return { ms: this.ms, wall: 1_700_000_000_000 + this.ms };
  }

  /** A new NMS process, which remembers nothing, in place of the one before. */
  startNms(life: string): NmsMachine {
    const identity = { nodeId: this.nmsId, keys: this.nmsKeys, overlay };
    this.nms = new NmsMachine({
      primitives: this.world.primitives(`nms ${life}`),
      ...identity,
      ipv4: true,
      ipv6: true,
    });
    for (const at of [nmsEndpoint, nmsEndpoint6]) this.#attach(this.nms, at);
    this.run(this.nms, this.nms.registerChanged(this.now), nmsEndpoint);
    return this.nms;
  }

  /** One of several replicas; the NMS that was there before is gone. */
  startReplica(number: number, options: Pick<NmsOptions, 'behindBalancer' | 'alone'> = {}): NmsMachine {
    for (const at of [nmsEndpoint, nmsEndpoint6]) this.#services.delete(formatEndpoint(at));
    const replica = new NmsMachine({
      primitives: this.world.primitives(`nms replica ${number} ${this.ms}`),
      nodeId: this.nmsId,
      keys: this.nmsKeys,
      overlay,
      ipv4: true,
      ipv6: true,
      replica: () => number,
      ...options,
    });
    this.replicas.set(number, replica);
    this.run(replica, replica.registerChanged(this.now), nmsEndpoint);
    return replica;
  }

  addTrs(
    name: string,
    at: Endpoint,
    options: Partial<TrsOptions> = {},
  ): { trs: TrsMachine; keys: KeyPair; nodeId: string } {
    const primitives = this.world.primitives(name);
    const keys = primitives.x25519Generate();
    const nodeId = primitives.random(16).toHex();
    this.register.services = [
      ...this.register.services,
      {
        name,
        role: 'trs',
        nodeId,
        publicKey: keys.publicKey,
        address4: at.address,
        address6: null,
        port: at.port,
        tlsPort: null,
      },
    ];
    const trs = new TrsMachine({ primitives, nodeId, keys, overlay, ...options });
    this.#attach(trs, at);
    this.run(trs, trs.registerChanged(this.now), at);
    this.changed();
    return { trs, keys, nodeId };
  }

  /** A TRS that the register does not know, with the key of one that it does. */
  addTrsReplica(name: string, at: Endpoint, keys: KeyPair): { trs: TrsMachine; nodeId: string } {
    const primitives = this.world.primitives(name);
    const nodeId = primitives.random(16).toHex();
    const trs = new TrsMachine({ primitives, nodeId, keys, overlay });
    this.#attach(trs, at);
    this.run(trs, trs.registerChanged(this.now), at);
    return { trs, nodeId };
  }

  addDevice(name: string, more: Partial<Device> = {}): Device {
    const primitives = this.world.primitives(`device ${name}`);
    const host = ++this.#hosts + 1;
    const vips = { vip4: `100.80.0.${host}`, vip6: `fd00:1::${host.toString(16)}` };
    return this.register.put({ ...enrolledDevice(primitives, name, 'lab.example', vips), ...more });
  }

  /** A node at an address; `mapped` = what its NAT makes of it. */
  addNode(device: Device, real: Endpoint, mapped: Endpoint = real): FakeNode {
    const node = new FakeNode(this, device, real, mapped, real.address.includes(':') ? nmsEndpoint6 : nmsEndpoint);
    this.place(node);
    return node;
  }

  place(node: FakeNode): void {
    this.#nodes.set(formatEndpoint(node.mapped), node);
  }

  /** The services look at the register. */
  changed(): void {
    for (const { machine, at } of this.#running) this.run(machine, machine.registerChanged(this.now), at);
  }

  send(from: Endpoint, to: Endpoint, datagram: Uint8Array): void {
    const sent = { from, to, datagram };
    this.sent.push(sent);
    if (!this.filter(sent)) return;
    this.#queue.push(sent);
    if (this.#queue.length === 1) this.#drain();
  }

  /** Lets time pass, with all timers. */
  pass(ms: number): void {
    for (const end = this.ms + ms; this.ms < end; ) {
      this.ms += Math.min(50, end - this.ms);
      for (const { machine, at } of this.#running) this.run(machine, machine.tick(this.now), at);
      for (const node of this.#nodes.values()) node.tick();
    }
  }

  run(machine: ServiceMachine, actions: readonly AnyAction[], at: Endpoint): void {
    for (const action of actions) {
      if (action.do === 'send') {
        const ofNms = action.to.address.includes(':') ? nmsEndpoint6 : nmsEndpoint;
        const from = machine instanceof NmsMachine ? ofNms : at;
        this.#noteSender(machine, action.to);
        this.send(from, action.to, action.datagram);
      } else if (action.do === 'load') {
        this.run(machine, machine.loaded?.(action.ticket, this.register.answer(action.query), this.now) ?? [], at);
      } else if (action.do === 'save') {
        this.register.changes.push(action.change);
        this.run(machine, machine.saved?.(action.ticket, 'saved', this.now) ?? [], at);
      } else if (action.do === 'drop') {
        this.drops.set(action.reason, (this.drops.get(action.reason) ?? 0) + 1);
      } else if (action.do === 'count') {
        this.counts.set(action.name, (this.counts.get(action.name) ?? 0) + 1);
      } else if (action.do === 'addRelay' || action.do === 'bindSide' || action.do === 'removeRelay') {
        this.relayed.push(action);
      } else if (action.do !== 'wake' && action.do !== 'log') {
        this.#share(machine as NmsMachine, action);
      }
    }
  }

  #noteSender(machine: ServiceMachine, { address }: Endpoint): void {
    for (const [number, replica] of this.replicas) {
      if (replica === machine) this.sentBy.set(address, [...(this.sentBy.get(address) ?? []), number]);
    }
  }

  /** What replicas do beside the protocol. */
  #share(machine: NmsMachine, action: ReplicaAction): void {
    const recalled = (ticket: number, values: (string | null)[]): void =>
      this.run(machine, machine.recalled(ticket, this.shared === null ? null : values, this.now), nmsEndpoint);
    if (action.do === 'sendFrom') {
      const other = this.replicas.get(action.replica);
      if (other === undefined || this.shared === null) return;
      this.#noteSender(other, action.to);
      this.send(action.to.address.includes(':') ? nmsEndpoint6 : nmsEndpoint, action.to, action.datagram);
    } else if (action.do === 'pass') {
      const other = this.replicas.get(action.replica);
      if (other !== undefined && this.shared !== null)
        this.run(other, other.passed(action.datagram, action.from, this.now), nmsEndpoint);
    } else if (action.do === 'recall') {
      recalled(
        action.ticket,
        action.keys.map((key) => this.shared?.records.get(key) ?? null),
      );
    } else if (action.do === 'take') {
      const members = [...(this.shared?.sets.get(action.set) ?? [])];
      this.shared?.sets.delete(action.set);
      recalled(action.ticket, members);
    } else if (action.do === 'keep') {
      this.shared?.records.set(action.key, action.value);
    } else {
      const members = this.shared?.sets.get(action.set) ?? new Set();
      this.shared?.sets.set(action.set, members.add(action.member));
    }
  }

  /** Every machine that runs. */
  get #running(): { machine: ServiceMachine; at: Endpoint }[] {
    const replicas = [...this.replicas.values()].map((machine) => ({ machine, at: nmsEndpoint }));
    return [...new Set(this.#services.values()), ...replicas];
  }

  #serviceAt(to: Endpoint, from: Endpoint): { machine: ServiceMachine; at: Endpoint } | undefined {
    const isNms = [nmsEndpoint, nmsEndpoint6].some((at) => formatEndpoint(at) === formatEndpoint(to));
    const replica = isNms ? this.replicas.get(this.spread(from)) : undefined;
    return replica === undefined ? this.#services.get(formatEndpoint(to)) : { machine: replica, at: to };
  }

  #attach(machine: ServiceMachine, at: Endpoint): void {
    this.#services.set(formatEndpoint(at), { machine, at });
  }

  #drain(): void {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      const service = this.#serviceAt(next.to, next.from);
      if (service !== undefined) {
        this.run(service.machine, service.machine.receive(next.datagram, next.from, this.now), service.at);
      } else {
        this.#nodes.get(formatEndpoint(next.to))?.receive(next.datagram, next.from);
      }
      this.#queue.shift();
    }
  }
}
