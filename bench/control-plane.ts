/**
 * Part of `npm run bench:paths`: what a peer takes of the control plane. Nodes of which each has an idle path to every
 * other one, by the real machines with the real cryptography; network and cloud are simulated, the data plane opens
 * whatever it is told to send. The cloud is gone before anything is measured.
 */

import { NodeMachine } from '../src/core/node/machine.ts';
import type { NodeAction, Session } from '../src/core/node/types.ts';
import { generateIdentity } from '../src/crypto/identity.ts';
import { nodePrimitives } from '../src/crypto/node.ts';
import { Counters } from '../src/lib/counters.ts';
import type { Device } from '../src/lib/device.ts';
import { type Endpoint, type Family, familyOf } from '../src/lib/ip.ts';
import { Port, Suite } from '../src/proto/constants.ts';
import { evpAead } from '../src/sys/evp.ts';
import { hkdf } from '../src/sys/hkdf.ts';
import { Clock } from '../test/sim/clock.ts';
import { Cloud, type CloudParts } from '../test/sim/cloud.ts';
import { type Host, Network } from '../test/sim/network.ts';
import { Random } from '../test/sim/random.ts';
import { SimShell } from '../test/sim/shell.ts';

const NODES = 40;
/** Each opens a path to so many others before memory is looked at for the first time, as code takes some as well. */
const WARM = 5;
/** Keys of paths without packets run out after three minutes (ms). */
const SETTLED_MS = 240_000;

type Extra = Exclude<NodeAction, { do: 'send' | 'wake' | 'drop' | 'log' | 'count' | 'load' | 'save' }>;

class Node {
  readonly device: Device;
  readonly #shell: SimShell<NodeMachine, Extra>;
  readonly #all: readonly Node[];
  readonly #epochs = new Map<string, number>();
  readonly #families = new Map<string, Family>();
  readonly #host: Host;
  readonly #parts: CloudParts;

  constructor(
    parts: CloudParts,
    device: Device,
    session: Session,
    identity: ReturnType<typeof generateIdentity>,
    all: readonly Node[],
  ) {
    const { clock, random, network } = parts;
    const i = all.length + 1;
    const [address4, address6] = [`198.51.100.${i}`, `2001:db8:1::${i.toString(16)}`];
    this.device = device;
    this.#parts = parts;
    this.#all = all;
    this.#host = {
      name: device.deviceId,
      port: Port.node,
      receive: null,
      segment: network.internet,
      address4,
      address6,
    };
    network.attach(this.#host);
    const primitives = parts.world.primitives('');
    this.#shell = new SimShell(new NodeMachine({ primitives, suite: Suite.aes256Gcm, identity }), {
      clock,
      random,
      counters: new Counters(),
      send: (to, datagram) => network.send(this.#host, to, datagram),
      perform: (action) => this.#perform(action),
    });
    this.#host.receive = (datagram, from) => this.#shell.receive(datagram, from);
    this.#shell.input((machine, now) => machine.session(session, now));
    const candidates = [address4, address6].map((address) => ({ address, port: Port.node, kind: 'host' as const }));
    this.#shell.input((machine, now) => machine.localAddresses(candidates, now));
  }

  get peers() {
    return this.#shell.machine.snapshot(this.#shell.now).peers;
  }

  want({ device }: Node): void {
    this.#shell.input((machine, now) => machine.resolve(0, { name: device.fqdn }, now));
  }

  /** The data plane: whatever is sent arrives, and is opened. */
  #perform(action: Extra): void {
    if (action.do === 'installKey') this.#epochs.set(action.pathId, action.epoch);
    else if (action.do === 'removePath') this.#epochs.delete(action.pathId);
    else if (action.do === 'setEndpoint') this.#families.set(action.pathId, familyOf(action.endpoint!.address));
    else if (action.do === 'sendPackets') {
      const { address4, address6, port } = this.#host;
      const from = { address: (this.#families.get(action.pathId) === 6 ? address6 : address4)!, port };
      for (const other of this.#all) if (other !== this) other.#opened(action.pathId, from);
    }
  }

  #opened(pathId: string, from: Endpoint): void {
    const epoch = this.#epochs.get(pathId);
    if (epoch === undefined) return;
    const event = { on: 'opened', pathId, epoch, from } as const;
    this.#parts.clock.after(10, () => this.#shell.input((machine, now) => machine.event(event, now)));
  }
}

/** What JavaScript holds: a key of OpenSSL has no memory of its own there while nothing uses it. */
async function measured() {
  // What finalizers free goes between events.
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, external } = process.memoryUsage();
  return { heapUsed, external };
}

const clock = new Clock();
const random = new Random(1);
const weather = { loss: 0, duplication: 0, reordering: 0, heldBack: 0 };
const primitives = nodePrimitives(evpAead, hkdf);
const network = new Network(clock, weather, random);
const parts: CloudParts = { clock, random, network, world: { primitives: () => primitives }, note: () => {} };
const pass = (ms: number) => {
  clock.run(clock.ms + ms);
};

const cloud = await Cloud.open(parts, 1);
const nodes: Node[] = [];
for (let i = 0; i < NODES; i++) {
  const device = await cloud.add(`d${i}`);
  const identity = generateIdentity(primitives);
  const request = { deviceId: device.deviceId, password: new Uint8Array(16), certificate: null, identity };
  const now = () => ({ ms: clock.ms, wall: clock.wall });
  cloud.logIn(primitives, request, now, (session) => nodes.push(new Node(parts, device, session, identity, nodes)));
  pass(1_000);
}

function meet(from: number, to: number): void {
  for (let step = from; step < to; step++) {
    for (const [i, node] of nodes.entries()) {
      const other = (i + step) % NODES;
      // Of two opposite each other one asks.
      if (2 * step < NODES || i < other) node.want(nodes[other]!);
      pass(20);
    }
  }
  pass(SETTLED_MS);
}

meet(1, WARM);
const before = await measured();
const known = nodes.reduce((sum, { peers }) => sum + peers.length, 0);
meet(WARM, NODES / 2 + 1);
cloud.nms.kill();
for (const relay of cloud.relays) relay.kill();
const after = await measured();
const kept = nodes.flatMap(({ peers }) => peers);
if (kept.some(({ path }) => path !== 'direct')) throw new Error('a path did not come up');
const each = (what: keyof typeof before): string => ((after[what] - before[what]) / (kept.length - known)).toFixed(0);
console.log(`${kept.length} peers: ${each('heapUsed')} octets of objects and ${each('external')} of buffers for each`);
