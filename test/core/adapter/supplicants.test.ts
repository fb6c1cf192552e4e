/** General nodes that are let in by 802.1X, through the adapter's machine. */

import { describe, expect, it } from 'vitest';
import { encodeArp } from '../../../src/net/arp.ts';
import { encodeEapol } from '../../../src/net/eapol.ts';
import { EtherType } from '../../../src/net/ethernet.ts';
import { camera, cameraMac, gateway4, plcMac } from '../../net/support/link.ts';
import { eapIn } from '../../net/support/supplicant.ts';
import { AdapterBench, general, pap } from './bench.ts';

const start = encodeEapol('start');
const HOUR = 3_600_000;
const question = (tag: number | null = null) => ({
  tag,
  etherType: EtherType.arp,
  payload: encodeArp({
    operation: 'request',
    senderMac: cameraMac,
    senderAddress: camera.vip4,
    targetMac: '00:00:00:00:00:00',
    targetAddress: gateway4,
  }),
});

describe('a device with 802.1X', () => {
  it('is asked when its first frame comes, let in when the AS says yes, and served from then on', () => {
    const bench = new AdapterBench();
    bench.frame(question());
    expect(bench.sent.map(({ payload }) => eapIn(payload))).toMatchObject([{ code: 'request', type: 1 }]);
    expect(bench.stateOf(cameraMac)).toBe('seen');
    bench.answer();
    expect(bench.stateOf(cameraMac)).toBe('authenticating');
    expect(bench.logins).toMatchObject([{ deviceId: 'cam1', proof: { kind: 'password', identity: 'cam1' } }]);
    expect(bench.machine.hosts).toEqual([]);
    bench.decide('accepted');
    expect(bench.machine.hosts).toMatchObject([{ mac: cameraMac, ...camera }]);
    expect(bench.count('dot1x-accepted')).toBe(1);
    // The question it came with is answered as well.
    expect(bench.sent.filter(({ etherType }) => etherType === EtherType.arp)).toHaveLength(1);
  });

  it('comes in on the VLAN that it authenticated on, wherever else its MAC address shows up meanwhile', () => {
    const bench = new AdapterBench();
    bench.frame(question(10));
    bench.answer(10);
    bench.frame(question(20));
    bench.decide('accepted');
    expect(bench.machine.hosts).toMatchObject([{ mac: cameraMac, tag: 10 }]);
    expect(bench.count('link-drop-frame-tag')).toBe(1);
    // Priority is no part of the VLAN's name (IEEE 802.1Q section 9.6).
    bench.sent = [];
    bench.frame(question(0xa00a));
    expect(bench.sent).toHaveLength(1);
    expect(bench.count('link-drop-frame-tag')).toBe(1);
  });

  it('has to begin anew when the register changed between the AS’s yes and its own last word', () => {
    const bench = new AdapterBench('certificate');
    bench.eapol(start);
    bench.answer();
    bench.engine.outgoing = Uint8Array.of(1);
    bench.decide('accepted');
    expect(bench.machine.hosts).toEqual([]);
    const moved = { ...camera, vip4: '100.80.0.55' };
    bench.take(bench.machine.register([general('cam1', cameraMac, 'certificate', moved)], () => true, bench.now));
    bench.answer();
    expect(bench.machine.hosts).toEqual([]);
    expect(bench.logins).toHaveLength(2);
    bench.decide('accepted');
    expect(bench.machine.hosts).toMatchObject([moved]);
  });

  it('never comes in by its MAC address', () => {
    for (const auth of ['password', 'certificate'] as const) {
      const bench = new AdapterBench(auth);
      for (let i = 0; i < 20; i++) {
        bench.frame(question());
        bench.pass(30_000);
      }
      expect(bench.logins).toEqual([]);
      expect(bench.sent.filter(({ etherType }) => etherType !== EtherType.eapol)).toEqual([]);
      expect(bench.count('dot1x-failed-silent')).toBeGreaterThan(0);
    }
  });

  it('hands its handshake on to the AS', () => {
    const bench = new AdapterBench('certificate');
    bench.eapol(start);
    bench.answer();
    expect(bench.logins).toMatchObject([{ deviceId: 'cam1', proof: { kind: 'certificate', proof: Uint8Array.of(1) } }]);
  });

  it('with a handshake that no AS would read is refused at once', () => {
    const bench = new AdapterBench('certificate');
    bench.proof = new Uint8Array(15_001);
    bench.eapol(start);
    bench.answer();
    expect(bench.logins).toEqual([]);
    bench.answer();
    expect(bench.count('dot1x-failed-refused')).toBe(1);
  });

  it('is refused by the AS, and asked again after a pause', () => {
    const bench = new AdapterBench();
    bench.eapol(start);
    bench.authenticate('refused');
    expect(bench.stateOf(cameraMac)).toBe('refused');
    expect(bench.count('dot1x-failed-refused')).toBe(1);
    bench.eapol(start);
    expect(bench.count('link-drop-eapol-held')).toBe(1);
    bench.pass(5_000);
    bench.authenticate('accepted');
    expect(bench.stateOf(cameraMac)).toBe('active');
  });

  it.each([
    ['cam1', true],
    ['CAM1@lab.example', true],
    ['plc', false],
    ['cam1.lab.example', false],
    ['@cam1', false],
  ])('with the user name %s is asked about: %s', (name, asked) => {
    const bench = new AdapterBench();
    bench.inner = pap(name);
    bench.eapol(start);
    bench.answer();
    expect(bench.logins).toHaveLength(asked ? 1 : 0);
    expect(bench.count('dot1x-failed-refused')).toBe(asked ? 0 : 1);
  });

  it('stays in while no AS can be reached, but does not come in', () => {
    const bench = new AdapterBench();
    bench.eapol(start);
    bench.authenticate('unreachable');
    expect(bench.machine.hosts).toEqual([]);
    expect(bench.count('dot1x-failed-undecided')).toBe(1);
    bench.pass(5_000);
    bench.authenticate();
    for (let i = 0; i < 3; i++) {
      bench.frame(question());
      bench.pass(HOUR / 3);
    }
    for (let minute = 0; minute < 3; minute++) {
      bench.authenticate('unreachable');
      expect(bench.stateOf(cameraMac)).toBe('active');
      bench.pass(60_000);
    }
    expect(bench.logins).toHaveLength(5);
    bench.authenticate('refused');
    expect(bench.machine.hosts).toEqual([]);
  });

  it('is asked again to renew its login', () => {
    const bench = new AdapterBench();
    bench.eapol(start);
    bench.authenticate();
    bench.take(bench.machine.renew('cam1', bench.now));
    bench.authenticate();
    expect(bench.logins).toHaveLength(2);
    expect(bench.stateOf(cameraMac)).toBe('active');
  });

  it('waits until the adapter has a certificate', () => {
    const bench = new AdapterBench('password', false);
    bench.frame(question());
    bench.eapol(start);
    expect(bench.sent).toEqual([]);
    bench.take(bench.machine.certified(bench.now));
    bench.authenticate();
    expect(bench.stateOf(cameraMac)).toBe('active');
  });

  it('is out after a logoff, a pulled cable, a word of the overlay or of the register', () => {
    const ends: ((bench: AdapterBench) => void)[] = [
      (bench) => bench.eapol(encodeEapol('logoff')),
      (bench) => bench.take(bench.machine.unplugged(bench.now)),
      (bench) => bench.take(bench.machine.revoked('cam1', bench.now)),
      (bench) => bench.take(bench.machine.register([], () => true, bench.now)),
    ];
    for (const end of ends) {
      const bench = new AdapterBench();
      bench.eapol(start);
      bench.authenticate();
      bench.sent = [];
      end(bench);
      expect(bench.machine.hosts).toEqual([]);
      bench.pass(1_000);
      bench.frame(question());
      expect(bench.sent.filter(({ etherType }) => etherType === EtherType.arp)).toEqual([]);
    }
  });

  it('is out when it is registered for 802.1X anew, also by the change that tells of its first login', () => {
    const bench = new AdapterBench('mac');
    const tell = (auth: 'mac' | 'certificate', state: 'new' | 'enrolled') =>
      bench.take(bench.machine.register([general('cam1', cameraMac, auth, camera, state)], () => true, bench.now));
    tell('mac', 'new');
    bench.frame(question());
    expect(bench.machine.hosts).toEqual([]);
    bench.decide('accepted');
    tell('mac', 'enrolled');
    expect(bench.machine.hosts).toHaveLength(1);
    tell('mac', 'new');
    bench.frame(question());
    bench.decide('accepted');
    tell('certificate', 'enrolled');
    expect(bench.machine.hosts).toEqual([]);
    bench.frame(question());
    expect(bench.machine.hosts).toEqual([]);
  });

  it('keeps its VLAN: its MAC address on another is nobody', () => {
    const bench = new AdapterBench();
    bench.frame({ ...question(7), etherType: EtherType.eapol, payload: start });
    expect(new Set(bench.sent.map(({ tag }) => tag))).toEqual(new Set([7]));
    bench.answer(7);
    bench.decide('accepted');
    expect(bench.machine.hosts).toMatchObject([{ tag: 7 }]);
    bench.sent = [];
    bench.frame(question(8));
    bench.frame(question());
    bench.frame({ ...question(8), etherType: EtherType.eapol, payload: encodeEapol('logoff') });
    expect(bench.sent).toEqual([]);
    expect(bench.count('link-drop-frame-tag')).toBe(3);
    expect(bench.machine.hosts).toMatchObject([{ tag: 7 }]);
    bench.frame(question(7));
    expect(bench.sent).toMatchObject([{ destination: cameraMac, tag: 7 }]);
  });

  it('is no matter to a device beside it', () => {
    const bench = new AdapterBench();
    bench.eapol(start, plcMac);
    expect(bench.count('link-drop-eapol-unknown-device')).toBe(1);
  });
});
