/** The cloud of a simulated network: the real AS, NMS and TRS machines over a register in memory. */

import { AsMachine } from '../../src/core/as/machine.ts';
import type { AsAction } from '../../src/core/as/questions.ts';
import type { ReplicaAction } from '../../src/core/nms/actions.ts';
import { NmsMachine } from '../../src/core/nms/machine.ts';
import { buildLoginAck, buildLoginRequest, type LoginRequest, readLoginResponse } from '../../src/core/node/login.ts';
import type { Session } from '../../src/core/node/types.ts';
import { TrsMachine } from '../../src/core/trs.ts';
import { issueCertificate } from '../../src/crypto/certificate.ts';
import type { KeyPair, Primitives } from '../../src/crypto/primitives.ts';
import { Counters } from '../../src/lib/counters.ts';
import type { Device, Network as Overlay, Service, ServiceRole } from '../../src/lib/device.ts';
import { type Endpoint, formatEndpoint, sameEndpoint } from '../../src/lib/ip.ts';
import type { RelayCommand } from '../../src/lib/path.ts';
import type { Now } from '../../src/lib/time.ts';
import { Port } from '../../src/proto/constants.ts';
import { HeaderOffset } from '../../src/proto/header.ts';
import { Flag } from '../../src/proto/messages.ts';
import type { EmbeddedRegister } from '../../src/store/embedded.ts';
import { openMemory } from '../../src/store/memory.ts';
import type { World } from '../support/primitives.ts';
import type { Clock } from './clock.ts';
import type { Host, Network } from './network.ts';
import type { Random } from './random.ts';
import { type SimRegister, SimShell } from './shell.ts';

export const overlay: Overlay = {
  domain: 'sim.example',
  range4: { address: '100.80.0.0', length: 16 },
  range6: { address: 'fd00:80::', length: 64 },
};
export const overlayRanges = [overlay.range4, overlay.range6];

export type CloudParts = {
  /** Of the network, read by an NMS when it starts. */
  noPortPrediction?: boolean;
  readonly clock: Clock;
  readonly network: Network;
  readonly random: Random;
  /** Everybody's primitives, by name. */
  readonly world: Pick<World, 'primitives'>;
  readonly note: (host: Host, text: string) => void;
};

/** What a service keeps for itself, and what the register says of it. */
export type ServiceIdentity = { readonly service: Service; readonly keys: KeyPair; readonly primitives: Primitives };

/** How often a service looks whether the register changed (ms). */
const POLL_MS = 2_000;
const TRAFFIC_MS = 1_000;

export class Cloud {
  readonly #parts: CloudParts;
  readonly register: EmbeddedRegister;
  readonly ca: KeyPair;
  readonly #as: SimShell<AsMachine, AsAction>;
  readonly #asAnswers = new Map<string, Uint8Array>();
  readonly counters = { as: new Counters(), nms: new Counters(), trs: new Counters() };
  readonly nms: SimNms;
  readonly relays: readonly SimTrs[];
  #connections = 0;

  private constructor(parts: CloudParts, register: EmbeddedRegister, services: readonly ServiceIdentity[]) {
    this.#parts = parts;
    this.register = register;
    const { clock, random, world } = parts;
    const primitives = world.primitives('as');
    this.ca = primitives.ed25519Generate();
    const machine = new AsMachine({
      primitives,
      network: overlay,
      issue: (content) => issueCertificate(primitives, this.ca.privateKey, content),
      tlsRoot: '',
    });
    this.#as = new SimShell(machine, {
      clock,
      random,
      counters: this.counters.as,
      register,
      send: (to, octets) => this.#asAnswers.set(formatEndpoint(to), octets),
      perform: (action) => {
        if (action.do === 'hash') this.#as.input((m, now) => m.hashed(action.ticket, true, now));
      },
    });
    const [nms, ...relays] = services as [ServiceIdentity, ...ServiceIdentity[]];
    this.nms = new SimNms(parts, this, nms);
    this.relays = relays.map((identity) => new SimTrs(parts, this, identity));
  }

  static async open(parts: CloudParts, relays: number): Promise<Cloud> {
    const { clock, random, world } = parts;
    const register = openMemory(
      overlay,
      () => clock.wall,
      () => random.octets(16).toHex(),
    );
    const roles: ServiceRole[] = ['nms', ...new Array<ServiceRole>(relays).fill('trs')];
    const services = roles.map((role, i): ServiceIdentity => {
      const primitives = world.primitives(`${role} ${i}`);
      const keys = primitives.x25519Generate();
      return {
        keys,
        primitives,
        service: {
          name: `${role}${i}`,
          role,
          nodeId: random.octets(16).toHex(),
          publicKey: keys.publicKey,
          address4: `192.0.2.${10 + i}`,
          address6: `2001:db8:ff::${10 + i}`,
          port: Port[role],
          tlsPort: null,
        },
      };
    });
    for (const { service } of services) await register.putService(service);
    const cloud = new Cloud(parts, register, services);
    cloud.nms.start();
    for (const relay of cloud.relays) relay.start();
    return cloud;
  }

  /** Registers a device. */
  async add(deviceId: string): Promise<Device> {
    const secret = { secretHash: 'any', secretExpires: this.#parts.clock.wall + 86_400_000, trustedCa: null };
    const place = { groups: [], adapter: null, mac: null, auth: 'token', mode: 'dual' } as const;
    return await this.register.add({ deviceId, ...place, ...secret });
  }

  /**
   * A login by `request`, but for the connection's exporter value; `done` gets the session of one that was accepted,
   * the real time on a connection being some tens of milliseconds.
   */
  logIn(
    primitives: Primitives,
    request: Omit<LoginRequest, 'exporter'>,
    now: () => Now,
    done: (session: Session) => void,
  ): void {
    const { clock, random } = this.#parts;
    const number = ++this.#connections;
    const connection: Endpoint = {
      address: `198.18.${(number >> 8) & 255}.${number & 255}`,
      port: 1024 + (number >> 16),
    };
    const exporter = random.octets(32);
    const whole = { ...request, exporter };
    this.#as.input((machine, at) => machine.connected(connection, exporter, at));
    this.#as.receive(buildLoginRequest(primitives, whole), connection);
    clock.after(100, () => {
      const answer = this.#asAnswers.get(formatEndpoint(connection));
      this.#asAnswers.delete(formatEndpoint(connection));
      const outcome =
        answer === undefined ? null : readLoginResponse(primitives, whole, this.ca.publicKey, answer, now());
      if (outcome?.status === 'accepted') {
        this.#as.receive(buildLoginAck(outcome.session), connection);
        done(outcome.session);
      }
      clock.after(100, () => this.#as.input((machine) => machine.closed(connection)));
    });
  }
}

type ServiceAction = RelayCommand | ReplicaAction;

/** What NMS and TRS have in common: an address on the Internet, restarts, an eye on the register. */
abstract class SimService<M extends NmsMachine | TrsMachine> {
  protected readonly parts: CloudParts;
  protected readonly cloud: Cloud;
  readonly identity: ServiceIdentity;
  protected shell: SimShell<M, ServiceAction> | null = null;
  readonly host: Host;
  #revision = 0;

  constructor(parts: CloudParts, cloud: Cloud, identity: ServiceIdentity) {
    this.parts = parts;
    this.cloud = cloud;
    this.identity = identity;
    const { name, port, address4, address6 } = identity.service;
    this.host = { name, port, address4, address6, segment: parts.network.internet, receive: null };
    parts.network.attach(this.host);
    this.#poll();
  }

  protected abstract create(): M;
  protected abstract receive(datagram: Uint8Array, from: Endpoint): void;
  protected perform(_action: ServiceAction): void {}

  /** Another register than the cloud's is one that somebody has laid hands on. */
  start(register: SimRegister = this.cloud.register): void {
    const { clock, random, network, note } = this.parts;
    this.shell = new SimShell(this.create(), {
      clock,
      random,
      counters: this.cloud.counters[this.identity.service.role],
      register,
      send: (to, datagram) => network.send(this.host, to, datagram),
      perform: (action) => this.perform(action),
      note: (text) => note(this.host, text),
    });
    this.host.receive = (datagram, from) => this.receive(datagram, from);
    this.shell.input((machine, now) => machine.registerChanged(now));
  }

  /** `kill -9`; `start` begins a new life that remembers nothing. */
  kill(): void {
    this.shell?.stop();
    this.shell = null;
    this.host.receive = null;
  }

  #poll(): void {
    this.parts.clock.after(POLL_MS, () => this.#poll());
    const answer = this.cloud.register?.answer({ get: 'changes', since: Number.MAX_SAFE_INTEGER });
    if (answer?.got !== 'changes' || answer.revision === this.#revision) return;
    this.#revision = answer.revision;
    this.shell?.input((machine, now) => machine.registerChanged(now));
  }
}

export class SimNms extends SimService<NmsMachine> {
  get sizes(): NmsMachine['sizes'] | null {
    return this.shell?.machine.sizes ?? null;
  }

  protected create(): NmsMachine {
    const { primitives, keys, service } = this.identity;
    const { noPortPrediction = false } = this.parts;
    const families = { ipv4: true, ipv6: true };
    return new NmsMachine({
      primitives,
      keys,
      nodeId: service.nodeId,
      overlay: overlayRanges,
      ...families,
      noPortPrediction,
    });
  }

  protected receive(datagram: Uint8Array, from: Endpoint): void {
    this.shell?.receive(datagram, from);
  }
}

export class SimTrs extends SimService<TrsMachine> {
  /** The data path: addresses of both sides by PathID. */
  readonly #relayed = new Map<string, [Endpoint | null, Endpoint | null]>();
  #forwarded = new Set<string>();

  get sizes(): (TrsMachine['sizes'] & { readonly relayed: number }) | null {
    return this.shell === null ? null : { ...this.shell.machine.sizes, relayed: this.#relayed.size };
  }

  protected create(): TrsMachine {
    const { primitives, keys, service } = this.identity;
    this.#relayed.clear();
    return new TrsMachine({ primitives, keys, nodeId: service.nodeId, overlay: overlayRanges });
  }

  protected receive(datagram: Uint8Array, from: Endpoint): void {
    if (!this.#forward(datagram, from)) this.shell?.receive(datagram, from);
  }

  protected override perform(command: ServiceAction): void {
    if (command.do === 'addRelay') this.#relayed.set(command.pathId, [null, null]);
    else if (command.do === 'removeRelay') this.#relayed.delete(command.pathId);
    else if (command.do === 'bindSide') {
      const sides = this.#relayed.get(command.pathId);
      if (sides !== undefined) sides[command.side] = command.endpoint;
    }
  }

  /** Byte for byte, from one bound address to the other; false if this is not for the other side. */
  #forward(datagram: Uint8Array, from: Endpoint): boolean {
    if (datagram.length < 32 || (datagram[HeaderOffset.flags]! & Flag.relayed) === 0) return false;
    const pathId = datagram.subarray(HeaderOffset.id, HeaderOffset.id + 16).toHex();
    const sides = this.#relayed.get(pathId);
    const side = sides?.findIndex((bound) => bound !== null && sameEndpoint(bound, from)) ?? -1;
    const to = side < 0 ? null : sides![1 - side]!;
    if (to === null) return false;
    this.parts.network.send(this.host, to, datagram);
    this.#use(pathId);
    return true;
  }

  #use(pathId: string): void {
    if (this.#forwarded.size === 0) {
      this.parts.clock.after(TRAFFIC_MS, () => {
        const { machine, now } = this.shell ?? {};
        if (machine !== undefined && now !== undefined) machine.forwarded(this.#forwarded, now);
        this.#forwarded = new Set();
      });
    }
    this.#forwarded.add(pathId);
  }
}
