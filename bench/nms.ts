/**
 * `npm run bench:nms -- [nodes…]` (10000 100000): the NMS's machine alone, driven directly by simulated nodes with real
 * cryptography: memory per node, processor time per message, and what it takes to absorb all nodes at once. Nodes and
 * machine share one thread; only the time inside the machine counts. The register answers at once.
 */

import type { Action } from '../src/core/nms/actions.ts';
import { NmsMachine } from '../src/core/nms/machine.ts';
import { nodePrimitives } from '../src/crypto/node.ts';
import type { Device, RegisterAnswer, RegisterQuery } from '../src/lib/device.ts';
import { canonicalAddress, type Endpoint, formatAddress, formatEndpoint, parsePrefix } from '../src/lib/ip.ts';
import type { Now } from '../src/lib/time.ts';
import { Flag } from '../src/proto/messages.ts';
import { evpAead } from '../src/sys/evp.ts';
import { hkdf } from '../src/sys/hkdf.ts';
import { enrolledDevice } from '../test/core/support/device.ts';
import { FakeNode, type Host } from '../test/core/support/node.ts';

const sizes = process.argv.slice(2).map(Number);
const at: Endpoint = { address: '198.51.100.10', port: 7441 };
/** So many of the nodes go on talking. */
const TALKERS = 2_000;
const KIB = 1024;

const primitives = nodePrimitives(evpAead, hkdf);
const overlay = [parsePrefix('10.64.0.0/10')!, parsePrefix('fd00:1::/64')!];

/** Register, network and clock of one machine under load. */
class Bench implements Host {
  readonly machine: NmsMachine;
  readonly #devices = new Map<string, Device>();
  readonly #nodes = new Map<string, FakeNode>();
  /** Simulated: nodes come at the rate at which an NMS asks the register for ones it does not know. */
  ms = 1_000;
  /** Milliseconds of processor time inside the machine, and the most at one go. */
  spent = 0;
  longest = 0;

  constructor() {
    this.machine = new NmsMachine({
      primitives,
      nodeId: primitives.random(16).toHex(),
      keys: primitives.x25519Generate(),
      overlay,
      ipv4: true,
      ipv6: true,
    });
    this.#run((now) => this.machine.registerChanged(now));
  }

  get now(): Now {
    return { ms: this.ms, wall: Date.now() };
  }

  primitives = () => primitives;

  send(from: Endpoint, _: Endpoint, datagram: Uint8Array): void {
    this.#run((now) => this.machine.receive(datagram, from, now));
  }

  add(index: number): FakeNode {
    const device = deviceOf(index);
    for (const name of [device.nodeId, device.fqdn]) this.#devices.set(name, device);
    const source = formatAddress(Uint8Array.of(172, 16 | (index >> 16), (index >> 8) & 255, index & 255));
    const endpoint = { address: source, port: 7444 };
    const node = new FakeNode(this, device, endpoint, endpoint, at);
    this.#nodes.set(formatEndpoint(endpoint), node);
    return node;
  }

  forget(node: FakeNode): void {
    this.#nodes.delete(formatEndpoint(node.mapped));
    node.channel.close();
  }

  #run(give: (now: Now) => readonly Action[]): void {
    const began = process.threadCpuUsage();
    const actions = give(this.now);
    const { user, system } = process.threadCpuUsage(began);
    const took = (user + system) / 1_000;
    this.spent += took;
    this.longest = Math.max(this.longest, took);
    for (const action of actions) {
      if (action.do === 'send') this.#nodes.get(formatEndpoint(action.to))?.receive(action.datagram, at);
      if (action.do === 'load') {
        const answer = this.#answer(action.query);
        this.#run((now) => this.machine.loaded(action.ticket, answer, now));
      }
      if (action.do === 'save') this.#run((now) => this.machine.saved(action.ticket, 'saved', now));
    }
  }

  #answer(query: RegisterQuery): RegisterAnswer {
    if (query.get === 'device') return { got: 'device', device: this.#devices.get(query.selector.value) ?? null };
    if (query.get === 'services') return { got: 'services', services: [] };
    return { got: 'changes', revision: 1, changed: [], removed: [] };
  }
}

function deviceOf(index: number): Device {
  const host = index + 2;
  const vips = {
    vip4: formatAddress(Uint8Array.of(10, 64 + (host >> 16), (host >> 8) & 255, host & 255)),
    vip6: canonicalAddress(`fd00:1::${(host >> 16).toString(16)}:${(host & 0xffff).toString(16)}`),
  };
  return { ...enrolledDevice(primitives, `n${index}`, 'bench.example', vips), revision: 1 };
}

function memory(): number {
  globalThis.gc?.();
  return process.memoryUsage.rss();
}

/** Microseconds inside the machine for each of them; fails if one went unanswered. */
function cost(bench: Bench, count: number, ask: (i: number) => unknown): string {
  bench.spent = 0;
  for (let i = 0; i < count; i++) {
    bench.ms += 1;
    if (ask(i) === undefined) throw new Error(`request ${i} was not answered`);
  }
  return ((bench.spent * 1_000) / count).toFixed(1);
}

console.log(
  '| nodes | all register, s | µs each | longest, ms | memory per node, KiB | keep-alive, µs | registration again, µs | direction, µs |',
);
console.log('| --- | --- | --- | --- | --- | --- | --- | --- |');
for (const count of sizes.length > 0 ? sizes : [10_000, 100_000]) {
  const bench = new Bench();
  const talkers: FakeNode[] = [];
  const before = memory();
  for (let i = 0; i < count; i++) {
    const node = bench.add(i);
    bench.ms += 0.6;
    if (node.register(Flag.first) === undefined) throw new Error(`node ${i} was not registered`);
    if (i % Math.ceil(count / TALKERS) === 0) talkers.push(node);
    else bench.forget(node);
  }
  const { spent, longest } = bench;
  const perNode = (memory() - before) / count / KIB;
  const talker = (i: number): FakeNode => talkers[i % talkers.length]!;
  const cells = [
    cost(bench, 5 * TALKERS, (i) => talker(i).keepAlive()),
    cost(bench, TALKERS, (i) => talker(i).register()),
    cost(bench, TALKERS, (i) => talker(i).direct(talker(i + 1).device.fqdn, primitives.random(16).toHex())),
  ];
  const first = [
    count,
    (spent / 1_000).toFixed(1),
    ((spent * 1_000) / count).toFixed(0),
    longest.toFixed(0),
    perNode.toFixed(1),
  ];
  console.log(`| ${[...first, ...cells].join(' | ')} |`);
}
