import { beforeEach, describe, expect, it } from 'vitest';
import { type AuthenticatorAction, authenticatorTiming } from '../../src/net/authenticator.ts';
import { encodeEap } from '../../src/net/eap.ts';
import { encodeEapol } from '../../src/net/eapol.ts';
import fc from '../support/property.ts';
import { hex } from '../vectors/read.ts';
import {
  ACK,
  attemptIn,
  Bench,
  certificate,
  dropped,
  failed,
  hello,
  IDENTITY,
  logoff,
  NAK,
  start,
  TLS,
  TTLS,
  text,
} from './support/authentication.ts';
import { cameraMac, plcMac, strangerMac } from './support/link.ts';
import { responsePdu, sentIn } from './support/supplicant.ts';

let t: Bench;

beforeEach(() => {
  t = new Bench();
});

describe('the authenticator', () => {
  it('asks a device that appears, and only once', () => {
    expect(sentIn(t.begin())).toEqual([t.request(IDENTITY)]);
    expect(t.begin()).toEqual([]);
    // A supplicant that comes up a moment later hears the same question.
    expect(sentIn(t.receive(start))).toEqual([t.request(IDENTITY)]);
  });

  it('repeats a request with growing waits, then takes the device for silent', () => {
    t.receive(start);
    const first = t.id;
    const waits = [t.wake - t.ms];
    for (let i = 0; i < authenticatorTiming.retransmissions; i++) {
      t.ms = t.wake;
      expect(sentIn(t.tick())).toEqual([{ ...t.request(IDENTITY), id: first }]);
      waits.push(t.wake - t.ms);
    }
    expect(waits).toEqual([3000, 6000, 12_000, 20_000, 20_000]);
    t.ms = t.wake;
    expect(t.tick().at(-1)).toEqual(failed('silent'));
    expect(t.wake).toBe(Number.POSITIVE_INFINITY);
    expect(sentIn(t.receive(start))).toEqual([t.request(IDENTITY)]);
  });

  it('pauses after a failure, longer each time, then asks again by itself', () => {
    const pauses: number[] = [];
    t.identify();
    for (let i = 0; i < 6; i++) {
      expect(t.respond(NAK, Uint8Array.of(0)).at(-1)).toEqual(failed('no-common-method'));
      pauses.push(t.wake - t.ms);
      expect(t.receive(start)).toEqual(dropped('eapol-held'));
      expect(t.begin()).toEqual(dropped('eapol-held'));
      t.ms = t.wake;
      expect(sentIn(t.tick())).toEqual([t.request(IDENTITY)]);
      t.respond(IDENTITY, text('cam1'));
    }
    expect(pauses).toEqual([5000, 10_000, 20_000, 40_000, 60_000, 60_000]);
  });

  it('gives up on a decision that never comes, and takes none that comes late', () => {
    const attempt = attemptIn(t.showCertificate());
    t.ms = t.wake;
    expect(t.wake).toBe(1_000_000 + authenticatorTiming.decision);
    expect(t.tick().at(-1)).toEqual(failed('undecided'));
    expect(t.decide(attempt, true)).toEqual([]);
    t.ms = t.wake;
    t.tick();
    expect(t.decide(attempt, true)).toEqual([]);
    expect(sentIn(t.respond(IDENTITY, text('cam1')))).toEqual([t.request(TLS, 0x20)]);
  });

  it('fails a device that nobody could be asked about, unless it is authorised: then it asks it again later', () => {
    expect(t.decide(attemptIn(t.showCertificate()), null).at(-1)).toEqual(failed('undecided'));
    t.ms = t.wake;
    t.tick();
    t.respond(IDENTITY, text('cam1'));
    const again = (): number => {
      t.respond(TLS, hello);
      Object.assign(t.engine, { established: true, certificateProof: certificate });
      return attemptIn(t.respond(TLS, ACK));
    };
    t.decide(again(), true);
    for (const unanswered of [true, false]) {
      t.ms = t.wake;
      t.tick();
      t.respond(IDENTITY, text('cam1'));
      const attempt = again();
      if (unanswered) {
        t.ms = t.wake;
        expect(t.tick()).toEqual([]);
      } else expect(t.decide(attempt, null)).toEqual([]);
      expect(t.engine.closed).toBe(true);
      expect(t.wake).toBe(t.ms + authenticatorTiming.postponed);
    }
    // It is still authorised: only such a device can log off.
    expect(t.receive(logoff).at(-1)).toEqual(failed('logoff'));
  });

  it('begins only so many handshakes at once, and more as time passes', () => {
    const macs = Array.from({ length: 100 }, (_, i) => `02:00:00:00:01:${i.toString(16).padStart(2, '0')}`);
    const greet = (mac: string): string => {
      t.heed(t.authenticator.receive(mac, start, t.now));
      t.heed(t.authenticator.receive(mac, responsePdu(t.id, IDENTITY, text('cam')), t.now));
      const actions = t.heed(t.authenticator.receive(mac, responsePdu(t.id, TLS, hello), t.now));
      return actions.map((action) => (action.do === 'drop' ? action.reason : action.do)).join();
    };
    for (const mac of macs) t.methods.set(mac, ['tls']);
    const outcomes = macs.map(greet);
    expect(outcomes.slice(0, 64)).toEqual(Array.from({ length: 64 }, () => 'send'));
    expect(outcomes.slice(64)).toEqual(Array.from({ length: 36 }, () => 'eapol-overloaded'));
    expect(t.engines).toHaveLength(64);
    t.ms += 1_000;
    // The device repeats what was not taken when it is asked again.
    const repeated = macs.slice(64).map((mac) => {
      t.heed(t.authenticator.receive(mac, start, t.now));
      return greet(mac);
    });
    expect(repeated.filter((outcome) => outcome === 'send')).toHaveLength(16);
  });

  it('takes no decision about a conversation that was begun anew', () => {
    const attempt = attemptIn(t.showCertificate());
    t.ms += authenticatorTiming.restart;
    t.receive(start);
    expect(t.engine.closed).toBe(true);
    expect(t.decide(attempt, true)).toEqual([]);
    expect(sentIn(t.respond(IDENTITY, text('cam1')))).toEqual([t.request(TLS, 0x20)]);
  });

  it('authenticates again from time to time; who fails then is out', () => {
    t.decide(attemptIn(t.showCertificate()), true);
    t.ms = t.wake;
    expect(t.tick()).toHaveLength(1);
    t.respond(IDENTITY, text('cam1'));
    t.respond(TLS, hello);
    Object.assign(t.engine, { established: true, certificateProof: certificate });
    const again = t.decide(attemptIn(t.respond(TLS, ACK)), true);
    expect(again.at(-1)).toMatchObject({ do: 'authorised' });
    t.ms = t.wake;
    t.tick();
    t.respond(IDENTITY, text('cam1'));
    expect(t.respond(NAK, Uint8Array.of(0)).at(-1)).toEqual(failed('no-common-method'));
  });

  it('lets a device log off, and come back', () => {
    t.decide(attemptIn(t.showCertificate()), true);
    const off = t.receive(logoff);
    expect(sentIn(off)).toEqual([{ code: 'failure', id: t.id }]);
    expect(off.at(-1)).toEqual(failed('logoff'));
    expect(t.wake).toBe(Number.POSITIVE_INFINITY);
    expect(t.receive(logoff)).toEqual(dropped('eap-unexpected'));
    t.ms += authenticatorTiming.restart;
    expect(sentIn(t.receive(start))).toEqual([t.request(IDENTITY)]);
  });

  it('forgets a device that is gone', () => {
    t.showCertificate();
    expect(t.authenticator.forget(cameraMac)).toEqual([]);
    expect(t.engine.closed).toBe(true);
    t.decide(1, true);
    expect(t.receive(logoff)).toEqual(dropped('eap-unexpected'));
    t.receive(start);
    t.methods.clear();
    t.ms = t.wake;
    expect(t.tick()).toMatchObject([{ do: 'send' }]);
    expect(t.receive(start)).toEqual(dropped('eapol-unknown-device'));
  });

  it('does not begin anew with a device that was unregistered', () => {
    t.decide(attemptIn(t.showCertificate()), true);
    t.methods.clear();
    t.ms = t.wake;
    expect(t.tick()).toEqual([failed('unregistered')]);
    expect(t.wake).toBe(Number.POSITIVE_INFINITY);
  });

  it('can’t be made to start over and over', () => {
    t.identify();
    for (let i = 0; i < 100; i++) expect(t.receive(start)).toEqual(dropped('eapol-too-often'));
    expect(sentIn(t.respond(TLS, hello))).toEqual([t.request(TLS, 0)]);
    for (let i = 0; i < 97; i++) t.respond(TLS, ACK);
    expect(t.respond(TLS, ACK)).toMatchObject([{ do: 'send' }]);
    expect(t.respond(TLS, ACK).at(-1)).toEqual(failed('too-long'));
  });

  it('talks with so many at once and no more', () => {
    const macOf = (i: number) =>
      `02:00:00:01:${(i >> 8).toString(16).padStart(2, '0')}:${(i & 255).toString(16).padStart(2, '0')}`;
    for (let i = 0; i < 257; i++) t.methods.set(macOf(i), ['tls']);
    for (let i = 0; i < 256; i++) expect(sentIn(t.receive(start, macOf(i)))).toHaveLength(1);
    expect(t.receive(start, macOf(256))).toEqual(dropped('eapol-overloaded', macOf(256)));
    t.receive(logoff, macOf(0));
    t.ms += authenticatorTiming.restart;
    expect(sentIn(t.tick())).toHaveLength(1);
  });

  it.each([
    ['a PDU that is none', Uint8Array.of(2), 'eapol-malformed'],
    ['a key', encodeEapol('key', Uint8Array.of(1)), 'eapol-type'],
    ['a packet that is none', encodeEapol('packet', Uint8Array.of(2)), 'eap-malformed'],
    ['a request', encodeEapol('packet', encodeEap({ code: 'request', id: 129, type: 1, data: ACK })), 'eap-unexpected'],
    ['success', encodeEapol('packet', encodeEap({ code: 'success', id: 129 })), 'eap-unexpected'],
    ['another identifier', responsePdu(7, IDENTITY, text('cam1')), 'eap-unexpected'],
    ['another method', responsePdu(129, TLS, hello), 'eap-unexpected'],
    ['no identity', responsePdu(129, IDENTITY, new Uint8Array(0)), 'eap-malformed'],
    ['an identity that is no text', responsePdu(129, IDENTITY, hex('ff')), 'eap-malformed'],
    ['an identity with a zero', responsePdu(129, IDENTITY, hex('610062')), 'eap-malformed'],
    ['an identity too long', responsePdu(129, IDENTITY, new Uint8Array(254).fill(97)), 'eap-malformed'],
  ])('drops %s, and goes on waiting', (_, pdu, reason) => {
    t.receive(start);
    expect(t.id).toBe(129);
    expect(t.receive(pdu)).toEqual(dropped(reason));
    expect(sentIn(t.respond(IDENTITY, text('cam1')))).toHaveLength(1);
  });

  it('drops fragments out of place', () => {
    t.identify();
    expect(t.respond(TLS, Uint8Array.of(0x80, 0))).toEqual(dropped('eap-fragment'));
    expect(t.respond(TLS, Uint8Array.of(0x20))).toEqual(dropped('eap-fragment'));
    expect(t.engines).toEqual([]);
    t.respond(TLS, hello);
    t.engine.outgoing = new Uint8Array(3000);
    t.respond(TLS, ACK);
    expect(t.respond(TLS, hello)).toEqual(dropped('eap-fragment'));
    expect(sentIn(t.respond(TLS, ACK))).toHaveLength(1);
  });

  it('does nothing for a device that is not registered for it', () => {
    expect(t.receive(start, strangerMac)).toEqual(dropped('eapol-unknown-device', strangerMac));
    expect(t.receive(logoff, plcMac)).toEqual(dropped('eapol-unknown-device', plcMac));
    expect(t.begin(strangerMac)).toEqual(dropped('eapol-unknown-device', strangerMac));
    expect(t.wake).toBe(Number.POSITIVE_INFINITY);
  });

  it('authorises nobody without a good decision, whatever comes in whatever order', () => {
    const event = fc.oneof(
      fc.constant({ do: 'pdu' as const, pdu: start }),
      fc.constant({ do: 'pdu' as const, pdu: logoff }),
      fc.record({
        do: fc.constant('respond' as const),
        type: fc.constantFrom(IDENTITY, NAK, TLS, TTLS),
        data: fc.oneof(fc.constant(ACK), fc.constant(hello), fc.uint8Array({ maxLength: 8 })),
      }),
      fc.record({
        do: fc.constant('engine' as const),
        busy: fc.boolean(),
        failed: fc.boolean(),
        established: fc.boolean(),
        tls13: fc.boolean(),
        certificateProof: fc.option(fc.constant(certificate)),
        outgoing: fc.uint8Array({ maxLength: 3 }),
        incoming: fc.uint8Array({ maxLength: 12 }),
      }),
      fc.constant({ do: 'progressed' as const }),
      fc.record({ do: fc.constant('wait' as const), wait: fc.nat(70_000) }),
      fc.record({ do: fc.constant('refuse' as const), attempt: fc.nat(3) }),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        t = new Bench();
        t.showCertificate();
        for (const it of events) {
          let actions: AuthenticatorAction[] = [];
          if (it.do === 'pdu') actions = t.receive(it.pdu);
          else if (it.do === 'respond') actions = t.respond(it.type, it.data);
          else if (it.do === 'engine') Object.assign(t.engines.at(-1) ?? {}, { ...it, do: undefined });
          else if (it.do === 'progressed') actions = t.progressed();
          else if (it.do === 'refuse') actions = t.decide(it.attempt, false);
          else {
            t.ms += it.wait;
            actions = t.tick();
          }
          expect(actions.filter((action) => action.do === 'authorised')).toEqual([]);
        }
      }),
    );
  });
});
