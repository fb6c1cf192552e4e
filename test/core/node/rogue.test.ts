import { beforeEach, describe, expect, it } from 'vitest';
import { Suite } from '../../../src/proto/constants.ts';
import { Flag, NoticeReason, ProcessCode } from '../../../src/proto/messages.ts';
import { type Options, Refusal } from '../../../src/proto/options.ts';
import { here, idOf, nms, Rogue, there } from './rogue.ts';

let rogue: Rogue;
beforeEach(() => {
  rogue = new Rogue();
});

const packet = new Uint8Array(40);
const silent = { status: 'silent' };

/** Nothing came of it: no path, no key, no datagram to anyone but the NMS. */
function expectNothing(): void {
  const commands = ['installPath', 'installKey', 'route', 'setEndpoint', 'sendPackets'] as const;
  for (const command of commands) expect(rogue.of(command)).toEqual([]);
  expect(rogue.of('send').filter(({ to }) => to.address !== nms.address)).toEqual([]);
}

describe('an honest direction', () => {
  it('answers with name and addresses of the certificate, once for all who ask meanwhile', () => {
    rogue.do(rogue.machine.resolve(1, { name: 'B.lab.example.' }, rogue.now));
    rogue.do(rogue.machine.resolve(2, { name: 'b.lab.example' }, rogue.now));
    expect(rogue.answers).toEqual([]);
    rogue.answer = () => rogue.direction('b', 'initiator');
    rogue.pass(300);
    const found = { status: 'found', fqdn: 'b.lab.example', vip4: '100.80.0.3', vip6: null, nodeId: idOf('b') };
    expect(rogue.answers).toEqual([found, found]);
    expect(rogue.of('installPath')).toHaveLength(1);
    // A live peer is answered for at once, by name and by address.
    rogue.do(rogue.machine.resolve(3, { name: 'b.lab.example' }, rogue.now));
    rogue.do(rogue.machine.resolve(4, { address: '100.80.0.3' }, rogue.now));
    expect(rogue.answers).toEqual([found, found, found, found]);
  });

  it('is not needed for the own name and address', () => {
    rogue.do(rogue.machine.resolve(1, { name: 'a.lab.example' }, rogue.now));
    rogue.do(rogue.machine.resolve(2, { address: '100.80.0.2' }, rogue.now));
    expect(rogue.answers).toMatchObject([{ fqdn: 'a.lab.example' }, { fqdn: 'a.lab.example' }]);
    expect(rogue.received.filter(({ type }) => type === 'directionRequest')).toEqual([]);
  });

  it('may say no, and why', () => {
    const refuse = (reason: number) => () => ({ flags: Flag.failure, options: { refusal: { reason } } });
    const expected = {
      unknown: [Refusal.unknownName, Refusal.disabled],
      refused: [Refusal.policy],
      silent: [Refusal.offline, Refusal.overloaded, Refusal.noRelay],
    };
    for (const [status, reasons] of Object.entries(expected)) {
      for (const reason of reasons) {
        rogue.answer = refuse(reason);
        rogue.do(rogue.machine.resolve(1, { name: 'b.lab.example' }, rogue.now));
        expect(rogue.answers.pop()).toEqual({ status });
        rogue.actions.length = 0;
      }
    }
    expectNothing();
  });

  it('that does not come is waited for less than 4 s', () => {
    rogue.do(rogue.machine.resolve(1, { name: 'b.lab.example' }, rogue.now));
    rogue.pass(3_700);
    expect(rogue.answers).toEqual([]);
    rogue.pass(200);
    expect(rogue.answers).toEqual([silent]);
  });

  it('that comes twice makes one path', () => {
    rogue.direct(rogue.direction('b', 'responder'));
    rogue.direct(rogue.direction('b', 'responder'));
    rogue.direct(rogue.direction('b', 'responder'), 8);
    expect(rogue.of('installPath')).toHaveLength(1);
    const confirmations = rogue.received.filter(({ type }) => type === 'routeDirectionConfirmation');
    expect(confirmations.map(({ transactionId, flags }) => [transactionId, flags])).toEqual([
      [7, Flag.response],
      [7, Flag.response],
      [8, Flag.response],
    ]);
  });

  it('that starts through a relay is confirmed when the relay answered or was given up', () => {
    const direction = rogue.direction('b', 'responder');
    const body = { ...direction.body, processCode: ProcessCode.relayThenOptimise, trs4: '192.0.2.11' };
    rogue.direct({ ...direction, body });
    const confirmed = () => rogue.received.some(({ type }) => type === 'routeDirectionConfirmation');
    expect(confirmed()).toBe(false);
    rogue.pass(4_000);
    expect(confirmed()).toBe(true);
  });
});

describe('an NMS that names the wrong certificate', () => {
  const ask = (): void => rogue.do(rogue.machine.resolve(1, { name: 'b.lab.example' }, rogue.now));

  it('of another device gets no name through', () => {
    rogue.answer = () => rogue.direction('c', 'initiator');
    ask();
    expect(rogue.answers).toEqual([silent]);
    expect(rogue.drops).toEqual(['certificate-name']);
    expect(rogue.of('log').at(-1)).toMatchObject({ level: 'warn', fields: { certificate: 'c.lab.example' } });
    expectNothing();
  });

  it('of another device gets no address through, neither for a packet nor for a question', () => {
    rogue.answer = () => rogue.direction('c', 'initiator');
    rogue.do(rogue.machine.packet(packet, '100.80.0.3', rogue.now));
    rogue.do(rogue.machine.resolve(1, { address: '100.80.0.3' }, rogue.now));
    expect(rogue.answers).toEqual([silent]);
    expect(rogue.drops).toEqual(['certificate-address', 'no-route', 'certificate-address']);
    expectNothing();
  });

  const lies: [string, string, () => Partial<Options>][] = [
    [
      'of another CA',
      'certificate-invalid',
      () => ({ certificate: { certificate: rogue.certificate('b', {}, rogue.foreignCa) } }),
    ],
    ['that is no certificate', 'certificate-invalid', () => ({ certificate: { certificate: new Uint8Array(90) } })],
    [
      'that has expired',
      'certificate-expired',
      () => ({ certificate: { certificate: rogue.certificate('b', { notBefore: 1, notAfter: 2 }) } }),
    ],
    [
      'that is not that end of the path',
      'certificate-name',
      () => ({ pathEnds: { initiator: idOf('a'), responder: idOf('c') } }),
    ],
    ['to a path of others', 'certificate-name', () => ({ pathEnds: { initiator: idOf('d'), responder: idOf('b') } })],
  ];

  it.each(lies)('%s is refused, as initiator and as responder', (_what, reason, change) => {
    const asInitiator = rogue.direction('b', 'initiator');
    rogue.answer = () => ({ ...asInitiator, options: { ...asInitiator.options, ...change() } });
    ask();
    expect(rogue.answers).toEqual([silent]);
    const asResponder = rogue.direction('b', 'responder');
    rogue.direct({ ...asResponder, options: { ...asResponder.options, ...change() } });
    expect(rogue.drops).toEqual([reason, reason]);
    expect(rogue.received.at(-1)).toMatchObject({
      type: 'routeDirectionConfirmation',
      flags: Flag.response | Flag.failure,
    });
    expectNothing();
  });

  it('cannot make the node talk to itself', () => {
    const direction = rogue.direction('a', 'responder');
    rogue.direct({
      ...direction,
      options: { ...direction.options, certificate: { certificate: rogue.session.certificate } },
    });
    expect(rogue.drops).toEqual(['certificate-name']);
    expectNothing();
  });
});

describe('a downgrade', () => {
  const withSuite = (role: 'initiator' | 'responder', cipherType: number) => {
    const direction = rogue.direction('b', role);
    return { ...direction, body: { ...direction.body, cipherType } };
  };

  it.each([Suite.aes256Gcm, Suite.chacha20Poly1305])(
    'to cbc-md5 is refused by suite %i, whatever the NMS says',
    (suite) => {
      rogue = new Rogue(suite);
      rogue.answer = () => withSuite('initiator', Suite.cbcMd5);
      rogue.do(rogue.machine.resolve(1, { name: 'b.lab.example' }, rogue.now));
      rogue.direct(withSuite('responder', Suite.cbcMd5));
      expect(rogue.drops).toEqual(['suite-refused', 'suite-refused']);
      expect(rogue.received.at(-1)).toMatchObject({ options: { refusal: { reason: Refusal.suite } } });
      expectNothing();
    },
  );

  it('or upgrade is refused by cbc-md5', () => {
    rogue = new Rogue(Suite.cbcMd5);
    rogue.direct(withSuite('responder', Suite.aes256Gcm));
    expect(rogue.drops).toEqual(['suite-refused']);
    rogue.direct(withSuite('responder', Suite.cbcMd5), 8);
    expect(rogue.of('installPath')).toHaveLength(1);
  });

  it('to an unknown suite is refused', () => {
    rogue.direct(withSuite('responder', 99));
    expect(rogue.drops).toEqual(['suite-refused']);
    expectNothing();
  });
});

describe('candidates', () => {
  it('that no outer datagram may go to get none', () => {
    const direction = rogue.direction('b', 'responder');
    const addresses = [
      '100.80.0.9',
      '127.0.0.1',
      '224.0.0.1',
      '169.254.1.1',
      '255.255.255.255',
      'fe80::1',
      here.address,
    ];
    const list = addresses.map((address) => ({ address, port: 7444, kind: 'host' as const }));
    rogue.direct({
      ...direction,
      options: { ...direction.options, candidates: { list: [...list, { ...there, kind: 'mapped' }] } },
    });
    rogue.pass(2_000);
    const targets = new Set(rogue.of('send').map(({ to }) => to.address));
    expect([...targets].sort()).toEqual([nms.address, there.address].sort());
    // All but our own address, which an honest peer behind the same NAT may have as well.
    expect(rogue.drops).toEqual(addresses.slice(1).map(() => 'forbidden-address'));
  });

  it('of one address are few: nobody aims us at a host with sixteen ports', () => {
    const direction = rogue.direction('b', 'responder');
    const list = Array.from({ length: 16 }, (_, i) => ({ ...there, port: 1_000 + i, kind: 'host' as const }));
    rogue.direct({ ...direction, options: { ...direction.options, candidates: { list } } });
    rogue.pass(2_000);
    const ports = new Set(
      rogue
        .of('send')
        .filter(({ to }) => to.address === there.address)
        .map(({ to }) => to.port),
    );
    expect(ports.size).toBe(3);
  });

  it('are probed with growing gaps, and not for ever', () => {
    rogue.direct(rogue.direction('b', 'responder'));
    rogue.pass(60_000);
    const probes = rogue.of('send').filter(({ to }) => to.address === there.address);
    expect(probes).toHaveLength(12);
    expect(rogue.of('removePath')).toHaveLength(1);
  });
});

describe('a path', () => {
  it('keeps its PathID from being used by others', () => {
    rogue.direct(rogue.direction('b', 'responder'));
    rogue.direct(rogue.direction('c', 'responder'), 8);
    const other = rogue.direction('b', 'responder');
    rogue.direct({ ...other, body: { ...other.body, tunnelKey: new Uint8Array(32).fill(9) } }, 9);
    expect(rogue.drops).toEqual(['path-in-use', 'path-in-use']);
    expect(rogue.received.at(-1)).toMatchObject({ options: { refusal: { reason: Refusal.pathIdInUse } } });
    expect(rogue.of('installPath')).toHaveLength(1);
  });
});

describe('a peer', () => {
  it('has a few paths at most, however many it is directed to', () => {
    for (let i = 0; i < 16; i++) rogue.direct(rogue.direction('b', 'responder', i.toString(16).repeat(32)), 10 + i);
    expect(rogue.of('installPath')).toHaveLength(16);
    expect(rogue.of('removePath').length).toBeGreaterThanOrEqual(12);
    expect(rogue.machine.snapshot(rogue.now).peers).toHaveLength(1);
  });
});

describe('a timer', () => {
  it('that rounding makes run out early ends what it is for all the same', () => {
    const hour = 3_600_000;
    // A moment after which an hour has passed by the sum of both, but not yet by the difference.
    while (rogue.ms + hour - rogue.ms >= hour) rogue.ms += 0.1;
    const start = rogue.ms;
    rogue.direct(rogue.direction('b', 'responder'));
    rogue.ms += 60_000;
    rogue.do(rogue.machine.tick(rogue.now));
    expect(rogue.machine.snapshot(rogue.now).peers).toHaveLength(1);
    rogue.ms = start + hour;
    rogue.do(rogue.machine.tick(rogue.now));
    expect(rogue.machine.snapshot(rogue.now).peers).toEqual([]);
  });
});

describe('packets without a path', () => {
  it('wait, 64 for each peer, and are given up together', () => {
    for (let i = 0; i < 70; i++) rogue.do(rogue.machine.packet(packet, '100.80.0.3', rogue.now));
    expect(rogue.drops).toEqual(new Array(6).fill('backlog-full'));
    rogue.pass(12_000);
    expect(rogue.drops.filter((reason) => reason === 'no-route')).toHaveLength(64);
  });

  it('to addresses that do not exist do not flood the NMS', () => {
    rogue.answer = () => ({ flags: Flag.failure, options: { refusal: { reason: Refusal.unknownName } } });
    for (let i = 0; i < 1_000; i++) {
      rogue.do(rogue.machine.packet(packet, '100.80.0.77', rogue.now));
      rogue.pass(1);
    }
    const requests = () => rogue.received.filter(({ type }) => type === 'directionRequest').length;
    expect(requests()).toBe(1);
    expect(rogue.drops).toEqual(new Array(1_000).fill('no-route'));
    for (let i = 0; i < 5_000; i++)
      rogue.do(rogue.machine.packet(packet, `100.80.${1 + (i >> 8)}.${i & 255}`, rogue.now));
    expect(requests()).toBeLessThan(150);
    rogue.pass(3_000);
    rogue.do(rogue.machine.packet(packet, '100.80.0.77', rogue.now));
    expect(rogue.drops.length).toBeGreaterThanOrEqual(6_000);
  });

  it('to nowhere in the overlay, or to ourselves, ask nobody', () => {
    rogue.do(rogue.machine.packet(packet, '8.8.8.8', rogue.now));
    rogue.do(rogue.machine.packet(packet, '100.80.0.2', rogue.now));
    rogue.do(rogue.machine.resolve(1, { address: '8.8.8.8' }, rogue.now));
    expect(rogue.drops).toEqual(['no-route', 'no-route']);
    expect(rogue.answers).toEqual([{ status: 'unknown' }]);
    expect(rogue.received.filter(({ type }) => type === 'directionRequest')).toEqual([]);
  });
});

describe('notices', () => {
  const notice = (reason: number, subject: string, transactionId = 50) =>
    rogue.say({ type: 'notice', id: rogue.session.nodeId, transactionId, body: { reason, subject } });

  it('are acknowledged, each time', () => {
    notice(NoticeReason.peerGone, idOf('z'));
    notice(NoticeReason.peerGone, idOf('z'));
    expect(rogue.received.filter(({ type }) => type === 'ack')).toHaveLength(2);
  });

  it('end the paths to a revoked peer, and only those', () => {
    rogue.direct(rogue.direction('b', 'responder', 'b'.repeat(32)));
    rogue.direct(rogue.direction('c', 'responder', 'c'.repeat(32)), 8);
    notice(NoticeReason.peerRevoked, idOf('b'));
    expect(rogue.of('removePath')).toEqual([{ do: 'removePath', pathId: 'b'.repeat(32) }]);
  });

  it('to a refused device end everything', () => {
    rogue.direct(rogue.direction('b', 'responder'));
    notice(NoticeReason.refused, idOf('b'));
    expect(rogue.of('refused')).toEqual([]);
    notice(NoticeReason.refused, rogue.session.nodeId, 51);
    expect(rogue.of('refused')).toHaveLength(1);
    expect(rogue.of('removePath')).toHaveLength(1);
    expect(rogue.machine.snapshot(rogue.now).state).toBe('refused');
    const sent = rogue.of('send').length;
    rogue.pass(120_000);
    expect(rogue.of('send')).toHaveLength(sent);
  });

  it('tell of a changed register', () => {
    notice(NoticeReason.registerChanged, rogue.session.nodeId);
    expect(rogue.of('registerChanged')).toHaveLength(1);
  });

  it('of an earlier life of the NMS are not believed', () => {
    const old = rogue.nmsChannel('1'.repeat(32));
    rogue.nmsChannel('2'.repeat(32));
    const body = { reason: NoticeReason.refused, subject: rogue.session.nodeId };
    const [datagram] = old.seal({ type: 'notice', id: rogue.session.nodeId, transactionId: 5, body });
    rogue.do(rogue.machine.receive(datagram!, nms, rogue.now));
    expect(rogue.of('refused')).toEqual([]);
  });
});

describe('a round trip', () => {
  it('to somebody unknown times out at once, to somebody silent after a while', () => {
    rogue.do(rogue.machine.probe(1, idOf('b'), rogue.now));
    expect(rogue.answers).toEqual([{ status: 'timeout' }]);
    rogue.direct(rogue.direction('b', 'responder'));
    rogue.do(rogue.machine.probe(2, idOf('b'), rogue.now));
    rogue.pass(4_100);
    expect(rogue.answers).toEqual([{ status: 'timeout' }, { status: 'timeout' }]);
  });
});
