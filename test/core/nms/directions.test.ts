import { beforeEach, describe, expect, it } from 'vitest';
import type { Endpoint } from '../../../src/lib/ip.ts';
import { Suite } from '../../../src/proto/constants.ts';
import { ExecMode, Flag, ProcessCode } from '../../../src/proto/messages.ts';
import { Refusal } from '../../../src/proto/options.ts';
import { Cloud } from '../support/cloud.ts';
import type { FakeNode } from '../support/node.ts';
import { insideA, insideB, natA, natB, P1, P2, pair, publicA, publicB, refused, trsAt } from '../support/pair.ts';

let cloud: Cloud;

beforeEach(() => {
  cloud = new Cloud();
});

describe('a direction', () => {
  it('leads through another relay than the one that does not answer the initiator, if there is one', () => {
    const first = cloud.addTrs('first', trsAt);
    const [a] = pair(cloud);
    const avoid = { avoid: { relay: first.nodeId } };
    expect(a.direct('b.lab.example', P1, avoid)).toMatchObject({ options: { relayPorts: { nodeId: first.nodeId } } });
    const second = cloud.addTrs('second', { ...trsAt, address: '198.51.100.21' });
    expect(a.direct('b.lab.example', P2, avoid)).toMatchObject({ options: { relayPorts: { nodeId: second.nodeId } } });
  });

  it('tells each end about the other, and both the same keys', () => {
    const { nodeId: relay } = cloud.addTrs('trs', trsAt);
    const [a, b] = pair(cloud);
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
    const [a, b] = pair(cloud);
    expect(a.direct('B.LAB.example.', P1)).toMatchObject({ flags: Flag.response });
    for (const [i, address] of [b.device.vip4, b.device.vip6].entries()) {
      expect(a.direct('', String(i + 3).repeat(32), { virtualAddress: { address } })).toMatchObject({
        flags: Flag.response,
      });
    }
  });

  it('fits whatever the candidates and certificates are', () => {
    const [a, b] = pair(cloud);
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
    const [a, b] = pair(cloud);
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
    const [a] = pair(cloud, realA, mappedA, realB, mappedB);
    expect(code(a)).toBe(expected);
  });

  it('no family in common: only through a relay that has both', () => {
    const v6: Endpoint = { address: '2001:db8:b::2', port: 7445 };
    const [a] = pair(cloud, publicA, publicA, v6, v6);
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
    const [a] = pair(cloud, insideA, natA, insideB, natB);
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
    const [a, b] = pair(cloud);
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
    const [a] = pair(cloud, insideA, natA, insideB, natB);
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
    const [a] = pair(cloud, publicA, publicA, v6, v6);
    cloud.filter = ({ to }) => to.address !== trsAt.address;
    a.direct('b.lab.example', P1);
    cloud.pass(2_000);
    expect(a.latest).toMatchObject({ options: { relayPorts: { nodeId: up.nodeId } } });
    expect(a.direct('b.lab.example', P2)).toMatchObject({ options: { relayPorts: { nodeId: up.nodeId } } });
  });

  it('that answers others is not given up for one lost request, and is back as soon as it answers', () => {
    const trs = cloud.addTrs('trs', trsAt);
    const [a] = pair(cloud, insideA, natA, insideB, natB);
    const relayed = { options: { relayPorts: { nodeId: trs.nodeId } } };
    expect(a.direct('b.lab.example', '1'.repeat(32))).toMatchObject(relayed);
    cloud.filter = ({ to }) => to.address !== trsAt.address;
    a.direct('b.lab.example', '2'.repeat(32));
    cloud.pass(1_900);
    cloud.filter = () => true;
    expect(a.direct('b.lab.example', '3'.repeat(32))).toMatchObject(relayed);
    cloud.filter = ({ to }) => to.address !== trsAt.address;
    cloud.pass(5_000);
    a.direct('b.lab.example', '4'.repeat(32));
    cloud.pass(2_000);
    expect(a.latest).toMatchObject({ body: { trs4: null, processCode: ProcessCode.responderPunches } });
    cloud.filter = () => true;
    expect(a.direct('b.lab.example', '5'.repeat(32))).toMatchObject(relayed);
  });

  it('that was silent for one pair is waited for by no other any more', () => {
    const dead = cloud.addTrs('dead', trsAt);
    const other = cloud.addTrs('other', { ...trsAt, address: '198.51.100.21' });
    const [a, b] = pair(cloud, insideA, natA, insideB, natB);
    for (const node of [a, b]) {
      // The dead one is the nearest to both.
      node.relayTimes = [{ ...trsAt, rttMs: 1 }];
      node.register();
    }
    expect(a.direct('b.lab.example', P1)?.options.relayPorts?.nodeId).toBe(dead.nodeId);
    cloud.filter = ({ to }) => to.address !== trsAt.address;
    a.direct('b.lab.example', P2);
    const late = [];
    for (const pathId of ['3', '4']) {
      cloud.pass(600);
      a.direct('b.lab.example', pathId.repeat(32));
      late.push(a.latest);
    }
    expect(late).toEqual([undefined, undefined]);
    cloud.pass(600);
    const answers = [...a.answers.values()].filter(({ type }) => type === 'routeDirection').slice(1);
    expect(answers.map(({ options }) => options.relayPorts?.nodeId)).toEqual([1, 2, 3].map(() => other.nodeId));
  });

  it('is not needed by a pair that can do without', () => {
    cloud.addTrs('down', trsAt);
    const [a] = pair(cloud);
    cloud.filter = ({ to }) => to.address !== trsAt.address;
    a.direct('b.lab.example', P1);
    cloud.pass(2_000);
    expect(a.latest).toMatchObject({ flags: Flag.response, body: { trs4: null } });
    expect(a.direct('b.lab.example', P2)).toMatchObject({ flags: Flag.response });
  });

  it('nearest to both ends together is taken, a silent one last, one that nobody measured before that', () => {
    const at = (n: number): Endpoint => ({ ...trsAt, address: `198.51.100.${n}` });
    const [one, two, three, four] = [20, 21, 22, 23].map((n) => cloud.addTrs(`trs${n}`, at(n)));
    const [a, b] = pair(cloud, insideA, natA, insideB, natB);
    const say = (node: FakeNode, ...times: (number | null)[]): void => {
      node.relayTimes = times.map((rttMs, i) => ({ ...at(20 + i), rttMs }));
      node.register();
    };
    let paths = 0;
    const taken = (): unknown => a.direct('b.lab.example', String(++paths).repeat(32))?.options.relayPorts?.nodeId;
    say(a, 10, 60, 30);
    say(b, 90, 60, 40);
    expect([taken(), taken()]).toEqual([three!.nodeId, three!.nodeId]);
    say(b, 20, 60, null);
    expect(taken()).toBe(one!.nodeId);
    say(a, 10, null, null);
    say(b, null, 20, null);
    expect(taken()).toBe(four!.nodeId);
    // About as near: the one that has less to do.
    say(a, 11, 12, 90, 90);
    say(b, 11, 12, 90, 90);
    expect(taken()).toBe(two!.nodeId);
    cloud.filter = ({ to }) => to.address !== at(21).address && to.address !== at(20).address;
    taken();
    cloud.pass(4_000);
    expect(a.latest?.options.relayPorts?.nodeId).toBe(four!.nodeId);
  });

  it('with the fewest paths is taken', () => {
    const one = cloud.addTrs('one', trsAt);
    const two = cloud.addTrs('two', { ...trsAt, address: '198.51.100.21' });
    const [a] = pair(cloud, insideA, natA, insideB, natB);
    for (let i = 1; i <= 6; i++) a.direct('b.lab.example', String(i).repeat(32));
    expect([one.trs.sizes.paths, two.trs.sizes.paths]).toEqual([3, 3]);
  });

  it('that drains is used no more', () => {
    const one = cloud.addTrs('one', trsAt);
    const two = cloud.addTrs('two', { ...trsAt, address: '198.51.100.21' });
    const [a] = pair(cloud, insideA, natA, insideB, natB);
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

it('no number is ever used twice under one key', () => {
  cloud.addTrs('trs', trsAt);
  const [a, b] = pair(cloud, insideA, natA, insideB, natB);
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
