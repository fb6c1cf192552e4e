/** What guessing and flooding the AS comes to. */

import { beforeEach, describe, expect, test } from 'vitest';
import type { Identity } from '../../../src/crypto/identity.ts';
import { AuthType } from '../../../src/proto/messages.ts';
import { AsBench, enrolled, expectRefused, newIdentity, outcomeOf, secretOf } from './bench.ts';

let bench: AsBench;
let identity: Identity;
beforeEach(async () => {
  bench = new AsBench();
  identity = newIdentity();
  await bench.addService();
});

describe('limits', () => {
  test('guesses at one DeviceID, from wherever they come, and then others still get in', async () => {
    await bench.addDevice('a');
    await bench.addDevice('b');
    for (let i = 0; i < 10; i++) {
      expect(bench.connect(`198.51.100.${i}`).login('a', identity, { password: secretOf('x') })).toBe('badCredentials');
    }
    bench.asked.length = 0;
    await expectRefused(bench, 'overloaded', () => bench.connect('198.51.100.99').login('A', identity));
    expect(bench.asked).not.toContain('hash');
    expect(bench.connect('198.51.100.99').login('b', newIdentity())).toBe('accepted');
    bench.pass(5_000);
    expect(bench.connect('198.51.100.99').login('a', identity)).toBe('accepted');
  });

  test('failed logins of one IPv4 address or IPv6 /64; successes do not count', async () => {
    await enrolled(bench, 'a', identity);
    const words = { authType: AuthType.certificate };
    for (let i = 0; i < 300; i++) expect(bench.connect('198.51.100.1').login('a', identity, words)).toBe('accepted');
    for (const [first, same, other] of [
      ['198.51.100.1', '198.51.100.1', '198.51.100.2'],
      ['2001:db8:0:1::1', '2001:db8:0:1:ffff::2', '2001:db8:0:2::1'],
    ] as const) {
      for (let i = 0; i < 256; i++) bench.connect(first).login('nobody', identity, words);
      await expectRefused(bench, 'overloaded', () => bench.connect(same).login('a', identity, words));
      expect(bench.connect(other).login('a', identity, words)).toBe('accepted');
      bench.pass(1_000);
      expect(bench.connect(same).login('a', identity, words)).toBe('accepted');
    }
  });

  test('overload is said in one line now and then, not in one per login', async () => {
    for (let i = 0; i < 300; i++) bench.connect().login('nobody', identity, { authType: AuthType.certificate });
    const linesOf = (level: string) =>
      bench.logs.filter((line) => line.level === level && line.fields?.reason === 'overloaded').length;
    expect([linesOf('warn'), linesOf('debug'), bench.counts.get('login-refused-overloaded')]).toEqual([1, 43, 44]);
  });

  test('password hashes: two at once, and so many that wait', () => {
    bench.hold = (action) => action.do === 'hash';
    const all = Array.from({ length: 40 }, (_, i) => {
      const connection = bench.connect();
      connection.login(`d${i}`, identity);
      return connection;
    });
    expect(bench.pending).toHaveLength(2);
    expect(bench.machine.sizes.hashes).toBe(32);
    const sentOff = all.flatMap(({ answers }) => answers.map(outcomeOf));
    expect(sentOff).toEqual(new Array(8).fill('overloaded'));
    while (bench.pending.length > 0) bench.answer(bench.pending.shift()!);
    expect(bench.machine.sizes).toMatchObject({ hashes: 0, logins: 0 });
    expect(all.filter(({ answers }) => answers.map(outcomeOf).includes('badCredentials'))).toHaveLength(32);
  });

  test('whoever guesses from a hundred addresses of three networks keeps nobody else waiting', async () => {
    await bench.addDevice('a');
    bench.hold = (action) => action.do === 'hash';
    for (let i = 0; i < 300; i++) bench.connect(`198.51.${i % 3}.${i % 100}`).login(`guess${i}`, identity);
    expect(bench.machine.sizes.hashes).toBe(32);
    const device = bench.connect('203.0.113.5');
    expect(device.login('a', identity)).toBeNull();
    // Those in progress, and the first of each line before its own.
    for (let i = 0; i < 6 && device.answers.length === 0; i++) bench.answer(bench.pending.shift()!);
    expect(device.answers.map(outcomeOf)).toEqual(['accepted']);
    expect(bench.machine.sizes.hashes).toBeGreaterThan(25);
  });

  test('guesses of strangers at a general node are no obstacle to its adapter', async () => {
    await enrolled(bench, 'gate', identity);
    const general = { kind: 'general', adapter: 'gate', mac: '02:00:00:00:00:07', auth: 'password' } as const;
    await bench.addDevice('cam', { ...general, secretExpires: null });
    for (let i = 0; i < 20; i++) bench.connect(`198.51.100.${i}`).login('cam', newIdentity());
    expect(bench.connect('198.51.100.99').login('cam', newIdentity())).toBe('overloaded');
    const adapter = bench.connect();
    expect(adapter.login('gate', identity, { authType: AuthType.certificate })).toBe('accepted');
    expect(adapter.login('cam', newIdentity())).toBe('accepted');
  });

  test('a hash for a connection that ended is not computed', () => {
    bench.hold = (action) => action.do === 'hash';
    const all = Array.from({ length: 5 }, (_, i) => {
      const connection = bench.connect();
      connection.login(`d${i}`, identity);
      return connection;
    });
    for (const connection of all.slice(2)) connection.close();
    for (const question of bench.pending.splice(0)) bench.answer(question);
    expect(bench.pending).toEqual([]);
    expect(bench.machine.sizes).toMatchObject({ hashes: 0, logins: 0 });
  });

  test('connections that do not log in, or fall silent, are closed', async () => {
    await bench.addDevice('a');
    const [idle, busy] = [bench.connect(), bench.connect()];
    bench.pass(20_000);
    expect(busy.login('a', identity)).toBe('accepted');
    bench.pass(11_000);
    expect([idle.closed, busy.closed]).toEqual([true, false]);
    bench.pass(60_000);
    expect(busy.closed).toBe(true);
    expect(bench.counts.get('connection-timeout')).toBe(2);
  });

  test('a login in progress is not cut off, a second one under its number is', async () => {
    await bench.addDevice('a');
    bench.hold = (action) => action.do === 'hash';
    const connection = bench.connect();
    connection.login('a', identity, { transactionId: 7 });
    bench.pass(40_000);
    expect(connection.closed).toBe(false);
    connection.login('a', identity, { transactionId: 7 });
    expect(connection.closed).toBe(true);
    expect(bench.counts.get('drop-unexpected')).toBe(1);
    bench.answer(bench.pending[0]!);
    expect(connection.answers).toEqual([]);
    expect(bench.device('a')?.signKey).toBeNull();
  });
});
