import { beforeEach, describe, expect, test } from 'vitest';
import { verifyCertificate } from '../../../src/crypto/certificate.ts';
import type { Identity } from '../../../src/crypto/identity.ts';
import { AuthType, Flag } from '../../../src/proto/messages.ts';
import { primitives } from '../../crypto/fixtures.ts';
import { AsBench, type Connection, enrolled, expectRefused, newIdentity, secretOf } from './bench.ts';

let bench: AsBench;
let identity: Identity;
beforeEach(async () => {
  bench = new AsBench();
  identity = newIdentity();
  await bench.addService();
});

describe('an accepted login', () => {
  test('gives the device its identity, a certificate of the CA, a Common Key and the NMS', async () => {
    const device = await bench.addDevice('Cam1', { groups: ['b', 'a'] });
    const connection = bench.connect();
    expect(connection.login('cam1', identity)).toBe('accepted');
    const [answer] = connection.answers;
    expect(answer).toMatchObject({
      id: device.nodeId,
      transactionId: 1,
      flags: Flag.response,
      body: {
        cipherType: 2,
        fqdn: 'cam1.lab.example',
        virtual4: '100.80.0.2',
        virtual6: 'fd00:1:2:3::2',
        nms4: '192.0.2.1',
        nms6: '2001:db8::1',
        expires: '2027-01-22',
      },
      options: {
        network: { prefix4: '100.80.0.0', length4: 16, prefix6: 'fd00:1:2:3::', length6: 64, domain: 'lab.example' },
        nmsPort: { port: 7441 },
      },
    });
    const octets = answer!.options.certificate!.certificate;
    expect(verifyCertificate(primitives, octets, bench.ca.publicKey, bench.now.wall)).toMatchObject({
      nodeId: device.nodeId,
      fqdn: 'cam1.lab.example',
      vip4: '100.80.0.2',
      vip6: 'fd00:1:2:3::2',
      groups: ['a', 'b'],
      signKey: identity.sign.publicKey,
      handshakeKey: identity.handshake.publicKey,
      notAfter: bench.now.wall / 1000 + 7 * 86_400,
    });
    expect(bench.device('cam1')).toMatchObject({
      state: 'new',
      certificate: octets,
      commonKey: null,
      pendingCommonKey: answer!.body.commonKey,
      keyExpires: bench.now.wall + 7 * 86_400_000,
    });
    connection.acknowledge();
    expect(bench.device('cam1')).toMatchObject({ state: 'enrolled', commonKey: answer!.body.commonKey });
    expect(Object.fromEntries(bench.counts)).toEqual({ 'login-accepted': 1, 'login-acknowledged': 1 });
    expect(JSON.stringify(bench.logs)).not.toContain(Buffer.from(answer!.body.commonKey).toString('hex'));
  });

  test('is answered only after it was saved', async () => {
    await bench.addDevice('a');
    bench.hold = (action) => action.do === 'save';
    const connection = bench.connect();
    expect(connection.login('a', identity)).toBeNull();
    expect(bench.pending).toHaveLength(1);
    bench.answer(bench.pending[0]!);
    expect(connection.answers).toHaveLength(1);
  });

  test('the same keys may retry by the secret until the acknowledgement, even after it expired', async () => {
    await bench.addDevice('a');
    expect(bench.connect().login('a', identity)).toBe('accepted');
    await expectRefused(bench, 'keyMismatch', () => bench.connect().login('a', newIdentity()));
    bench.now = { ...bench.now, wall: bench.now.wall + 2 * 86_400_000 };
    const connection = bench.connect();
    expect(connection.login('a', identity)).toBe('accepted');
    await expectRefused(bench, 'secretExpired', () => bench.connect().login('a', newIdentity()));
    connection.acknowledge();
    await expectRefused(bench, 'secretSpent', () => bench.connect().login('a', identity));
  });

  test('later, keys are enough; each gives a new Common Key', async () => {
    const first = await enrolled(bench, 'a', identity);
    const before = first.answers[0]!.body.commonKey;
    const later = bench.connect();
    expect(later.login('a', identity, { authType: AuthType.certificate })).toBe('accepted');
    expect(later.answers[0]!.body.commonKey).not.toEqual(before);
    expect(bench.device('a')).toMatchObject({ commonKey: before, pendingCommonKey: later.answers[0]!.body.commonKey });
    later.acknowledge();
    expect(bench.device('a')?.commonKey).toEqual(later.answers[0]!.body.commonKey);
  });

  test('an ACK of an overtaken login makes no key current', async () => {
    await enrolled(bench, 'a', identity);
    const [older, newer] = [bench.connect(), bench.connect()];
    for (const connection of [older, newer]) connection.login('a', identity, { authType: AuthType.certificate });
    const before = bench.device('a');
    older.acknowledge();
    expect(bench.device('a')).toEqual(before);
    newer.acknowledge();
    expect(bench.device('a')?.commonKey).toEqual(newer.answers[0]!.body.commonKey);
  });

  test('by a password works as often as it likes, with the same keys', async () => {
    await enrolled(bench, 'a', identity, { auth: 'password', secretExpires: null });
    expect(bench.connect().login('a', identity)).toBe('accepted');
    await expectRefused(bench, 'keyMismatch', () => bench.connect().login('a', newIdentity()));
  });

  test("the administrator's new secret replaces keys once", async () => {
    await enrolled(bench, 'a', identity);
    const hash = 'hash of secret of a';
    await bench.register.renewSecret('a', { hash, expires: bench.now.wall + 1000 });
    expect(bench.connect().login('a', identity, { authType: AuthType.certificate })).toBe('accepted');
    const replacement = newIdentity();
    const connection = bench.connect();
    expect(connection.login('a', replacement)).toBe('accepted');
    connection.acknowledge();
    await expectRefused(bench, 'badCredentials', () =>
      bench.connect().login('a', identity, { authType: AuthType.certificate }),
    );
    await expectRefused(bench, 'secretSpent', () => bench.connect().login('a', replacement));
  });
});

describe('refused, counted and logged once, nothing else changed', () => {
  test('wrong secret, unknown device and a name that is none: the same answer', async () => {
    await bench.addDevice('a');
    const attempts = [
      (c: Connection) => c.login('a', identity, { password: secretOf('b') }),
      (c: Connection) => c.login('a', identity, { password: new Uint8Array(0) }),
      (c: Connection) => c.login('nobody', identity),
      (c: Connection) => c.login('a.b', identity),
      (c: Connection) => c.login('', identity),
      (c: Connection) => c.login('a', identity, { authType: 9 }),
    ];
    const answers = new Set<string>();
    for (const attempt of attempts) {
      const connection = bench.connect();
      await expectRefused(bench, 'badCredentials', () => attempt(connection));
      answers.add(JSON.stringify(connection.answers[0]));
      expect(connection.closed).toBe(true);
    }
    expect(answers.size).toBe(1);
  });

  test('for an unknown device the same questions are asked and the same hash is computed', async () => {
    await bench.addDevice('a');
    for (const authType of [AuthType.password, AuthType.certificate]) {
      const work = ['a', 'nobody'].map((deviceId) => {
        bench.asked.length = 0;
        bench.connect().login(deviceId, identity, { authType, password: secretOf('other') });
        return [...bench.asked];
      });
      expect(work[0]).toEqual(work[1]);
      expect(work[0]!.includes('hash')).toBe(authType === AuthType.password);
    }
  });

  test('expired secret', async () => {
    await bench.addDevice('a', { secretExpires: bench.now.wall });
    await expectRefused(bench, 'secretExpired', () => bench.connect().login('a', identity));
  });

  test('disabled device, with secret and with keys', async () => {
    await enrolled(bench, 'a', identity);
    await bench.addDevice('b');
    for (const deviceId of ['a', 'b']) await bench.register.setEnabled(deviceId, false);
    await expectRefused(bench, 'disabled', () =>
      bench.connect().login('a', identity, { authType: AuthType.certificate }),
    );
    await expectRefused(bench, 'disabled', () => bench.connect().login('b', identity));
    // Who does not prove to be the device does not learn that it is disabled.
    await expectRefused(bench, 'badCredentials', () =>
      bench.connect().login('b', identity, { password: secretOf('c') }),
    );
  });

  test('keys that are not pinned', async () => {
    await enrolled(bench, 'a', identity);
    await bench.addDevice('b');
    for (const deviceId of ['a', 'b']) {
      await expectRefused(bench, 'badCredentials', () =>
        bench.connect().login(deviceId, newIdentity(), { authType: AuthType.certificate }),
      );
    }
    const half = { ...identity, handshake: newIdentity().handshake };
    await expectRefused(bench, 'badCredentials', () =>
      bench.connect().login('a', half, { authType: AuthType.certificate }),
    );
  });

  test('a signature for another connection, a replayed request, a request without identity', async () => {
    await enrolled(bench, 'a', identity);
    const [here, there] = [bench.connect(), bench.connect()];
    const words = { authType: AuthType.certificate };
    await expectRefused(bench, 'badCredentials', () =>
      here.login('a', identity, { ...words, exporter: there.exporter }),
    );
    const honest = there.request('a', identity, words);
    there.receive(honest);
    expect(there.answers).toHaveLength(1);
    const thief = bench.connect();
    await expectRefused(bench, 'badCredentials', () => {
      thief.receive(honest);
      return thief.answers.length === 1 ? 'badCredentials' : null;
    });
  });

  test('a device that is removed, disabled or pinned by others while it logs in', async () => {
    for (const [deviceId, meanwhile, reason] of [
      ['a', () => bench.register.remove('a'), 'badCredentials'],
      ['b', () => bench.register.setEnabled('b', false), 'keyMismatch'],
      ['c', async () => bench.connect().login('c', newIdentity()), 'keyMismatch'],
    ] as const) {
      await bench.addDevice(deviceId);
      bench.hold = (action) => action.do === 'save';
      const connection = bench.connect();
      expect(connection.login(deviceId, identity)).toBeNull();
      bench.hold = () => false;
      await meanwhile();
      await expectRefused(bench, reason, () => {
        bench.answer(bench.pending.pop()!);
        return connection.answers.length === 1 ? reason : null;
      });
    }
  });

  test('everything while the register does not answer: try again', async () => {
    await bench.addDevice('a');
    bench.registerLost = true;
    await expectRefused(bench, 'overloaded', () => bench.connect().login('a', identity));
    bench.registerLost = false;
    bench.hold = (action) => action.do === 'save';
    const connection = bench.connect();
    connection.login('a', identity);
    bench.registerLost = true;
    await expectRefused(bench, 'overloaded', () => {
      bench.answer(bench.pending[0]!);
      return connection.answers.length === 1 ? 'overloaded' : null;
    });
  });

  test('everything in a network without an NMS', async () => {
    const empty = new AsBench();
    await empty.addDevice('a');
    expect(empty.connect().login('a', identity)).toBe('overloaded');
    expect(empty.device('a')?.signKey).toBeNull();
  });
});

describe('what is no login', () => {
  test.each([
    ['drop-short', (_: Connection) => new Uint8Array(10)],
    ['drop-version', (c: Connection) => c.request('a', identity).with(4, 9)],
    ['drop-unexpected', (c: Connection) => c.request('a', identity).with(11, 1)],
    [
      'drop-unexpected',
      (c: Connection) => c.request('a', identity).with(6, 6).subarray(0, 32).with(13, 32).with(12, 0).with(14, 0),
    ],
  ])('ends the connection: %s', async (counter, make) => {
    await bench.addDevice('a');
    const connection = bench.connect();
    connection.receive(make(connection));
    expect([connection.closed, connection.answers, Object.fromEntries(bench.counts)]).toEqual([
      true,
      [],
      { [counter]: 1 },
    ]);
  });

  test('an ACK of nothing, or of another device, ends the connection and changes nothing', async () => {
    await bench.addDevice('a');
    const connection = bench.connect();
    connection.login('a', identity);
    const before = bench.device('a');
    connection.acknowledge({ ...connection.answers[0]!, id: '1'.repeat(32) });
    expect(connection.closed).toBe(true);
    expect(bench.device('a')).toEqual(before);
    connection.receive(connection.request('a', identity));
    expect(connection.answers).toHaveLength(1);
  });
});
