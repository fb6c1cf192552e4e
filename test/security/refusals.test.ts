/** Datagrams that real ones were made of, at real machines with real cryptography: dropped, counted, and nothing else. */

import { beforeEach, describe, expect, it } from 'vitest';
import { nodePrimitives } from '../../src/crypto/node.ts';
import type { Endpoint } from '../../src/lib/ip.ts';
import { CAPSULE_WINDOW, Suite } from '../../src/proto/constants.ts';
import type { DropReason } from '../../src/proto/drop.ts';
import { HeaderOffset } from '../../src/proto/header.ts';
import { evpAead } from '../../src/sys/evp.ts';
import { Lab } from '../core/node/lab.ts';
import type { SimNode } from '../sim/node.ts';

const primitives = nodePrimitives(evpAead);
const newLab = (): Promise<Lab> => Lab.open(1, 1, { primitives: () => primitives });

let lab: Lab;
let a: SimNode;
let b: SimNode;
let c: SimNode;

const endpointOf = ({ host }: SimNode): Endpoint => ({ address: host.address4!, port: host.port });

/** The last capsule that one sent to the other. */
function capsule(from: SimNode, to: SimNode): Uint8Array {
  const { address } = endpointOf(to);
  return lab.sent.findLast((sent) => sent.type === 'capsule' && sent.host === from.host && sent.to.address === address)!
    .datagram;
}

function changed(datagram: Uint8Array, at: number, octets: ArrayLike<number>): Uint8Array {
  const copy = datagram.slice();
  copy.set(octets, at);
  return copy;
}

/** Everything that one forged datagram might change. */
function stateOf(node: SimNode) {
  const peers = node.snapshot!.peers.map(({ fqdn, state, path, endpoint, epoch }) => [
    fqdn,
    state,
    path,
    endpoint,
    epoch,
  ]);
  return { peers, sizes: node.sizes, arrived: lab.arrived.length, lives: node.lives };
}

/** The datagram gets to `node` as if from `from`, and nothing but this counter changes. */
function expectRefused(node: SimNode, from: SimNode, datagram: Uint8Array, reason: DropReason): void {
  const before = { state: stateOf(node), counters: node.counters.snapshot() };
  const sent = lab.sent.length;
  lab.network.send(from.host, endpointOf(node), datagram);
  lab.pass(50);
  const drop = `drop-${reason}`;
  expect(node.counters.snapshot()).toEqual({ ...before.counters, [drop]: (before.counters[drop] ?? 0) + 1 });
  expect(stateOf(node)).toEqual(before.state);
  const regular = lab.sent.filter(({ type }) => type === 'keepAlive' || type === 'sizeProbe');
  const known = new Set(regular.map(transactionOf));
  const answers = lab.sent.slice(sent).filter((one) => one.host === node.host && !known.has(transactionOf(one)));
  expect(answers).toEqual([]);
}

/** The same for a request and its answer. */
function transactionOf({ datagram }: { readonly datagram: Uint8Array }): number {
  return new DataView(datagram.buffer, datagram.byteOffset).getUint32(0);
}

describe('a capsule', () => {
  beforeEach(async () => {
    lab = await newLab();
    a = await lab.node('a', lab.publicly());
    b = await lab.node('b', lab.publicly());
    c = await lab.node('c', lab.publicly());
    for (const [from, to] of [
      [a, b],
      [b, a],
      [c, a],
    ] as const) {
      expect(lab.reaches(from, to)).toBe(true);
    }
    lab.pass(3_000);
  });

  it('that came before is refused', () => {
    expect(lab.reaches(b, a)).toBe(true);
    expectRefused(a, b, capsule(b, a), 'replayed');
  });

  it('that comes behind the window is refused, and one inside it is not', () => {
    const held: Uint8Array[] = [];
    lab.tamper = ({ datagram }) => {
      held.push(datagram);
      return 'lose';
    };
    lab.send(b, a);
    lab.send(b, a);
    lab.tamper = () => 'pass';
    for (let i = 0; i < CAPSULE_WINDOW - 1; i++) lab.send(b, a);
    lab.pass(50);
    expectRefused(a, b, held[0]!, 'replayed');
    const arrived = lab.arrived.length;
    lab.network.send(b.host, endpointOf(a), held[1]!);
    lab.pass(50);
    expect(lab.arrived).toHaveLength(arrived + 1);
  });

  it('with an altered tag, number, flag or content is refused', () => {
    lab.tamper = ({ type }) => (type === 'capsule' ? 'lose' : 'pass');
    lab.send(b, a);
    lab.tamper = () => 'pass';
    const genuine = capsule(b, a);
    const last = genuine.length - 1;
    const places = [HeaderOffset.flags, HeaderOffset.sequence + 2, HeaderOffset.transactionId, 40, last];
    for (const at of places) expectRefused(a, b, changed(genuine, at, [genuine[at]! ^ 1]), 'tag');
    const arrived = lab.arrived.length;
    lab.network.send(b.host, endpointOf(a), genuine);
    lab.pass(50);
    expect(lab.arrived).toHaveLength(arrived + 1);
  });

  it('of another path, of the other direction, or of another epoch is refused', () => {
    const fresh = Uint8Array.of(0, 0, 100);
    const pathOfB = Uint8Array.fromHex(a.pathsTo(b)[0]!);
    const ofC = changed(capsule(c, a), HeaderOffset.sequence, fresh);
    expectRefused(a, c, changed(ofC, HeaderOffset.id, pathOfB), 'tag');
    expectRefused(a, b, changed(capsule(a, b), HeaderOffset.sequence, fresh), 'tag');
    expectRefused(a, b, changed(capsule(b, a), HeaderOffset.epoch, [200]), 'unknown-epoch');
    expectRefused(a, b, changed(capsule(b, a), HeaderOffset.id, new Uint8Array(16).fill(7)), 'unknown-path');
  });

  it('from before both sides started anew is refused', () => {
    const old = capsule(b, a);
    for (const node of [a, b, c]) node.kill();
    for (const node of [a, b]) node.start();
    lab.pass(3_000);
    expectRefused(a, b, old, 'unknown-path');
    expect(lab.reaches(b, a)).toBe(true);
    expectRefused(a, b, old, 'unknown-path');
    const relabelled = changed(old, HeaderOffset.id, Uint8Array.fromHex(a.pathsTo(b)[0]!));
    expectRefused(a, b, changed(relabelled, HeaderOffset.sequence, [0, 0, 100]), 'tag');
  });
});

describe('a device that is disabled', () => {
  it('is named to nobody any more, and its tunnels end on both sides', async () => {
    lab = await newLab();
    a = await lab.node('a', lab.publicly());
    b = await lab.node('b', lab.publicly());
    c = await lab.node('c', lab.publicly());
    expect(lab.reaches(a, b)).toBe(true);
    await lab.cloud.register.setEnabled('b', false);
    lab.pass(10_000);
    expect(b.refused).toBe(true);
    for (const node of [a, b]) expect(node.sizes).toEqual({ paths: 0, keys: 0, routes: 0 });
    const refused = lab.cloud.counters.nms.get('drop-direction-refused');
    const answers: unknown[] = [];
    c.resolve(b.device.fqdn, (answer) => answers.push(answer));
    lab.pass(3_000);
    expect(answers).toEqual([{ status: 'unknown' }]);
    expect(lab.cloud.counters.nms.get('drop-direction-refused')).toBe(refused + 1);
    expect(c.sizes).toEqual({ paths: 0, keys: 0, routes: 0 });
  });
});

describe('a suite', () => {
  it.each([
    [Suite.aes256Gcm, Suite.cbcMd5],
    [Suite.cbcMd5, Suite.chacha20Poly1305],
  ])('%i does not talk with suite %i, in either direction', async (first, second) => {
    lab = await newLab();
    a = await lab.node('a', lab.publicly(), first);
    b = await lab.node('b', lab.publicly(), second);
    lab.send(a, b);
    lab.send(b, a);
    lab.pass(15_000);
    expect(lab.arrived).toEqual([]);
    expect(lab.sent.filter(({ type }) => type === 'capsule' || type === 'tunnelRequest')).toEqual([]);
    expect(lab.cloud.counters.nms.get('drop-direction-refused')).toBeGreaterThanOrEqual(2);
    for (const node of [a, b]) expect(node.sizes).toEqual({ paths: 0, keys: 0, routes: 0 });
  });
});
