import { beforeEach, describe, expect, it } from 'vitest';
import { Flag, NoticeReason } from '../../../src/proto/messages.ts';
import { Refusal } from '../../../src/proto/options.ts';
import { Cloud } from '../support/cloud.ts';
import type { FakeNode } from '../support/node.ts';
import { insideA, insideB, natA, natB, P1, P2, pair, publicA, refused, trsAt } from '../support/pair.ts';

let cloud: Cloud;

beforeEach(() => {
  cloud = new Cloud();
});

describe('a revoked device', () => {
  const relayedPair = (): [FakeNode, FakeNode] => {
    const [a, b] = pair(cloud, insideA, natA, insideB, natB);
    a.direct('b.lab.example', P1);
    return [a, b];
  };

  it.each(['disabled', 'removed'])('that was %s is told so, its peers and the relay too', (how) => {
    const { trs } = cloud.addTrs('trs', trsAt);
    const [a, b] = relayedPair();
    if (how === 'disabled') cloud.register.change(b.device.nodeId, { state: 'disabled' });
    else cloud.register.remove(b.device.nodeId);
    expect(trs.sizes.paths).toBe(1);
    cloud.changed();
    expect(b.notices).toEqual([{ reason: NoticeReason.refused, subject: b.device.nodeId }]);
    expect(a.notices).toContainEqual({ reason: NoticeReason.peerRevoked, subject: b.device.nodeId });
    expect(trs.sizes.paths).toBe(0);
    expect(cloud.nms.sizes.paths).toBe(0);
  });

  it('stays refused, and is welcome when enabled again', () => {
    const [a, b] = pair(cloud);
    cloud.register.change(b.device.nodeId, { state: 'disabled' });
    cloud.changed();
    const disabled = { flags: Flag.response | Flag.failure, options: { refusal: { reason: Refusal.disabled } } };
    expect(b.keepAlive()).toMatchObject(disabled);
    expect(b.register()).toMatchObject({ type: 'registrationResponse', ...disabled });
    expect(b.direct('a.lab.example', P1)).toMatchObject(refused(Refusal.disabled));
    expect(a.direct('b.lab.example', P1)).toMatchObject(refused(Refusal.disabled));
    cloud.register.change(b.device.nodeId, { state: 'enrolled' });
    cloud.changed();
    expect(b.register()).toMatchObject({ flags: Flag.response });
    expect(a.direct('b.lab.example', P2)).toMatchObject({ flags: Flag.response });
  });

  it('is welcome as soon as it was enabled, also before the NMS was told', () => {
    const [, b] = pair(cloud);
    cloud.register.change(b.device.nodeId, { state: 'disabled' });
    cloud.changed();
    cloud.pass(2_000);
    cloud.register.change(b.device.nodeId, { state: 'enrolled' });
    const answer = b.register();
    expect(answer).toMatchObject({ type: 'registrationResponse', flags: Flag.response });
    expect(b.keepAlive()).toMatchObject({ type: 'ack', flags: Flag.response });
  });

  it('is asked to knock again, not refused, while the register may not be asked', () => {
    const [, b] = pair(cloud);
    cloud.register.change(b.device.nodeId, { state: 'disabled' });
    cloud.changed();
    expect(b.register()).toMatchObject({ options: { refusal: { reason: Refusal.disabled } } });
    cloud.register.change(b.device.nodeId, { state: 'enrolled' });
    cloud.pass(500);
    expect(b.register()).toBeUndefined();
    expect(cloud.drops.get('rate-limited')).toBe(1);
    cloud.pass(500);
    expect(b.register()).toMatchObject({ type: 'registrationResponse', flags: Flag.response });
  });

  it.each([0, 120_000])('does not hear %i ms later, enabled, that it was refused', (away) => {
    const [a, b] = relayedPair();
    cloud.filter = ({ to }) => to.port !== b.mapped.port;
    cloud.register.change(b.device.nodeId, { state: 'disabled' });
    cloud.changed();
    cloud.pass(away);
    cloud.register.change(b.device.nodeId, { state: 'enrolled' });
    cloud.changed();
    cloud.filter = () => true;
    a.register();
    b.register();
    cloud.pass(30_000);
    expect(b.notices).toEqual([]);
  });

  it('is forgotten, however often it knocks', () => {
    const [, b] = pair(cloud);
    cloud.register.remove(b.device.nodeId);
    cloud.changed();
    for (let i = 0; i < 4; i++) {
      expect(b.keepAlive()).toMatchObject({ options: { refusal: { reason: Refusal.disabled } } });
      cloud.pass(25_000);
    }
    expect(b.keepAlive()).toBeUndefined();
    expect(cloud.drops.get('unknown-sender')).toBe(1);
  });

  it('loses its directions under way', () => {
    const [a, b] = pair(cloud);
    b.confirm = null;
    a.direct('b.lab.example', P1);
    cloud.register.change(b.device.nodeId, { state: 'disabled' });
    cloud.changed();
    expect(a.latest).toMatchObject(refused(Refusal.disabled));
  });

  it('is named to nodes that may have paths from before the NMS started', () => {
    const [a, b] = pair(cloud);
    const c = cloud.addNode(cloud.addDevice('c'), { address: '192.0.2.9', port: 7444 });
    cloud.startNms('second');
    a.register();
    b.register();
    c.register(Flag.first);
    cloud.register.remove(b.device.nodeId);
    cloud.changed();
    expect(a.notices).toEqual([{ reason: NoticeReason.peerRevoked, subject: b.device.nodeId }]);
    expect(c.notices).toEqual([]);
  });

  it('is named to a peer although it made us forget their path by asking for many others', () => {
    const [a, b, c] = ['a', 'b', 'c'].map((name, i) =>
      cloud.addNode(cloud.addDevice(name), { address: `192.0.2.${i + 1}`, port: 7444 }),
    ) as [FakeNode, FakeNode, FakeNode];
    for (const node of [a, b, c]) node.register(Flag.first);
    expect(b.direct('a.lab.example', P1)).toMatchObject({ flags: Flag.response });
    for (let i = 0; i < 1_024; i++) {
      b.direct('c.lab.example', i.toString(16).padStart(32, '0'));
      cloud.ms += 1_000;
    }
    a.register();
    cloud.register.remove(b.device.nodeId);
    cloud.changed();
    expect(a.notices).toEqual([{ reason: NoticeReason.peerRevoked, subject: b.device.nodeId }]);
  });

  it('loses the relay of paths from before the NMS started', () => {
    const { trs } = cloud.addTrs('trs', trsAt);
    const [, b] = relayedPair();
    cloud.startNms('second');
    cloud.register.remove(b.device.nodeId);
    cloud.changed();
    expect(trs.sizes.paths).toBe(0);
  });

  it.each([0, 100_000])('is named to a peer that was away for %i ms as soon as that is back', (away) => {
    const [a, b] = relayedPair();
    cloud.filter = ({ from, to }) => from !== a.mapped && to.port !== a.mapped.port;
    cloud.pass(away);
    cloud.register.remove(b.device.nodeId);
    cloud.changed();
    cloud.pass(120_000);
    expect(a.notices).toEqual([]);
    cloud.filter = () => true;
    a.register();
    expect(a.notices).toEqual([{ reason: NoticeReason.peerRevoked, subject: b.device.nodeId }]);
  });

  it('is repeated until it is acknowledged', () => {
    const [a, b] = relayedPair();
    let lost = 2;
    cloud.filter = ({ to }) => to.port !== a.mapped.port || --lost < 0;
    cloud.register.remove(b.device.nodeId);
    cloud.changed();
    expect(a.notices).toEqual([]);
    cloud.pass(2_000);
    expect(a.notices).toEqual([{ reason: NoticeReason.peerRevoked, subject: b.device.nodeId }]);
  });

  it.each(['removed', 'given other keys'])('that was %s loses the relay of paths that only the TRS knows of', (how) => {
    const { trs } = cloud.addTrs('trs', trsAt);
    const [a, b] = relayedPair();
    cloud.startNms('second');
    a.register();
    b.register();
    if (how === 'removed') cloud.register.remove(b.device.nodeId);
    else cloud.register.change(b.device.nodeId, { handshakeKey: new Uint8Array(32).fill(8) });
    cloud.changed();
    expect(trs.sizes.paths).toBe(0);
    expect(a.notices).toEqual([{ reason: NoticeReason.peerRevoked, subject: b.device.nodeId }]);
  });

  it('loses its paths, not its place, when its keys are replaced', () => {
    const [a, b] = relayedPair();
    cloud.register.change(b.device.nodeId, { handshakeKey: new Uint8Array(32).fill(8) });
    cloud.changed();
    // What the peer stored of it is of no use to who has its old keys.
    expect(a.notices).toEqual([{ reason: NoticeReason.peerRevoked, subject: b.device.nodeId }]);
    expect(b.notices).toEqual([]);
    expect(b.keepAlive()).toMatchObject({ flags: Flag.response });
  });
});

describe('an adapter', () => {
  it('is told when what it serves changes, not at every login', () => {
    const adapter = cloud.addNode(cloud.addDevice('gw', { kind: 'adapter' }), publicA);
    adapter.register(Flag.first);
    const told = [{ reason: NoticeReason.registerChanged, subject: adapter.device.nodeId }];
    const camera = cloud.addDevice('cam', { kind: 'general', adapter: 'gw', mac: '02:00:00:00:00:01', auth: 'mac' });
    cloud.changed();
    expect(adapter.notices).toEqual(told);
    const general = cloud.addNode(camera, { ...publicA, port: 7450 });
    general.register();
    cloud.register.change(camera.nodeId, { pendingCommonKey: new Uint8Array(32) });
    cloud.changed();
    expect(adapter.notices).toEqual(told);
    cloud.register.change(camera.nodeId, { mac: '02:00:00:00:00:02' });
    cloud.changed();
    expect(adapter.notices).toHaveLength(2);
    cloud.register.remove(camera.nodeId);
    cloud.changed();
    expect(adapter.notices).toHaveLength(3);
  });
});
