/** One device: the real node machine, a data plane, a place in the network, and what survives its restarts. */

import { NodeMachine } from '../../src/core/node/machine.ts';
import type { NatType } from '../../src/core/node/nat-check.ts';
import type { NodeAction, ResolveResult, Session } from '../../src/core/node/types.ts';
import { generateIdentity, type Identity } from '../../src/crypto/identity.ts';
import type { Primitives } from '../../src/crypto/primitives.ts';
import { Counters } from '../../src/lib/counters.ts';
import type { Device } from '../../src/lib/device.ts';
import { type Address, type Endpoint, formatEndpoint } from '../../src/lib/ip.ts';
import type { PathEvent } from '../../src/lib/path.ts';
import { Port, Suite } from '../../src/proto/constants.ts';
import type { Candidate, RelayTime } from '../../src/proto/options.ts';
import type { Cloud, CloudParts } from './cloud.ts';
import type { Host, Segment } from './network.ts';
import { Plane } from './plane.ts';
import { SimShell } from './shell.ts';

/** Where a host is plugged in. */
export type Socket = {
  readonly segment: Segment;
  readonly address4: Address | null;
  readonly address6: Address | null;
};

export type Delivered = (node: SimNode, packet: Uint8Array) => void;

const TRAFFIC_MS = 250;
const LOGIN_RETRY_MS = 5_000;
const FIRST_PORT = 20_000;

type Extra = Exclude<NodeAction, { do: 'send' | 'wake' | 'drop' | 'log' | 'count' | 'load' | 'save' }>;

export class SimNode {
  readonly device: Device;
  readonly host: Host;
  readonly counters = new Counters();
  readonly #parts: CloudParts;
  readonly #cloud: Cloud;
  readonly #primitives: Primitives;
  #identity: Identity;
  readonly #delivered: Delivered;
  readonly #suite: Suite;
  readonly #asked = new Map<number, (result: ResolveResult) => void>();
  #session: Session | null = null;
  #shell: SimShell<NodeMachine, Extra> | null = null;
  #plane: Plane | null = null;
  #wallError = 0;
  #tickets = 0;
  #reporting = false;
  #loggingIn = false;
  /** The file with its peers. */
  stored: Uint8Array | null = null;
  /** What it knows of the NAT in between. */
  natType: NatType | null = null;
  /** Ports of their own for single endpoints. */
  readonly kept = new Map<string, number>();
  #ports = FIRST_PORT;
  lives = 0;
  refused = false;

  constructor(
    parts: CloudParts,
    cloud: Cloud,
    device: Device,
    socket: Socket,
    delivered: Delivered,
    suite: Suite = Suite.aes256Gcm,
    /** Where its keys come from: another name for a device that has others now. */
    maker = device.deviceId,
  ) {
    this.#parts = parts;
    this.#cloud = cloud;
    this.device = device;
    this.#primitives = parts.world.primitives(maker);
    this.#identity = generateIdentity(this.#primitives);
    this.#delivered = delivered;
    this.#suite = suite;
    this.host = { name: device.deviceId, port: Port.node, receive: null, others: new Map(), ...socket };
    parts.network.attach(this.host);
  }

  get isUp(): boolean {
    return this.#shell !== null;
  }

  get snapshot() {
    return this.#shell?.machine.snapshot(this.#shell.now) ?? null;
  }

  get partialChecksums(): boolean[] {
    return this.#plane?.partialChecksums ?? [];
  }

  get sizes(): Plane['sizes'] | null {
    return this.#plane?.sizes ?? null;
  }

  pathsTo(peer: SimNode): string[] {
    return this.#plane?.pathsTo(peer.device.vip4!) ?? [];
  }

  get session(): Session | null {
    return this.#session;
  }

  /** Begins as whoever this session belongs to, with these keys. */
  impersonate(session: Session, identity: Identity): void {
    this.#session = session;
    this.#identity = identity;
    this.start();
  }

  /** A new life of the daemon; the first one logs in before. */
  start(): void {
    const session = this.#session;
    if (session === null) this.#logIn(() => this.start());
    else if (this.#shell === null) this.#begin(session);
  }

  #begin(session: Session): void {
    const { clock, random, network, note } = this.#parts;
    const send = (to: Endpoint, datagram: Uint8Array): void =>
      network.send(this.host, to, datagram, this.kept.get(formatEndpoint(to)));
    const machine = new NodeMachine({
      primitives: this.#primitives,
      suite: this.#suite,
      identity: this.#identity,
      natType: () => this.natType,
    });
    const shell = new SimShell<NodeMachine, Extra>(machine, {
      clock,
      random,
      counters: this.counters,
      send,
      perform: (action) => this.#perform(action),
      note: (text) => note(this.host, text),
    });
    shell.wallError = this.#wallError;
    this.#shell = shell;
    const plane = new Plane({
      aead: this.#primitives.aead,
      counters: this.counters,
      now: () => shell.now.ms,
      send,
      event: (event) => this.#event(event),
      deliver: (packet) => this.#delivered(this, packet),
    });
    this.#plane = plane;
    this.host.receive = (datagram, from) => {
      plane.datagram(datagram, from);
      this.#reportTraffic();
    };
    this.lives++;
    shell.input((m, now) => m.session(session, now));
    const { stored } = this;
    if (stored !== null) shell.input((m, now) => m.restore(stored, now));
    this.#announce();
  }

  /** `kill -9`. */
  kill(): void {
    this.#shell?.stop();
    this.#shell = null;
    this.#plane = null;
    this.#asked.clear();
    this.host.receive = null;
    this.host.others?.clear();
    this.kept.clear();
  }

  /** Ends with a word to its peers. */
  stop(): void {
    this.#shell?.input((machine, now) => machine.stop(now));
    this.kill();
  }

  /** Plugs the host in somewhere else. */
  move(socket: Socket): void {
    this.#parts.network.detach(this.host);
    Object.assign(this.host, socket);
    this.#parts.network.attach(this.host);
    this.#announce();
  }

  /** The wall clock jumps to this far off the right time (ms). */
  setWallError(error: number): void {
    this.#wallError = error;
    if (this.#shell !== null) this.#shell.wallError = error;
  }

  /** What a look at the relays brought. */
  relayTimes(times: readonly RelayTime[]): void {
    this.#shell?.input((machine, now) => machine.relayTimes(times, now));
  }

  /** Logs in again, as a daemon does daily. */
  renew(): void {
    this.#logIn((session) => this.#shell?.input((machine, now) => machine.session(session, now)));
  }

  /** A packet of an application on this host. */
  send(packet: Uint8Array): void {
    this.#plane?.packet(packet);
    this.#reportTraffic();
  }

  resolve(name: string, done: (result: ResolveResult) => void): void {
    const ticket = ++this.#tickets;
    this.#asked.set(ticket, done);
    this.#shell?.input((machine, now) => machine.resolve(ticket, { name }, now));
  }

  /** What the router says that it forwards to this host. */
  forwarded(endpoint: Endpoint | null): void {
    this.#shell?.input((machine, now) => machine.forwarded(endpoint, now));
  }

  #announce(): void {
    const { port, address4, address6 } = this.host;
    const addresses = [address4, address6].filter((address) => address !== null);
    const candidates = addresses.map((address): Candidate => ({ address, port, kind: 'host' }));
    this.claim(candidates);
  }

  /** What the host says are its addresses. */
  claim(candidates: readonly Candidate[]): void {
    this.#shell?.input((machine, now) => machine.localAddresses(candidates, now));
  }

  #event(event: PathEvent): void {
    this.#shell?.input((machine, now) => machine.event(event, now));
  }

  #perform(action: Extra): void {
    switch (action.do) {
      case 'answer':
        this.#asked.get(action.ticket)?.(action.result as ResolveResult);
        this.#asked.delete(action.ticket);
        break;
      case 'renewLogin':
        this.renew();
        break;
      case 'refused':
        this.refused = true;
        break;
      case 'storePeers':
        this.stored = action.octets;
        break;
      case 'online':
      // No TRS here takes datagrams over TLS.
      case 'connect':
      case 'disconnect':
      case 'seenAnew':
      case 'registerChanged':
        break;
      case 'openPort':
        this.#openPort(action.to, action.datagram);
        break;
      case 'keepPort':
        for (const port of this.host.others?.keys() ?? []) if (port !== action.port) this.host.others?.delete(port);
        this.kept.set(formatEndpoint(action.to), action.port);
        this.host.others?.set(action.port, (datagram, from) => this.host.receive?.(datagram, from));
        break;
      case 'closePorts':
        this.host.others?.clear();
        this.kept.delete(formatEndpoint(action.to));
        break;
      default:
        this.#plane?.command(action);
    }
  }

  #openPort(to: Endpoint, datagram: Uint8Array): void {
    const port = ++this.#ports;
    this.host.others?.set(port, (received, from) =>
      this.#shell?.input((machine, now) => machine.receive(received, from, now, port)),
    );
    this.#parts.network.send(this.host, to, datagram, port);
  }

  #logIn(done: (session: Session) => void): void {
    if (this.#loggingIn) return;
    this.#loggingIn = true;
    const { clock } = this.#parts;
    const password = this.#session === null ? new Uint8Array(16) : null;
    const certificate = this.#session?.certificate ?? null;
    const request = { deviceId: this.device.deviceId, password, certificate, identity: this.#identity };
    const now = () => ({ ms: clock.ms, wall: clock.wall + this.#wallError });
    this.#cloud.logIn(this.#primitives, request, now, (session) => {
      this.#session = session;
      this.#loggingIn = false;
      done(session);
    });
    clock.after(LOGIN_RETRY_MS, () => {
      if (!this.#loggingIn) return;
      this.#loggingIn = false;
      this.#logIn(done);
    });
  }

  /** Totals are reported a second after they changed. */
  #reportTraffic(): void {
    if (this.#reporting) return;
    this.#reporting = true;
    this.#parts.clock.after(TRAFFIC_MS, () => {
      this.#reporting = false;
      for (const totals of this.#plane?.traffic() ?? []) {
        this.#shell?.input((machine, now) => machine.traffic(totals, now));
      }
    });
  }
}
