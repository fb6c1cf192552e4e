import { beforeEach, describe, expect, it } from 'vitest';
import { authenticatorTiming } from '../../src/net/authenticator.ts';
import { encodeAvps } from '../../src/net/ttls-avps.ts';
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
  NAK,
  start,
  TLS,
  TTLS,
  text,
} from './support/authentication.ts';
import { cameraMac, strangerMac } from './support/link.ts';
import { responsePdu, sentIn } from './support/supplicant.ts';

let t: Bench;

beforeEach(() => {
  t = new Bench();
});

/** A fatal TLS alert, access denied, whole in one packet. */
const alert = [0, 21, 3, 3, 0, 2, 2, 49];

describe('EAP-TLS', () => {
  it('goes from start to authorisation', () => {
    expect(sentIn(t.receive(start))).toEqual([t.request(IDENTITY)]);
    const first = t.id;
    expect(sentIn(t.respond(IDENTITY, text('cam1@lab.example')))).toEqual([t.request(TLS, 0x20)]);
    expect(t.id).toBe((first + 1) & 255);

    const flight = new Uint8Array(3000).fill(5);
    expect(t.engines).toEqual([]);
    const hellos = t.respond(TLS, hello);
    expect(t.engine.fed).toEqual([Uint8Array.of(1, 2, 3)]);
    // The engine has nothing yet: the device is asked on.
    expect(sentIn(hellos)).toEqual([t.request(TLS, 0)]);
    t.engine.outgoing = flight;
    expect(sentIn(t.respond(TLS, ACK))).toEqual([t.request(TLS, 0xc0, 0, 0, 0x0b, 0xb8, ...flight.subarray(0, 1300))]);
    expect(sentIn(t.respond(TLS, ACK))).toEqual([t.request(TLS, 0x40, ...flight.subarray(0, 1300))]);
    expect(sentIn(t.respond(TLS, new Uint8Array(0)))).toEqual([t.request(TLS, 0, ...flight.subarray(0, 400))]);

    // The device's flight in two fragments, the first acknowledged.
    expect(sentIn(t.respond(TLS, Uint8Array.of(0xc0, 0, 0, 0, 4, 9, 9)))).toEqual([t.request(TLS, 0)]);
    Object.assign(t.engine, { established: true, certificateProof: certificate });
    const asked = t.respond(TLS, Uint8Array.of(0, 8, 8));
    expect(t.engine.fed[1]).toEqual(Uint8Array.of(9, 9, 8, 8));
    expect(asked).toEqual([
      {
        do: 'authenticate',
        mac: cameraMac,
        attempt: attemptIn(asked),
        identity: 'cam1@lab.example',
        credential: { kind: 'certificate', proof: certificate },
      },
    ]);

    const decided = t.decide(attemptIn(asked), true);
    expect(sentIn(decided)).toEqual([{ code: 'success', id: t.id }]);
    expect(decided.at(-1)).toEqual({ do: 'authorised', mac: cameraMac, identity: 'cam1@lab.example' });
    expect(t.engine.closed).toBe(true);
    expect(t.wake).toBe(t.ms + authenticatorTiming.reauthenticate);
  });

  it('by TLS 1.3 commits to success before it says so', () => {
    const decided = t.decide(attemptIn(t.showCertificate(true)), true);
    expect(t.engine.written).toEqual([Uint8Array.of(0)]);
    expect(sentIn(decided)).toEqual([t.request(TLS, 0, 0)]);
    expect(decided).toHaveLength(1);
    expect(sentIn(t.respond(TLS, ACK))).toEqual([{ code: 'success', id: t.id }]);
  });

  it('by TLS 1.3 commits to nothing if the device is refused', () => {
    const decided = t.decide(attemptIn(t.showCertificate(true)), false);
    expect(t.engine.written).toEqual([]);
    expect(sentIn(decided)).toEqual([{ code: 'failure', id: t.id }]);
    expect(decided.at(-1)).toEqual(failed('refused'));
  });

  it('waits for an engine that takes its time', () => {
    t.identify();
    t.receive(responsePdu(t.id, TLS, hello));
    t.engine.onFeed = () => {
      t.engine.busy = true;
    };
    expect(t.respond(TLS, hello)).toEqual([]);
    expect(t.respond(TLS, hello)).toEqual(dropped('eap-unexpected'));
    expect(t.progressed()).toEqual([]);
    Object.assign(t.engine, { busy: false, outgoing: Uint8Array.of(6) });
    expect(sentIn(t.progressed())).toEqual([t.request(TLS, 0, 6)]);
    // What comes twice changes nothing.
    expect(t.progressed()).toEqual([]);
    expect(t.progressed(strangerMac)).toEqual([]);
  });

  it('without a certificate fails', () => {
    t.identify();
    t.respond(TLS, hello);
    t.engine.established = true;
    expect(sentIn(t.respond(TLS, ACK))).toEqual([t.request(TLS, ...alert)]);
    expect(t.respond(TLS, ACK).at(-1)).toEqual(failed('no-certificate'));
  });

  it('by TLS 1.2 does not hear that the handshake is done before its certificate was judged', () => {
    const judge = (good: boolean) => {
      t.identify();
      t.respond(TLS, hello);
      const done = { established: true, certificateProof: certificate, outgoing: Uint8Array.of(20) };
      Object.assign(t.engine, done);
      const asked = t.respond(TLS, ACK);
      expect(sentIn(asked)).toEqual([]);
      return t.decide(attemptIn(asked), good);
    };
    expect(sentIn(judge(false))).toEqual([t.request(TLS, ...alert)]);
    expect(t.respond(TLS, ACK).at(-1)).toEqual(failed('refused'));
    t.ms = t.wake;
    t.tick();
    expect(sentIn(judge(true))).toEqual([t.request(TLS, 0, 20)]);
    expect(t.respond(TLS, ACK).at(-1)).toMatchObject({ do: 'authorised' });
  });

  it('is not spared the pause by not hearing that it was refused', () => {
    t.decide(attemptIn(t.showCertificate()), false);
    expect(t.receive(start).at(-1)).toEqual(failed('refused'));
    expect(t.receive(start)).toEqual(dropped('eapol-held'));
    t.ms = t.wake;
    t.tick();
    t.respond(IDENTITY, text('cam1'));
    t.respond(TLS, hello);
    Object.assign(t.engine, { established: true, certificateProof: certificate });
    t.decide(attemptIn(t.respond(TLS, ACK)), false);
    for (let i = 0; i <= authenticatorTiming.retransmissions; i++) {
      t.ms = t.wake;
      if (i < authenticatorTiming.retransmissions) expect(sentIn(t.tick())).toEqual([t.request(TLS, ...alert)]);
    }
    expect(t.tick().at(-1)).toEqual(failed('refused'));
    expect(t.wake).toBe(t.ms + 2 * authenticatorTiming.held);
  });

  it('hands out the alert of a failed handshake before it fails', () => {
    t.identify();
    t.respond(TLS, hello);
    Object.assign(t.engine, { failed: true, outgoing: Uint8Array.of(21) });
    expect(sentIn(t.respond(TLS, ACK))).toEqual([t.request(TLS, 0, 21)]);
    const after = t.respond(TLS, ACK);
    expect(sentIn(after)).toEqual([{ code: 'failure', id: t.id }]);
    expect(after.at(-1)).toEqual(failed('tls'));
  });
});

describe('EAP-TTLS', () => {
  const login = (name: string, password: string): Uint8Array =>
    Uint8Array.from(
      encodeAvps([
        { code: 1, vendor: null, mandatory: true, value: text(name) },
        { code: 2, vendor: null, mandatory: true, value: text(password.padEnd(16, '\0')) },
      ]),
    );

  beforeEach(() => {
    t.methods.set(cameraMac, ['ttls']);
    t.identify('anonymous@lab.example');
    t.respond(TTLS, hello);
    t.engine.established = true;
  });

  it('asks for what is said in the tunnel, under the name said there', () => {
    expect(sentIn(t.respond(TTLS, ACK))).toEqual([t.request(TTLS, 0)]);
    t.engine.incoming = login('cam1', 'secret');
    const asked = t.respond(TTLS, Uint8Array.of(0, 4));
    expect(asked).toEqual([
      {
        do: 'authenticate',
        mac: cameraMac,
        attempt: attemptIn(asked),
        identity: 'cam1',
        credential: { kind: 'password', password: text('secret') },
      },
    ]);
    // No commitment: that is EAP-TLS only.
    t.engine.tls13 = true;
    const decided = t.decide(attemptIn(asked), true);
    expect(sentIn(decided)).toEqual([{ code: 'success', id: t.id }]);
    expect(decided.at(-1)).toEqual({ do: 'authorised', mac: cameraMac, identity: 'cam1' });
  });

  it.each([
    ['another inner method', encodeAvps([{ code: 79, vendor: null, mandatory: true, value: hex('00') }])],
    ['nothing to be read', hex('00')],
    [
      'a name that is no text',
      encodeAvps([
        { code: 1, vendor: null, mandatory: true, value: hex('ff') },
        { code: 2, vendor: null, mandatory: true, value: hex('41') },
      ]),
    ],
  ])('with %s fails', (_, inner) => {
    t.engine.incoming = Uint8Array.from(inner);
    expect(t.respond(TTLS, Uint8Array.of(0, 4)).at(-1)).toEqual(failed('inner-method'));
  });
});

describe('the method', () => {
  it('is what the device can do, if it may', () => {
    t.identify();
    expect(sentIn(t.respond(NAK, Uint8Array.of(25, TTLS)))).toEqual([t.request(TTLS, 0x20)]);
    expect(sentIn(t.respond(TTLS, hello))).toEqual([t.request(TTLS, 0)]);
  });

  it.each([
    ['none', [0]],
    ['others only', [25, 4]],
    ['the one proposed', [TLS]],
  ])('fails to be found if the device can do %s', (_, list) => {
    t.identify();
    expect(t.respond(NAK, Uint8Array.from(list)).at(-1)).toEqual(failed('no-common-method'));
  });

  it('is not changed once begun, nor twice', () => {
    t.identify();
    t.respond(NAK, Uint8Array.of(TTLS));
    expect(t.respond(NAK, Uint8Array.of(TLS)).at(-1)).toEqual(failed('no-common-method'));
    t.ms = t.wake;
    t.tick();
    t.respond(IDENTITY, text('cam1'));
    t.respond(TLS, hello);
    expect(t.respond(NAK, Uint8Array.of(TTLS))).toEqual(dropped('eap-unexpected'));
  });
});
