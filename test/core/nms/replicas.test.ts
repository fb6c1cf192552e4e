/** Several replicas of one NMS: every test spreads nodes over them as a network might, and takes some of it away. */

import { beforeEach, describe, expect, it } from 'vitest';
import { PresentNode } from '../../../src/core/nms/presence.ts';
import type { Endpoint } from '../../../src/lib/ip.ts';
import { Flag, NoticeReason } from '../../../src/proto/messages.ts';
import { Refusal, SenderKind } from '../../../src/proto/options.ts';
import { PartBuffer } from '../../../src/proto/parts.ts';
import { Cloud, nmsEndpoint, overlay } from '../support/cloud.ts';
import type { FakeNode } from '../support/node.ts';
import { P1, P2, pair, publicA, publicB, refused, trsAt } from '../support/pair.ts';

let cloud: Cloud;
/** Which replica hears which address. */
let routes: Map<string, number>;

function hears(node: FakeNode, replica: number): void {
  routes.set(node.mapped.address, replica);
}

beforeEach(() => {
  cloud = new Cloud();
  for (const number of [0, 1, 2]) cloud.startReplica(number);
  routes = new Map([
    [publicA.address, 0],
    [publicB.address, 1],
  ]);
  cloud.spread = ({ address }) => routes.get(address) ?? 0;
});

const offline = { flags: Flag.response | Flag.failure, options: { refusal: { reason: Refusal.offline } } };

describe('a node that the network leads to another replica', () => {
  it('is known there, with what it said before', () => {
    const [a, b] = pair(cloud);
    hears(a, 2);
    expect(a.keepAlive()).toMatchObject({ type: 'ack', flags: Flag.response });
    expect(cloud.replicas.get(2)!.sizes.nodes).toBe(1);
    hears(b, 2);
    expect(b.direct('a.lab.example', P1)).toMatchObject({ type: 'routeDirection', flags: Flag.response });
  });

  it('is challenged there before anything it says counts', () => {
    const [a] = pair(cloud);
    const before = cloud.counts.get('challenges')!;
    hears(a, 2);
    a.keepAlive();
    expect(cloud.counts.get('challenges')).toBe(before + 1);
  });

  it('registers again where the store was emptied, and is known to all from then on', () => {
    const [a] = pair(cloud);
    cloud.shared!.records.clear();
    hears(a, 2);
    expect(a.keepAlive()).toMatchObject(offline);
    a.register();
    hears(a, 1);
    expect(a.keepAlive()).toMatchObject({ flags: Flag.response });
  });

  it('is known again after its next keep-alive where the store was emptied', () => {
    const [a, b] = pair(cloud);
    cloud.shared!.records.clear();
    for (const nms of cloud.replicas.values()) cloud.run(nms, nms.sharedEmptied(), nmsEndpoint);
    expect(a.direct('b.lab.example', P1)).toMatchObject(refused(Refusal.offline));
    b.keepAlive();
    expect(a.direct('b.lab.example', P2)).toMatchObject({ flags: Flag.response });
  });

  it('has moved for good: what an earlier replica remembers does not count', () => {
    const [a, b] = pair(cloud);
    b.mapped = { address: '203.0.113.77', port: 5000 };
    cloud.place(b);
    routes.set(b.mapped.address, 2);
    b.register();
    // Replica 1 heard it at its former address.
    hears(a, 1);
    expect(a.direct('b.lab.example', P1)).toMatchObject({
      flags: Flag.response,
      body: { natResponder4: '203.0.113.77', natResponderPort: 5000 },
    });
  });

  it('renews its records, though not at every message', () => {
    const [a] = pair(cloud);
    const before = new Map(cloud.shared!.records);
    for (let i = 0; i < 10; i++) a.keepAlive();
    expect(cloud.shared!.records).toEqual(before);
    cloud.pass(50_000);
    a.keepAlive();
    expect(cloud.shared!.records.get(`at4 ${a.device.nodeId}`)).not.toBe(before.get(`at4 ${a.device.nodeId}`));
  });
});

describe('two nodes at two replicas', () => {
  it('are directed to each other: the answer of one is passed on to where it was asked', () => {
    const [a, b] = pair(cloud);
    expect(a.direct('b.lab.example', P1)).toMatchObject({ type: 'routeDirection', flags: Flag.response, id: P1 });
    expect(b.directed).toHaveLength(1);
    expect(cloud.counts.get('passed-on')).toBeGreaterThan(0);
  });

  it('through a relay that answers another replica than the one that asked', () => {
    const { trs } = cloud.addTrs('trs', trsAt);
    routes.set(trsAt.address, 2);
    const inside: Endpoint = { address: '10.0.0.2', port: 7444 };
    const [a, b] = pair(cloud, inside, publicA, { ...inside, address: '10.1.0.2' }, publicB);
    expect(a.direct('b.lab.example', P1)).toMatchObject({ flags: Flag.response, body: { trs4: trsAt.address } });
    expect(trs.sizes.paths).toBe(1);
    expect(b.bind(b.directed[0]!, SenderKind.responder, trsAt)).toMatchObject({ type: 'ack' });
  });

  it('stay on one path when a replica dies before it has answered', () => {
    cloud.addTrs('trs', trsAt);
    routes.set(trsAt.address, 1);
    const inside: Endpoint = { address: '10.0.0.2', port: 7444 };
    const [a, b] = pair(cloud, inside, publicA, { ...inside, address: '10.1.0.2' }, publicB);
    cloud.filter = ({ to }) => to.address !== publicA.address;
    expect(a.direct('b.lab.example', P1)).toBeUndefined();
    cloud.replicas.delete(0);
    hears(a, 2);
    cloud.filter = () => true;
    cloud.pass(1_000);
    expect(a.latest).toMatchObject({ type: 'routeDirection', flags: Flag.response });
    const [first, second] = b.directed;
    expect(second!.body.tunnelKey).toEqual(first!.body.tunnelKey);
    expect(second!.body.temporaryKey).toEqual(first!.body.temporaryKey);
    expect(cloud.drops.get('path-in-use')).toBeUndefined();
  });

  it('get other keys for another path, for other ends and after a new login', () => {
    const [a, b] = pair(cloud);
    a.direct('b.lab.example', P1);
    a.direct('b.lab.example', P2);
    b.direct('a.lab.example', 'c'.repeat(32));
    cloud.register.change(a.device.nodeId, { commonKey: new Uint8Array(32).fill(7) });
    cloud.changed();
    a.restart(new Uint8Array(32).fill(7));
    hears(a, 2);
    a.register();
    a.direct('b.lab.example', P1);
    const keys = [...b.directed, ...a.directed].map(({ body }) => body.tunnelKey.toHex());
    expect(keys).toHaveLength(4);
    expect(new Set(keys).size).toBe(4);
  });

  it('hear of each other through any replica: a new life, a goodbye, a revocation', () => {
    const [a, b] = pair(cloud);
    a.direct('b.lab.example', P1);
    b.restart();
    hears(b, 2);
    b.register(Flag.first);
    expect(a.notices).toEqual([{ reason: NoticeReason.peerGone, subject: b.device.nodeId }]);

    a.direct('b.lab.example', P2);
    const subject = b.device.nodeId;
    b.request({ type: 'notice', id: subject, body: { reason: NoticeReason.serviceStopping, subject } });
    expect(a.notices).toHaveLength(2);
    expect(a.direct('b.lab.example', 'd'.repeat(32))).toMatchObject(refused(Refusal.offline));

    b.register();
    a.direct('b.lab.example', 'e'.repeat(32));
    cloud.replicas.delete(0);
    hears(a, 1);
    a.keepAlive();
    cloud.register.change(subject, { state: 'disabled' });
    cloud.changed();
    cloud.pass(1_000);
    expect(a.notices.at(-1)).toEqual({ reason: NoticeReason.peerRevoked, subject });
  });

  it('tell peers of a device with new keys that its old ones count no more, also of paths that others directed', () => {
    const [a, b] = pair(cloud);
    a.direct('b.lab.example', P1);
    cloud.replicas.delete(0);
    hears(a, 1);
    a.keepAlive();
    cloud.register.change(b.device.nodeId, { handshakeKey: new Uint8Array(32).fill(8) });
    cloud.changed();
    cloud.pass(1_000);
    expect(a.notices.at(-1)).toEqual({ reason: NoticeReason.peerRevoked, subject: b.device.nodeId });
  });

  it('tell of a gone peer once, whoever else has heard of it', () => {
    const [a, b] = pair(cloud);
    a.direct('b.lab.example', P1);
    for (const replica of [0, 2, 1]) {
      hears(a, replica);
      a.keepAlive();
    }
    b.restart();
    b.register(Flag.first);
    cloud.pass(10_000);
    expect(a.notices).toHaveLength(1);
  });
});

describe('behind a balancer', () => {
  it('only the replica that hears a node sends to it, also what others have to say', () => {
    for (const number of [0, 1, 2]) cloud.startReplica(number, { behindBalancer: true });
    const [a, b] = pair(cloud);
    const senders = (to: FakeNode) => new Set(cloud.sentBy.get(to.mapped.address));
    expect(a.direct('b.lab.example', P1)).toMatchObject({ type: 'routeDirection', flags: Flag.response });
    expect(senders(a)).toEqual(new Set([0]));
    expect(senders(b)).toEqual(new Set([1]));
    // Moved to replica 2, which answers itself from then on.
    hears(b, 2);
    b.keepAlive();
    expect(a.direct('b.lab.example', P2)).toMatchObject({ type: 'routeDirection', flags: Flag.response });
    expect(senders(a)).toEqual(new Set([0]));
    expect(senders(b)).toEqual(new Set([1, 2]));
  });

  it('a replica that starts anew is known by its new number from the next word of a node on', () => {
    for (const number of [0, 1, 2]) cloud.startReplica(number, { behindBalancer: true });
    const [a, b] = pair(cloud);
    cloud.replicas.delete(1);
    cloud.startReplica(5, { behindBalancer: true });
    hears(b, 5);
    b.keepAlive();
    cloud.sentBy.clear();
    expect(a.direct('b.lab.example', P1)).toMatchObject({ type: 'routeDirection', flags: Flag.response });
    expect(new Set(cloud.sentBy.get(b.mapped.address))).toEqual(new Set([5]));
  });

  it('whoever forges the address of a node does not turn others away from the replica that hears it', () => {
    for (const number of [0, 1, 2]) cloud.startReplica(number, { behindBalancer: true });
    const [a, b] = pair(cloud);
    a.direct('b.lab.example', P1);
    const [forged] = b.channel.seal({ type: 'keepAlive', id: b.device.nodeId, transactionId: 7, body: {} });
    forged![forged!.length - 1]! ^= 1;
    cloud.sentBy.clear();
    cloud.filter = ({ from }) => from !== b.mapped;
    a.restart();
    a.register(Flag.first);
    cloud.filter = () => true;
    hears(b, 0);
    cloud.send(b.mapped, nmsEndpoint, forged!);
    hears(b, 1);
    cloud.pass(1_000);
    expect(b.notices.length).toBeGreaterThan(1);
    expect(new Set(cloud.sentBy.get(b.mapped.address))).toEqual(new Set([1]));
  });

  it('routing needs no such detour', () => {
    const [a, b] = pair(cloud);
    a.direct('b.lab.example', P1);
    expect(new Set(cloud.sentBy.get(b.mapped.address))).toEqual(new Set([0, 1]));
  });
});

describe('an NMS that starts anew, alone, on what it kept', () => {
  /** All that lived are dead; one with another number begins. */
  function restart(): void {
    cloud.replicas.clear();
    cloud.startReplica(7);
    cloud.spread = () => 7;
  }

  it('directs at once to a node that has said nothing since', () => {
    const [a, b] = pair(cloud);
    restart();
    expect(a.direct('b.lab.example', P1)).toMatchObject({ type: 'routeDirection', flags: Flag.response });
    expect(b.directed).toHaveLength(1);
  });

  it('believes nothing older than it would believe of its own', () => {
    const [a] = pair(cloud);
    cloud.pass(85_000);
    a.keepAlive();
    restart();
    cloud.pass(10_000);
    expect(a.direct('b.lab.example', P1)).toMatchObject(refused(Refusal.offline));
  });
});

describe('without the store', () => {
  it('a replica serves the nodes it hears and refuses at once to direct to others', () => {
    cloud.shared = null;
    const [a, b] = pair(cloud);
    expect(a.keepAlive()).toMatchObject({ flags: Flag.response });
    expect(a.direct('b.lab.example', P1)).toMatchObject(refused(Refusal.offline));
    hears(b, 0);
    expect(b.keepAlive()).toMatchObject(offline);
    b.register();
    expect(a.direct('b.lab.example', P2)).toMatchObject({ flags: Flag.response });
  });

  it('goes on without what is never answered', () => {
    const [a, b] = pair(cloud);
    const replica = cloud.replicas.get(0)!;
    const recalled = replica.recalled.bind(replica);
    replica.recalled = () => [];
    hears(b, 0);
    b.register();
    expect(b.latest).toBeUndefined();
    cloud.pass(4_000);
    replica.recalled = recalled;
    expect(b.latest).toMatchObject({ type: 'registrationResponse' });
    expect(a.direct('b.lab.example', P1)).toMatchObject({ flags: Flag.response });
  });

  it('takes nothing that is no record', () => {
    const [a] = pair(cloud);
    for (const text of ['', '{', 'null', '[]', '{"instance":1}', '{"instance":"x","sequence":1e9,"at":9e15}']) {
      for (const name of ['node', 'at4', 'at6']) cloud.shared!.records.set(`${name} ${a.device.nodeId}`, text);
      const known = cloud.replicas.size;
      hears(a, cloud.startReplica(known) ? known : 0);
      expect(a.keepAlive()).toMatchObject(offline);
      a.restart();
    }
  });
});

describe('a record that nobody of ours wrote', () => {
  it('tells nodes of no address that the node itself could not have named', () => {
    const [a, b] = pair(cloud);
    const { records } = cloud.shared!;
    const name = `node ${b.device.nodeId}`;
    const record = JSON.parse(records.get(name)!) as { sequence: number };
    const hosts = [
      { address: '192.0.2.77', port: 70_000, kind: 'host' },
      { address: '192.0.2.77', port: 0.5, kind: 'host' },
      { address: '127.0.0.1', port: 53, kind: 'host' },
      { address: '192.0.2.77', port: 53, kind: 'mapped' },
      { address: '10.9.8.7', port: 53, kind: 'host' },
    ];
    const real = { 4: '127.0.0.1', 6: 'ff02::1' };
    records.set(name, JSON.stringify({ ...record, sequence: record.sequence + 1, hosts, real }));
    hears(a, 2);
    const told = JSON.stringify(a.direct('b.lab.example', P1));
    expect(told).not.toMatch(/192\.0\.2\.77|127\.0\.0\.1|ff02::1/);
    expect(told).toContain('10.9.8.7');
  });
});

describe('answers to others', () => {
  it('are passed on at a bounded rate, and made up ones lead to nothing', () => {
    const [a] = pair(cloud);
    const before = cloud.sent.length;
    const datagrams = a.channel.seal({
      type: 'ack',
      id: a.device.nodeId,
      transactionId: 0x02_00_00_01,
      flags: Flag.response,
      body: {},
    });
    for (let i = 0; i < 10_000; i++) cloud.send({ address: '203.0.113.99', port: 5 }, nmsEndpoint, datagrams[0]!);
    expect(cloud.counts.get('passed-on')).toBeLessThan(5_000);
    expect(cloud.drops.get('rate-limited')).toBeGreaterThan(5_000);
    expect(cloud.sent.length - before).toBe(10_000);
  });

  it('are no business of an NMS that is the only one', () => {
    const single = new Cloud();
    const [a] = pair(single);
    expect(a.direct('b.lab.example', P1)).toMatchObject({ flags: Flag.response });
    expect(single.counts.get('passed-on')).toBeUndefined();
    expect(single.shared!.records.size + single.shared!.sets.size).toBe(0);
  });
});

describe('clocks that differ by 5 s', () => {
  const by = (instance: string) => ({ kind: SenderKind.node, instance: instance.repeat(32) });
  const make = (wall: number) => {
    const options = { primitives: cloud.primitives('presence'), overlay, parts: new PartBuffer() };
    return new PresentNode(options, cloud.addDevice(`x${wall}`), { ms: 0, wall });
  };
  const records = (node: PresentNode, wall: number): (string | null)[] => {
    const due = node.dueRecords({ ms: 100, wall });
    return ['node', 'at4', 'at6'].map((name) => due.find((record) => record.name === name)?.value ?? null);
  };

  it.each([-5_000, 5_000])('hide no node and no move (%i ms)', (skew) => {
    const wall = 1_700_000_000_000;
    const ahead = make(wall + skew);
    const here = make(wall);
    here.hear(by('1'), { sequence: 5, flags: 0 }, publicA, 0, { ms: 90, wall: wall + 90 });
    ahead.hear(by('1'), { sequence: 6, flags: 0 }, publicB, 1, { ms: 100, wall: wall + skew + 100 });
    here.restore(records(ahead, wall + skew + 100), { ms: 100, wall: wall + 100 });
    expect(here.mapped(4, { ms: 101, wall: wall + 101 })).toEqual(publicB);
    // A node is silent for 70 s at most between two renewals of its record.
    expect(here.mapped(4, { ms: 75_000, wall: wall + 75_000 })).toEqual(publicB);
    expect(here.mapped(4, { ms: 110_000, wall: wall + 110_000 })).toBeNull();
  });
});
