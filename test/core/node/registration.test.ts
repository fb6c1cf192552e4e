import { beforeEach, describe, expect, it } from 'vitest';
import { Suite } from '../../../src/proto/constants.ts';
import type { SimNode } from '../../sim/node.ts';
import { Lab } from './lab.ts';
import { Rogue } from './rogue.ts';

describe('a node', () => {
  let lab: Lab;
  beforeEach(async () => {
    lab = await Lab.open();
  });

  const state = (node: SimNode) => node.snapshot!.state;

  it('registers on both families, and says once that it is online', async () => {
    const a = await lab.node('a', lab.publicly('46'));
    expect(a.snapshot).toMatchObject({
      state: 'online',
      nat: false,
      mapped: ['198.51.100.1:7444', '[2001:db8:1::1]:7444'],
    });
    expect(a.snapshot!.services.map(({ state: s }) => s)).toEqual(['up', 'up']);
  });

  it('knows that it is behind a NAT', async () => {
    const a = await lab.node('a', lab.home('portRestricted')('10.0.0.2'));
    expect(a.snapshot).toMatchObject({ nat: true, real: ['10.0.0.2:7444'], mapped: ['203.0.113.1:7444'] });
  });

  it('keeps the NMS reminded', async () => {
    const a = await lab.node('a', lab.publicly());
    lab.pass(300_000);
    expect(lab.count(a, 'keepAlive')).toBeGreaterThanOrEqual(300 / 27.5 - 1);
    expect(lab.count(a, 'keepAlive')).toBeLessThanOrEqual(300 / 22.5 + 1);
    expect(lab.count(a, 'registrationRequest')).toBe(2);
  });

  it('is offline while no NMS answers, and online again soon after one does', async () => {
    const a = await lab.node('a', lab.publicly());
    lab.cloud.nms.kill();
    expect(lab.until(() => state(a) === 'offline', 90_000)).toBe(true);
    lab.pass(300_000);
    expect(state(a)).toBe('offline');
    lab.cloud.nms.start();
    expect(lab.until(() => state(a) === 'online', 45_000)).toBe(true);
  });

  it('registers again with an NMS that lost its memory', async () => {
    const a = await lab.node('a', lab.publicly());
    const b = await lab.node('b', lab.publicly());
    lab.cloud.nms.kill();
    lab.cloud.nms.start();
    lab.pass(30_000);
    expect(lab.reaches(a, b)).toBe(true);
  });

  it('uses the family that is left', async () => {
    const a = await lab.node('a', lab.publicly('46'));
    const b = await lab.node('b', lab.publicly('46'));
    lab.tamper = ({ to }) => (to.address.includes('.') ? 'lose' : 'pass');
    lab.pass(90_000);
    expect(state(a)).toBe('online');
    expect(lab.reaches(a, b)).toBe(true);
    expect(lab.peer(a, b)!.endpoint).toMatch(/^\[2001:db8:1::/);
  });
});

describe('registering', () => {
  it('is repeated ever later, by chance, and without end', () => {
    const mute = new Rogue();
    mute.deaf = true;
    mute.do(mute.machine.localAddresses([{ address: '203.0.113.9', port: 7444, kind: 'host' }], mute.now));
    const attempts: number[] = [];
    for (let i = 0; i < 6_000; i++) {
      const before = mute.of('send').length;
      mute.pass(100);
      for (let n = before; n < mute.of('send').length; n++) attempts.push(mute.ms);
    }
    const lastMinutes = attempts.filter((ms) => ms > 300_000);
    expect(lastMinutes.length).toBeGreaterThan(10);
    expect(lastMinutes.length).toBeLessThan(30);
    expect(mute.machine.snapshot(mute.now).state).not.toBe('online');
    expect(mute.of('renewLogin').map(({ why }) => why)).toContain('unreachable');
  });

  it('asks for a new login soon if nobody knows the device at the start', () => {
    const unknown = new Rogue(Suite.aes256Gcm, true);
    unknown.pass(5_000, 1_000);
    expect(unknown.of('renewLogin')).toEqual([{ do: 'renewLogin', why: 'unreachable' }]);
  });

  it('is a first one only until one succeeded', () => {
    const rogue = new Rogue();
    const flags = () => rogue.received.filter(({ type }) => type === 'registrationRequest').map((m) => m.flags);
    expect(flags()).toEqual([2]);
    rogue.do(rogue.machine.localAddresses([{ address: '203.0.113.9', port: 7444, kind: 'host' }], rogue.now));
    expect(flags()).toEqual([2, 0]);
    expect(rogue.of('online')).toHaveLength(1);
  });

  it('begins anew under a renewed session, with the certificate renewed in time', () => {
    const rogue = new Rogue();
    rogue.pass(86_400_000 - 3 * 3_600_000, 60_000);
    expect(rogue.of('renewLogin')).toEqual([]);
    rogue.pass(6 * 3_600_000, 60_000);
    expect(rogue.of('renewLogin')[0]).toEqual({ do: 'renewLogin', why: 'certificate' });
    const before = rogue.received.filter(({ type }) => type === 'registrationRequest').length;
    rogue.do(rogue.machine.session(rogue.session, rogue.now));
    rogue.pass(100);
    expect(rogue.received.filter(({ type }) => type === 'registrationRequest')).toHaveLength(before + 1);
    expect(rogue.world.reused).toEqual([]);
  });

  it('does not happen before there are addresses, nor in families the NMS lacks', () => {
    const rogue = new Rogue();
    const before = rogue.of('send').length;
    rogue.do(rogue.machine.localAddresses([{ address: '2001:db8::5', port: 7444, kind: 'host' }], rogue.now));
    rogue.pass(5_000);
    expect(rogue.of('send')).toHaveLength(before);
    expect(rogue.machine.snapshot(rogue.now)).toMatchObject({ state: 'offline', services: [] });
  });

  it('happens in IPv4 without an IPv4 address behind a NAT64, until that is gone', () => {
    const rogue = new Rogue();
    const place = (behindNat64: boolean) => {
      const host = { address: '2001:db8::5', port: 7444, kind: 'host' } as const;
      rogue.do(rogue.machine.localAddresses([host], rogue.now, behindNat64));
      return rogue.machine.snapshot(rogue.now);
    };
    expect(place(true)).toMatchObject({ state: 'online', real: ['[2001:db8::5]:7444'] });
    expect(place(false).state).toBe('offline');
  });

  it('ends with a goodbye', () => {
    const rogue = new Rogue();
    rogue.do(rogue.machine.stop(rogue.now));
    expect(rogue.received.at(-1)).toMatchObject({ type: 'notice', body: { subject: rogue.session.nodeId } });
    const count = rogue.actions.length;
    rogue.pass(60_000);
    expect(rogue.actions).toHaveLength(count);
    expect(rogue.of('wake').at(-1)).toEqual({ do: 'wake', at: Number.POSITIVE_INFINITY });
  });
});
