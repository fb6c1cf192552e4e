/** A few nodes with the real cloud in simulated time, where a test can take any datagram away, double it or make its own. */

import { type Address, type Endpoint, sameEndpoint } from '../../../src/lib/ip.ts';
import { Suite } from '../../../src/proto/constants.ts';
import { HeaderOffset } from '../../../src/proto/header.ts';
import { type MessageName, messageTable } from '../../../src/proto/messages.ts';
import { Clock } from '../../sim/clock.ts';
import { Cloud, type CloudParts } from '../../sim/cloud.ts';
import { Nat, type NatType } from '../../sim/nat.ts';
import { type Host, Network, Router, Segment } from '../../sim/network.ts';
import { type Delivered, SimNode, type Socket } from '../../sim/node.ts';
import { contentOf, makePacket } from '../../sim/packet.ts';
import { Random } from '../../sim/random.ts';
import { World } from '../../support/primitives.ts';

export type Sent = {
  readonly host: Host;
  readonly to: Endpoint;
  readonly datagram: Uint8Array;
  readonly type: MessageName;
};
/** What happens to a datagram before it sets out. */
export type Tamper = (sent: Sent) => 'pass' | 'lose' | 'double';

const fairWeather = { loss: 0, duplication: 0, reordering: 0, heldBack: 0 };
const nameOfType = new Map<number, MessageName>(
  (Object.keys(messageTable) as MessageName[]).map((name) => [messageTable[name].type, name]),
);

export class Lab {
  readonly clock = new Clock();
  readonly world: World;
  readonly network: Network;
  readonly parts: CloudParts;
  readonly notes: string[] = [];
  readonly nodes: SimNode[] = [];
  readonly arrived: { readonly node: SimNode; readonly number: number }[] = [];
  readonly sent: Sent[] = [];
  tamper: Tamper = () => 'pass';
  cloud!: Cloud;
  #numbers = 0;
  #hosts = 0;

  /** `crypto`: other primitives than the cheap ones of the `World`. */
  static async open(relays = 1, seed = 1, crypto?: CloudParts['world']): Promise<Lab> {
    const lab = new Lab(seed, crypto);
    lab.cloud = await Cloud.open(lab.parts, relays);
    return lab;
  }

  private constructor(seed: number, crypto?: CloudParts['world']) {
    const random = new Random(seed);
    this.world = new World(seed);
    this.network = new Network(this.clock, fairWeather, random);
    const note = (host: Host, text: string): void =>
      void this.notes.push(`${this.clock.ms.toFixed(1)} ${host.name}: ${text}`);
    this.parts = { clock: this.clock, network: this.network, random, world: crypto ?? this.world, note };
    const send = this.network.send.bind(this.network);
    this.network.send = (host, to, datagram, port) => {
      const sent = { host, to, datagram, type: nameOfType.get(datagram[HeaderOffset.type]!)! };
      this.sent.push(sent);
      const fate = this.tamper(sent);
      if (fate !== 'lose') send(host, to, datagram, port);
      if (fate === 'double') send(host, to, datagram, port);
    };
  }

  /** A socket on the Internet itself. */
  publicly(families: '4' | '6' | '46' = '4'): Socket {
    const n = ++this.#hosts;
    return {
      segment: this.network.internet,
      address4: families.includes('4') ? `198.51.100.${n}` : null,
      address6: families.includes('6') ? `2001:db8:1::${n.toString(16)}` : null,
    };
  }

  /** A home network behind a NAT; sockets in it come from `inside`. */
  home(type: NatType): (address: Address) => Socket {
    return this.router(type).socket;
  }

  router(type: NatType): { readonly nat: Nat; readonly socket: (address: Address) => Socket } {
    const n = ++this.#hosts;
    const nat = new Nat(type, `203.0.113.${n}`, 120_000, new Random(n));
    const router = new Router(nat, null, this.network.internet);
    const segment = new Segment(`home ${n}`, 5, router);
    router.inside = segment;
    return { nat, socket: (address4) => ({ segment, address4, address6: null }) };
  }

  async node(name: string, socket: Socket, suite: Suite = Suite.aes256Gcm): Promise<SimNode> {
    const device = await this.cloud.add(name);
    const delivered: Delivered = (at, packet) => {
      this.arrived.push({ node: at, number: contentOf(packet).number });
    };
    const node = new SimNode(this.parts, this.cloud, device, socket, delivered, suite);
    this.nodes.push(node);
    node.start();
    this.pass(2_000);
    return node;
  }

  pass(ms: number): void {
    this.clock.run(this.clock.ms + ms);
  }

  /** Runs until something is so; whether it became so in time. */
  until(condition: () => boolean, ms: number): boolean {
    this.clock.run(this.clock.ms + ms, condition);
    return condition();
  }

  /** Sends one packet; its number. */
  send(from: SimNode, to: SimNode): number {
    const number = ++this.#numbers;
    from.send(makePacket(from.device.vip4!, to.device.vip4!, 1, number));
    return number;
  }

  has(node: SimNode, number: number): boolean {
    return this.arrived.some((one) => one.node === node && one.number === number);
  }

  /** Whether a packet gets there in time. */
  reaches(from: SimNode, to: SimNode, ms = 3_000): boolean {
    const number = this.send(from, to);
    return this.until(() => this.has(to, number), ms);
  }

  peer(node: SimNode, of: SimNode) {
    return node.snapshot!.peers.find(({ fqdn }) => fqdn === of.device.fqdn);
  }

  /** Datagrams of one type that a node sent, `to` somewhere if given. */
  count(node: SimNode, type: MessageName, to?: Endpoint): number {
    return this.sent.filter(
      (s) => s.host === node.host && s.type === type && (to === undefined || sameEndpoint(s.to, to)),
    ).length;
  }
}
