import { beforeEach, describe, expect, it } from 'vitest';
import type { Endpoint } from '../../../src/lib/ip.ts';
import { Flag, NoticeReason } from '../../../src/proto/messages.ts';
import { Refusal } from '../../../src/proto/options.ts';
import { Cloud, nmsEndpoint } from '../support/cloud.ts';
import type { FakeNode } from '../support/node.ts';

const home: Endpoint = { address: '192.0.2.7', port: 7444 };
const nat: Endpoint = { address: '203.0.113.5', port: 61_000 };

let cloud: Cloud;
let node: FakeNode;

beforeEach(() => {
  cloud = new Cloud();
  node = cloud.addNode(cloud.addDevice('a'), home);
});

describe('registration', () => {
  it('is challenged once, then answered with what the NMS sees', () => {
    expect(node.register()).toMatchObject({
      type: 'registrationResponse',
      body: { natFlag: 0 },
      options: { mapped: { endpoint: home } },
    });
    expect(cloud.counts.get('challenges')).toBe(1);
    node.register();
    expect(cloud.counts.get('challenges')).toBe(1);
    expect(cloud.nms.sizes.nodes).toBe(1);
  });

  it('notices a NAT by the address and by the port alone', () => {
    const behind = cloud.addNode(cloud.addDevice('b'), { address: '10.0.0.2', port: 7444 }, nat);
    expect(behind.register()).toMatchObject({ body: { natFlag: 1 } });
    const moved = cloud.addNode(cloud.addDevice('c'), home, { ...home, port: 7445 });
    expect(moved.register()).toMatchObject({ body: { natFlag: 1 } });
  });

  it('tells the register when it saw a node, not at every message', () => {
    node.register();
    for (let i = 0; i < 10; i++) node.keepAlive();
    const at = cloud.now.wall;
    cloud.pass(1_000);
    expect(cloud.register.changes).toEqual([{ set: 'seen', nodes: [{ nodeId: node.device.nodeId, at }] }]);
    cloud.pass(50_000);
    node.keepAlive();
    cloud.pass(1_000);
    expect(cloud.register.changes).toHaveLength(2);
  });

  it('tells the register of many nodes at once', () => {
    const nodes = Array.from({ length: 20 }, (_, i) =>
      cloud.addNode(cloud.addDevice(`n${i}`), { ...home, port: 8_000 + i }),
    );
    for (const each of nodes) each.register();
    cloud.pass(1_000);
    const told = nodes.map(({ device }) => ({ nodeId: device.nodeId, at: expect.any(Number) }));
    expect(cloud.register.changes).toEqual([{ set: 'seen', nodes: told }]);
  });

  it('is asked for again by a node that is unknown, but alive', () => {
    expect(node.keepAlive()).toMatchObject({
      type: 'ack',
      flags: Flag.response | Flag.failure,
      options: { refusal: { reason: Refusal.offline } },
    });
    node.register();
    expect(node.keepAlive()).toMatchObject({ flags: Flag.response, options: { mapped: { endpoint: home } } });
  });

  it('is forgotten 90 s after the last datagram', () => {
    node.register();
    cloud.pass(60_000);
    node.keepAlive();
    cloud.pass(60_000);
    expect(cloud.nms.sizes.nodes).toBe(1);
    cloud.pass(40_000);
    expect(cloud.nms.sizes.nodes).toBe(0);
  });

  it('accepts the pending Common Key as well as the current one', () => {
    const fresh = new Uint8Array(32).fill(3);
    cloud.register.change(node.device.nodeId, { pendingCommonKey: fresh });
    cloud.changed();
    expect(node.register()).toBeDefined();
    node.restart(fresh);
    expect(node.register()).toBeDefined();
  });

  it('asks the register again when a tag does not fit, once a second', () => {
    node.register();
    const fresh = new Uint8Array(32).fill(3);
    cloud.register.change(node.device.nodeId, { commonKey: fresh });
    node.restart(fresh);
    expect(node.register()).toBeDefined();

    const before = cloud.register.queries.length;
    node.restart(new Uint8Array(32).fill(4));
    for (let i = 0; i < 50; i++) node.keepAlive();
    expect(cloud.register.queries.length).toBeLessThanOrEqual(before + 1);
    expect(cloud.drops.get('tag')).toBeGreaterThan(0);
    cloud.pass(1_500);
    node.keepAlive();
    expect(cloud.register.queries.length).toBeLessThanOrEqual(before + 3);
  });
});

describe('a node that is not to be believed', () => {
  it('is not moved by a registration raced from another address', () => {
    node.register();
    const recorded: Uint8Array[] = [];
    cloud.filter = ({ from, datagram }) => {
      if (from === node.mapped) recorded.push(datagram);
      return from !== node.mapped;
    };
    node.register();
    cloud.filter = () => true;
    expect(recorded).toHaveLength(1);
    const thief: Endpoint = { address: '203.0.113.66', port: 1 };
    for (const datagram of recorded) cloud.send(thief, nmsEndpoint, datagram);
    const b = cloud.addNode(cloud.addDevice('b'), { address: '192.0.2.8', port: 7444 });
    b.register();
    const answer = b.direct('a.lab.example', '1'.repeat(32));
    expect(answer).toMatchObject({
      type: 'routeDirection',
      flags: Flag.response,
      body: { natResponder4: home.address },
    });
  });

  it('is not moved back by what it sent before it moved', () => {
    node.register();
    const held: Uint8Array[] = [];
    cloud.filter = ({ from, datagram }) => {
      if (from === node.mapped) held.push(datagram);
      return from !== node.mapped;
    };
    node.keepAlive();
    cloud.filter = () => true;
    const old = node.mapped;
    node.mapped = nat;
    cloud.place(node);
    expect(node.register()).toMatchObject({ options: { mapped: { endpoint: nat } } });
    for (const datagram of held) cloud.send(old, nmsEndpoint, datagram);
    const b = cloud.addNode(cloud.addDevice('b'), { address: '192.0.2.8', port: 7444 });
    b.register();
    expect(b.direct('a.lab.example', '1'.repeat(32))).toMatchObject({ body: { natResponder4: nat.address } });
  });

  it('changes nothing by replayed datagrams', () => {
    node.register();
    const recorded = cloud.sent.filter((s) => s.to === node.nms);
    const answers = cloud.sent.length;
    for (const { from, to, datagram } of recorded) cloud.send(from, to, datagram);
    // The very first one too, which was never believed: its sender proved itself with a later one.
    expect(cloud.drops.get('replayed')).toBe(recorded.length);
    expect(recorded.length).toBeGreaterThan(1);
    expect(cloud.sent.length - answers).toBe(recorded.length);
  });

  it('is of an earlier life: refused after NMS and node restarted, while the new life gets in', () => {
    node.register();
    node.keepAlive();
    const recorded = cloud.sent.filter((s) => s.to === node.nms);
    expect(recorded.length).toBeGreaterThan(2);
    cloud.startNms('second');
    node.restart();
    expect(node.register()).toBeDefined();
    const { nodes } = cloud.nms.sizes;
    const registrations = cloud.counts.get('registrations');
    for (const { from, to, datagram } of recorded) cloud.send(from, to, datagram);
    expect(cloud.counts.get('registrations')).toBe(registrations);
    expect(cloud.nms.sizes.nodes).toBe(nodes);
    expect(node.keepAlive()).toBeDefined();
  });

  it('recovers when only the NMS restarted', () => {
    node.register();
    cloud.startNms('second');
    expect(node.keepAlive()).toMatchObject({ flags: Flag.response | Flag.failure });
    expect(node.register()).toBeDefined();
  });

  it('speaks from inside the overlay: a loop', () => {
    const inside = cloud.addNode(cloud.addDevice('x'), { address: '100.80.0.9', port: 7444 });
    expect(inside.register()).toBeUndefined();
    expect(cloud.drops.get('forbidden-address')).toBe(1);
  });
});

describe('strangers', () => {
  const stray = (id: string): void => {
    const device = { ...node.device, nodeId: id, deviceId: `stray ${id}` };
    cloud.addNode(device, nat).keepAlive();
  };

  it('are dropped, and asked for once', () => {
    const queries = cloud.register.queries.length;
    for (let i = 0; i < 20; i++) stray('f'.repeat(32));
    expect(cloud.drops.get('unknown-sender')).toBe(20);
    expect(cloud.register.queries.length).toBe(queries + 1);
  });

  it('are found once they are registered', () => {
    const { nodeId, revision: _, ...device } = cloud.addDevice('b');
    cloud.register.devices.delete(nodeId);
    const b = cloud.addNode({ ...device, nodeId, revision: 0 }, home);
    b.register();
    cloud.register.put({ ...device, nodeId });
    cloud.changed();
    expect(b.register()).toBeDefined();
  });

  it('in any number neither fill the memory nor flood the register', () => {
    const { nodes } = cloud.nms.sizes;
    const queries = cloud.register.queries.length;
    const random = cloud.world.primitives('flood').random;
    node.register();
    const datagram = cloud.sent.findLast((s) => s.to === node.nms)!.datagram;
    let loads = 0;
    for (let i = 0; i < 20_000; i++) {
      const forged = datagram.slice();
      forged.set(random(16), 16);
      const actions = cloud.nms.receive(forged, home, cloud.now);
      loads += actions.filter((a) => a.do === 'load').length;
    }
    expect(loads).toBeLessThanOrEqual(512);
    expect(cloud.nms.sizes).toMatchObject({ nodes: nodes + 1 });
    expect(cloud.nms.sizes.records).toBeLessThan(5_000);
    expect(cloud.register.queries.length).toBeLessThan(queries + 10);
    // Authenticated nodes go on asking, and the unanswered questions are given up.
    cloud.addDevice('b');
    expect(node.direct('b.lab.example', '1'.repeat(32))).toMatchObject({
      options: { refusal: { reason: Refusal.offline } },
    });
    cloud.pass(6_000);
    expect(cloud.nms.sizes.questions).toBe(0);
  });

  it('of one site keep no other from being asked for', () => {
    node.register();
    const datagram = cloud.sent.findLast((s) => s.to === node.nms)!.datagram;
    const random = cloud.world.primitives('flood').random;
    for (let i = 0; i < 5_000; i++) {
      const forged = datagram.slice();
      forged.set(random(16), 16);
      cloud.nms.receive(forged, nat, cloud.now);
    }
    const b = cloud.addNode(cloud.addDevice('b'), { address: '192.0.2.8', port: 7444 });
    expect(b.register()).toMatchObject({ type: 'registrationResponse' });
  });

  it('wait for the register no longer than it takes to be asked for again', () => {
    cloud.register.broken = true;
    stray('f'.repeat(32));
    expect(cloud.drops.get('rate-limited')).toBe(1);
    cloud.register.broken = false;
    expect(node.register()).toBeDefined();
  });
});

describe('a node that lost its state', () => {
  it('is told to the peers of its paths, once', () => {
    const b = cloud.addNode(cloud.addDevice('b'), { address: '192.0.2.8', port: 7444 });
    node.register(Flag.first);
    b.register(Flag.first);
    node.direct('b.lab.example', '1'.repeat(32));
    expect(cloud.nms.sizes.paths).toBe(1);
    node.restart();
    node.register(Flag.first);
    node.register(Flag.first);
    expect(b.notices).toEqual([{ reason: NoticeReason.peerGone, subject: node.device.nodeId }]);
    expect(cloud.nms.sizes.paths).toBe(0);
  });

  it('may say goodbye', () => {
    const b = cloud.addNode(cloud.addDevice('b'), { address: '192.0.2.8', port: 7444 });
    node.register();
    b.register();
    node.direct('b.lab.example', '1'.repeat(32));
    const subject = node.device.nodeId;
    expect(
      node.request({ type: 'notice', id: subject, body: { reason: NoticeReason.serviceStopping, subject } }),
    ).toBeDefined();
    expect(b.notices).toEqual([{ reason: NoticeReason.peerGone, subject }]);
    expect(cloud.nms.sizes).toMatchObject({ nodes: 1, paths: 0 });
  });
});
