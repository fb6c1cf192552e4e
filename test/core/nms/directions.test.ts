import { beforeEach, describe, expect, it } from 'vitest';
import type { Endpoint } from '../../../src/lib/ip.ts';
import { Suite } from '../../../src/proto/constants.ts';
import { ExecMode, Flag, NoticeReason, ProcessCode } from '../../../src/proto/messages.ts';
import { Refusal } from '../../../src/proto/options.ts';
import { Cloud } from '../support/cloud.ts';
import type { FakeNode } from '../support/node.ts';

const P1 = '1'.repeat(32);
const P2 = '2'.repeat(32);
const publicA: Endpoint = { address: '192.0.2.7', port: 7444 };
const publicB: Endpoint = { address: '192.0.2.8', port: 7445 };
const insideA: Endpoint = { address: '10.0.0.2', port: 7444 };
const insideB: Endpoint = { address: '10.1.0.2', port: 7445 };
const natA: Endpoint = { address: '203.0.113.5', port: 61_000 };
const natB: Endpoint = { address: '203.0.113.6', port: 62_000 };
const trsAt: Endpoint = { address: '198.51.100.20', port: 7442 };

let cloud: Cloud;

beforeEach(() => {
  cloud = new Cloud();
});

function pair(realA = publicA, mappedA = realA, realB = publicB, mappedB = realB): [FakeNode, FakeNode] {
  const a = cloud.addNode(cloud.addDevice('a'), realA, mappedA);
  const b = cloud.addNode(cloud.addDevice('b'), realB, mappedB);
  a.register();
  b.register();
  return [a, b];
}

const refused = (reason: number) => ({
  type: 'routeDirection',
  flags: Flag.response | Flag.failure,
  options: { refusal: { reason } },
});

describe('a direction', () => {
  it('tells each end about the other, and both the same keys', () => {
    const { nodeId: relay } = cloud.addTrs('trs', trsAt);
    const [a, b] = pair();
    const toA = a.direct('b.lab.example', P1);
    const toB = b.directed[0]!;
    expect(toA).toMatchObject({
      id: P1,
      flags: Flag.response,
      body: {
        ...toB.body,
        pathId: P1,
        cipherType: Suite.aes256Gcm,
        execMode: ExecMode.dual,
        initiatorFqdn: 'a.lab.example',
        responderFqdn: 'b.lab.example',
        virtualResponder4: b.device.vip4,
        virtualInitiator6: a.device.vip6,
        natInitiator4: publicA.address,
        natInitiatorPort: publicA.port,
        realResponder4: publicB.address,
        trs4: trsAt.address,
        expires: '2023-11-21',
      },
      options: {
        certificate: { certificate: b.device.certificate },
        candidates: { list: [{ ...publicB, kind: 'mapped' }] },
        realPorts: { initiator: publicA.port, responder: publicB.port },
        relayPorts: { port: trsAt.port, nodeId: relay },
        pathEnds: { initiator: a.device.nodeId, responder: b.device.nodeId },
      },
    });
    expect(toB).toMatchObject({
      id: b.device.nodeId,
      options: {
        certificate: { certificate: a.device.certificate },
        candidates: { list: [{ ...publicA, kind: 'mapped' }] },
      },
    });
    expect(toB.body.tunnelKey).toHaveLength(32);
    expect(toB.body.temporaryKey).toHaveLength(32);
    expect(Buffer.compare(toB.body.tunnelKey, toB.body.temporaryKey)).not.toBe(0);
  });

  it('is found by name in any case, and by virtual address of either family', () => {
    const [a, b] = pair();
    expect(a.direct('B.LAB.example.', P1)).toMatchObject({ flags: Flag.response });
    for (const [i, address] of [b.device.vip4, b.device.vip6].entries()) {
      expect(a.direct('', String(i + 3).repeat(32), { virtualAddress: { address } })).toMatchObject({
        flags: Flag.response,
      });
    }
  });

  it('fits whatever the candidates and certificates are', () => {
    const [a, b] = pair();
    b.hosts = Array.from({ length: 16 }, (_, i) => ({
      address: `2001:db8::${i + 1}`,
      port: 7445,
      kind: 'host' as const,
    }));
    b.register();
    cloud.register.change(b.device.nodeId, { certificate: new Uint8Array(512).fill(1) });
    cloud.changed();
    const answer = a.direct('b.lab.example', P1);
    expect(answer?.options.candidates?.list).toHaveLength(16);
    expect(answer?.options.candidates?.list.at(-1)).toEqual({ ...publicB, kind: 'mapped' });
    for (const { datagram } of cloud.sent) expect(datagram.length).toBeLessThanOrEqual(1232);
  });

  it('offers no address that outer datagrams must not go to', () => {
    const [a, b] = pair();
    const addresses = [
      '100.80.0.9',
      'fd00:1::9',
      '127.0.0.1',
      '::1',
      '224.0.0.1',
      '169.254.1.1',
      'fe80::1',
      '192.168.1.4',
    ];
    b.hosts = addresses.map((address) => ({ address, port: 7445, kind: 'host' }));
    b.register();
    expect(a.direct('b.lab.example', P1)?.options.candidates?.list.map((c) => c.address)).toEqual([
      '192.168.1.4',
      publicB.address,
    ]);
  });
});

describe('the process code', () => {
  const code = (a: FakeNode): number | undefined => {
    const answer = a.direct('b.lab.example', P1);
    return answer?.type === 'routeDirection' && answer.flags === Flag.response ? answer.body.processCode : undefined;
  };

  it.each([
    ['both public', publicA, publicA, publicB, publicB, ProcessCode.direct],
    ['initiator behind a NAT', insideA, natA, publicB, publicB, ProcessCode.direct],
    ['responder behind a NAT', publicA, publicA, insideB, natB, ProcessCode.responderPunches],
    ['one NAT', insideA, natA, insideB, { ...natA, port: 5 }, ProcessCode.lan],
    ['two NATs', insideA, natA, insideB, natB, ProcessCode.relayThenOptimise],
  ])('%s', (_, realA, mappedA, realB, mappedB, expected) => {
    cloud.addTrs('trs', trsAt);
    const [a] = pair(realA, mappedA, realB, mappedB);
    expect(code(a)).toBe(expected);
  });

  it('no family in common: only through a relay that has both', () => {
    const v6: Endpoint = { address: '2001:db8:b::2', port: 7445 };
    const [a] = pair(publicA, publicA, v6, v6);
    expect(a.direct('b.lab.example', P1)).toMatchObject(refused(Refusal.noRelay));
    cloud.addTrs('trs', trsAt);
    expect(a.direct('b.lab.example', P2)).toMatchObject(refused(Refusal.noRelay));
    cloud.register.services = cloud.register.services.map((s) =>
      s.role === 'trs' ? { ...s, address6: '2001:db8::20' } : s,
    );
    cloud.changed();
    const answer = a.direct('b.lab.example', '3'.repeat(32));
    expect(answer).toMatchObject({
      flags: Flag.response,
      body: { processCode: ProcessCode.relay, trs6: '2001:db8::20' },
    });
  });

  it('two NATs without a relay: both punch', () => {
    const [a] = pair(insideA, natA, insideB, natB);
    expect(code(a)).toBe(ProcessCode.responderPunches);
  });
});

describe('suites', () => {
  const only = (suite: number): number => 1 << suite;
  it.each([
    ['both AEADs', 12, 12, Suite.aes256Gcm],
    ['one ChaCha only', only(Suite.chacha20Poly1305), 12, Suite.chacha20Poly1305],
    ['both the thesis', only(Suite.cbcMd5), only(Suite.cbcMd5), Suite.cbcMd5],
    ['everything at one end', 14, only(Suite.cbcMd5), null],
    ['everything at both ends', 14, 14, Suite.aes256Gcm],
    ['nothing in common', only(Suite.aes256Gcm), only(Suite.chacha20Poly1305), null],
  ])('%s', (_, suitesA, suitesB, expected) => {
    const [a, b] = pair();
    a.suites = suitesA;
    b.suites = suitesB;
    a.register();
    b.register();
    const answer = a.direct('b.lab.example', P1);
    if (expected === null) expect(answer).toMatchObject(refused(Refusal.suite));
    else expect(answer).toMatchObject({ body: { cipherType: expected } });
  });
});

describe('a relay', () => {
  it('that is silent is passed over for the next one, and not waited for again', () => {
    const down = cloud.addTrs('down', trsAt);
    const up = cloud.addTrs('up', { ...trsAt, address: '198.51.100.21' });
    const [a] = pair(insideA, natA, insideB, natB);
    cloud.filter = ({ to }) => to.address !== trsAt.address;
    a.direct('b.lab.example', P1);
    cloud.pass(2_000);
    expect(a.latest).toMatchObject({ flags: Flag.response, options: { relayPorts: { nodeId: up.nodeId } } });
    const again = a.direct('b.lab.example', P2);
    expect(again).toMatchObject({ options: { relayPorts: { nodeId: up.nodeId } } });
    expect(down.trs.sizes.paths).toBe(0);
  });

  it('that was silent is asked last by a pair that needs one', () => {
    const v6: Endpoint = { address: '2001:db8:b::2', port: 7445 };
    cloud.addTrs('down', trsAt);
    const up = cloud.addTrs('up', { ...trsAt, address: '198.51.100.21' });
    cloud.register.services = cloud.register.services.map((s) => ({ ...s, address6: '2001:db8::20' }));
    cloud.changed();
    const [a] = pair(publicA, publicA, v6, v6);
    cloud.filter = ({ to }) => to.address !== trsAt.address;
    a.direct('b.lab.example', P1);
    cloud.pass(2_000);
    expect(a.latest).toMatchObject({ options: { relayPorts: { nodeId: up.nodeId } } });
    expect(a.direct('b.lab.example', P2)).toMatchObject({ options: { relayPorts: { nodeId: up.nodeId } } });
  });

  it('is not needed by a pair that can do without', () => {
    cloud.addTrs('down', trsAt);
    const [a] = pair();
    cloud.filter = ({ to }) => to.address !== trsAt.address;
    a.direct('b.lab.example', P1);
    cloud.pass(2_000);
    expect(a.latest).toMatchObject({ flags: Flag.response, body: { trs4: null } });
    expect(a.direct('b.lab.example', P2)).toMatchObject({ flags: Flag.response });
  });

  it('with the fewest paths is taken', () => {
    const one = cloud.addTrs('one', trsAt);
    const two = cloud.addTrs('two', { ...trsAt, address: '198.51.100.21' });
    const [a] = pair(insideA, natA, insideB, natB);
    for (let i = 1; i <= 6; i++) a.direct('b.lab.example', String(i).repeat(32));
    expect([one.trs.sizes.paths, two.trs.sizes.paths]).toEqual([3, 3]);
  });

  it('that drains is used no more', () => {
    const one = cloud.addTrs('one', trsAt);
    const two = cloud.addTrs('two', { ...trsAt, address: '198.51.100.21' });
    const [a] = pair(insideA, natA, insideB, natB);
    a.direct('b.lab.example', P1);
    a.direct('b.lab.example', P2);
    cloud.run(one.trs, one.trs.drain(cloud.now), trsAt);
    for (const digit of ['3', '4', '5']) {
      expect(a.direct('b.lab.example', digit.repeat(32))).toMatchObject({
        options: { relayPorts: { nodeId: two.nodeId } },
      });
    }
  });
});

describe('a direction is refused', () => {
  it('for unknown names, without asking the register each time', () => {
    const [a] = pair();
    expect(a.direct('nobody.lab.example', P1)).toMatchObject(refused(Refusal.unknownName));
    const queries = cloud.register.queries.length;
    expect(a.direct('nobody.lab.example', P1)).toMatchObject(refused(Refusal.unknownName));
    expect(a.direct('', P1)).toMatchObject(refused(Refusal.unknownName));
    expect(cloud.register.queries.length).toBe(queries);
    cloud.addDevice('nobody');
    cloud.changed();
    expect(a.direct('nobody.lab.example', P1)).toMatchObject(refused(Refusal.offline));
  });

  it('for oneself', () => {
    const [a] = pair();
    expect(a.direct('a.lab.example', P1)).toMatchObject(refused(Refusal.policy));
  });

  it('for a device that is not there', () => {
    const [a, b] = pair();
    cloud.addDevice('c');
    expect(a.direct('c.lab.example', P1)).toMatchObject(refused(Refusal.offline));
    cloud.filter = ({ to }) => to !== b.mapped;
    a.direct('b.lab.example', P2);
    cloud.filter = ({ to }) => to.port !== b.mapped.port;
    cloud.pass(7_000);
    expect(a.latest).toMatchObject(refused(Refusal.offline));
  });

  it('for a disabled device, with a counter, and nobody else hears of it', () => {
    const [a, b] = pair();
    cloud.register.change(b.device.nodeId, { state: 'disabled' });
    cloud.changed();
    expect(a.direct('b.lab.example', P1)).toMatchObject(refused(Refusal.disabled));
    expect(cloud.counts.get('directions-refused-disabled')).toBe(1);
    expect(cloud.drops.get('direction-refused')).toBe(1);
    expect(b.directed).toEqual([]);
  });

  it.each([{ signKey: null }, { handshakeKey: null }, { certificate: null }])('for a device without %o', (missing) => {
    const [a, b] = pair();
    cloud.register.change(b.device.nodeId, missing);
    cloud.changed();
    expect(a.direct('b.lab.example', P1)).toMatchObject(refused(Refusal.offline));
    expect(b.directed).toEqual([]);
  });

  it('by the responder', () => {
    const { trs } = cloud.addTrs('trs', trsAt);
    const [a, b] = pair();
    b.confirm = { flags: Flag.response | Flag.failure, options: { refusal: { reason: Refusal.policy } } };
    expect(a.direct('b.lab.example', P1)).toMatchObject(refused(Refusal.policy));
    expect(cloud.nms.sizes.paths).toBe(0);
    expect(trs.sizes.paths).toBe(0);
  });

  it('when its PathID is in use by other ends', () => {
    const [a, b] = pair();
    const c = cloud.addNode(cloud.addDevice('c'), { address: '192.0.2.9', port: 7444 });
    c.register();
    a.direct('b.lab.example', P1);
    expect(c.direct('b.lab.example', P1)).toMatchObject(refused(Refusal.pathIdInUse));
    expect(b.direct('a.lab.example', P1)).toMatchObject(refused(Refusal.pathIdInUse));
    expect(cloud.drops.get('path-in-use')).toBe(2);
    b.confirm = null;
    a.direct('b.lab.example', P2);
    expect(c.direct('b.lab.example', P2)).toMatchObject(refused(Refusal.pathIdInUse));
  });

  it('when one node asks for too many at once', () => {
    const [a, b] = pair();
    b.confirm = null;
    for (let i = 0; i < 40; i++) a.direct('b.lab.example', i.toString(16).padStart(32, '0'));
    expect(a.latest).toMatchObject(refused(Refusal.overloaded));
    expect([...a.answers.values()].filter((m) => m.type === 'routeDirection')).toHaveLength(8);
  });
});

describe('repeated requests', () => {
  it('get the same answer and direct once', () => {
    cloud.addTrs('trs', trsAt);
    const [a, b] = pair();
    let lost = 3;
    cloud.filter = ({ to }) => !(to === a.mapped || to.port === a.mapped.port) || --lost < 0;
    a.direct('b.lab.example', P1);
    cloud.pass(3_000);
    expect(a.latest).toMatchObject({ flags: Flag.response, body: { tunnelKey: b.directed[0]!.body.tunnelKey } });
    expect(b.directed).toHaveLength(1);
    expect(cloud.counts.get('directions')).toBe(1);
  });

  it('of the same path under a new Transaction ID get the same keys', () => {
    const [a, b] = pair();
    const first = a.direct('b.lab.example', P1);
    const second = a.direct('b.lab.example', P1);
    expect(second).toMatchObject({ flags: Flag.response, body: first!.body });
    expect(second!.transactionId).not.toBe(first!.transactionId);
    expect(b.directed).toHaveLength(1);
  });

  it('while the responder is asked wait for its answer', () => {
    const [a, b] = pair();
    b.confirm = null;
    a.direct('b.lab.example', P1);
    a.direct('b.lab.example', P1);
    expect(a.latest).toBeUndefined();
    b.confirm = { flags: Flag.response, options: {} };
    cloud.pass(1_000);
    expect(a.latest).toMatchObject({ flags: Flag.response });
  });

  it('are nothing a third node can confirm, not even behind the same adapter', () => {
    const [a, b] = pair();
    const c = cloud.addNode(cloud.addDevice('c'), b.mapped);
    c.register();
    cloud.place(b);
    b.confirm = null;
    a.direct('b.lab.example', P1);
    const { transactionId } = b.directed[0]!;
    const id = c.device.nodeId;
    for (const datagram of c.channel.seal({ type: 'ack', id, transactionId, flags: Flag.response, body: {} })) {
      cloud.send(c.mapped, c.nms, datagram);
    }
    expect(a.latest).toBeUndefined();
    b.confirm = { flags: Flag.response, options: {} };
    cloud.pass(1_000);
    expect(a.latest).toMatchObject({ flags: Flag.response });
  });
});

describe('a revoked device', () => {
  const relayedPair = (): [FakeNode, FakeNode] => {
    const [a, b] = pair(insideA, natA, insideB, natB);
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
    const [a, b] = pair();
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

  it('is forgotten, however often it knocks', () => {
    const [, b] = pair();
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
    const [a, b] = pair();
    b.confirm = null;
    a.direct('b.lab.example', P1);
    cloud.register.change(b.device.nodeId, { state: 'disabled' });
    cloud.changed();
    expect(a.latest).toMatchObject(refused(Refusal.disabled));
  });

  it('is named to nodes that may have paths from before the NMS started', () => {
    const [a, b] = pair();
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

  it('loses its paths, not its place, when its keys are replaced', () => {
    const [a, b] = relayedPair();
    cloud.register.change(b.device.nodeId, { handshakeKey: new Uint8Array(32).fill(8) });
    cloud.changed();
    expect(a.notices).toEqual([{ reason: NoticeReason.peerGone, subject: b.device.nodeId }]);
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

it('no number is ever used twice under one key', () => {
  cloud.addTrs('trs', trsAt);
  const [a, b] = pair(insideA, natA, insideB, natB);
  for (let life = 0; life < 4; life++) {
    cloud.startNms(`life ${life}`);
    a.restart();
    a.register(Flag.first);
    b.register();
    for (let i = 0; i < 5; i++) a.direct('b.lab.example', cloud.world.primitives(`${life} ${i}`).random(16).toHex());
    cloud.pass(100_000);
  }
  expect(cloud.world.sealed).toBeGreaterThan(100);
  expect(cloud.world.reused).toEqual([]);
});
