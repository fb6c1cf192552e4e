import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { Authenticator, type AuthenticatorAction, authenticatorTiming } from '../../src/net/authenticator.ts';
import { encodeEap } from '../../src/net/eap.ts';
import type { EapMethod } from '../../src/net/eap-conversation.ts';
import { encodeEapol } from '../../src/net/eapol.ts';
import { encodeAvps } from '../../src/net/ttls-avps.ts';
import { hex } from '../vectors/read.ts';
import { cameraMac, plcMac, strangerMac } from './support/link.ts';
import { responsePdu, ScriptedEngine, sentIn } from './support/supplicant.ts';

const IDENTITY = 1;
const NAK = 3;
const TLS = 13;
const TTLS = 21;
const ACK = Uint8Array.of(0);
const hello = Uint8Array.of(0, 1, 2, 3);
const text = (it: string): Uint8Array => Uint8Array.from(Buffer.from(it));
const start = encodeEapol('start');
const logoff = encodeEapol('logoff');
const certificate = hex('3082');

let ms: number;
let engines: ScriptedEngine[];
let methods: Map<string, readonly EapMethod[]>;
let authenticator: Authenticator;
/** Of the latest request. */
let id: number;
let wake: number;
const now = () => ({ ms, wall: 0 });

beforeEach(() => {
  ms = 1_000_000;
  engines = [];
  methods = new Map([[cameraMac, ['tls', 'ttls']]]);
  authenticator = new Authenticator({
    methodsOf: (mac) => methods.get(mac) ?? null,
    makeEngine: () => {
      engines.push(new ScriptedEngine());
      return engines.at(-1)!;
    },
    random: () => 0.5,
  });
});

/** Notes what the actions ask of the shell, and gives them without the wake. */
function heed(actions: AuthenticatorAction[]): AuthenticatorAction[] {
  wake = Number.POSITIVE_INFINITY;
  for (const action of actions) if (action.do === 'wake') wake = action.at;
  const request = sentIn(actions).findLast((eap) => eap.code === 'request');
  if (request !== undefined) id = request.id;
  return actions.filter((action) => action.do !== 'wake');
}

const receive = (pdu: Uint8Array, mac = cameraMac) => heed(authenticator.receive(mac, pdu, now()));
const respond = (type: number, data: Uint8Array) => receive(responsePdu(id, type, data));
const tick = () => heed(authenticator.tick(now()));
const decide = (attempt: number, good: boolean) => heed(authenticator.decided(cameraMac, attempt, good, now()));
const request = (type: number, ...data: number[]) => ({ code: 'request', id, type, data: Uint8Array.from(data) });
const dropped = (reason: string, mac = cameraMac) => [{ do: 'drop', reason, mac }];
const failed = (reason: string) => ({ do: 'failed', mac: cameraMac, reason });

function identify(identity = 'cam1@lab.example'): void {
  receive(start);
  respond(IDENTITY, text(identity));
}

/** To the question whether the certificate is good. */
function showCertificate(tls13 = false): AuthenticatorAction[] {
  identify();
  respond(TLS, hello);
  Object.assign(engines.at(-1)!, { established: true, tls13, peerCertificate: certificate });
  return respond(TLS, ACK);
}

const attemptIn = (actions: AuthenticatorAction[]): number => {
  const action = actions.find((it) => it.do === 'authenticate');
  if (action?.do !== 'authenticate') throw new Error('nothing is asked');
  return action.attempt;
};

describe('EAP-TLS', () => {
  it('goes from start to authorisation', () => {
    expect(sentIn(receive(start))).toEqual([request(IDENTITY)]);
    const first = id;
    expect(sentIn(respond(IDENTITY, text('cam1@lab.example')))).toEqual([request(TLS, 0x20)]);
    expect(id).toBe((first + 1) & 255);

    const flight = new Uint8Array(3000).fill(5);
    expect(engines).toEqual([]);
    const hellos = respond(TLS, hello);
    expect(engines[0]!.fed).toEqual([Uint8Array.of(1, 2, 3)]);
    // The engine has nothing yet: the device is asked on.
    expect(sentIn(hellos)).toEqual([request(TLS, 0)]);
    engines[0]!.outgoing = flight;
    expect(sentIn(respond(TLS, ACK))).toEqual([request(TLS, 0xc0, 0, 0, 0x0b, 0xb8, ...flight.subarray(0, 1300))]);
    expect(sentIn(respond(TLS, ACK))).toEqual([request(TLS, 0x40, ...flight.subarray(0, 1300))]);
    expect(sentIn(respond(TLS, new Uint8Array(0)))).toEqual([request(TLS, 0, ...flight.subarray(0, 400))]);

    // The device's flight in two fragments, the first acknowledged.
    expect(sentIn(respond(TLS, Uint8Array.of(0xc0, 0, 0, 0, 4, 9, 9)))).toEqual([request(TLS, 0)]);
    Object.assign(engines[0]!, { established: true, peerCertificate: certificate });
    const asked = respond(TLS, Uint8Array.of(0, 8, 8));
    expect(engines[0]!.fed[1]).toEqual(Uint8Array.of(9, 9, 8, 8));
    expect(asked).toEqual([
      {
        do: 'authenticate',
        mac: cameraMac,
        attempt: attemptIn(asked),
        identity: 'cam1@lab.example',
        credential: { kind: 'certificate', certificate },
      },
    ]);

    const decided = decide(attemptIn(asked), true);
    expect(sentIn(decided)).toEqual([{ code: 'success', id }]);
    expect(decided.at(-1)).toEqual({ do: 'authorised', mac: cameraMac, identity: 'cam1@lab.example' });
    expect(engines[0]!.closed).toBe(true);
    expect(wake).toBe(ms + authenticatorTiming.reauthenticate);
  });

  it('by TLS 1.3 commits to success before it says so', () => {
    const decided = decide(attemptIn(showCertificate(true)), true);
    expect(engines[0]!.written).toEqual([Uint8Array.of(0)]);
    expect(sentIn(decided)).toEqual([request(TLS, 0, 0)]);
    expect(decided).toHaveLength(1);
    expect(sentIn(respond(TLS, ACK))).toEqual([{ code: 'success', id }]);
  });

  it('by TLS 1.3 commits to nothing if the device is refused', () => {
    const decided = decide(attemptIn(showCertificate(true)), false);
    expect(engines[0]!.written).toEqual([]);
    expect(sentIn(decided)).toEqual([{ code: 'failure', id }]);
    expect(decided.at(-1)).toEqual(failed('refused'));
  });

  it('waits for an engine that takes its time', () => {
    identify();
    receive(responsePdu(id, TLS, hello));
    engines[0]!.onFeed = () => {
      engines[0]!.busy = true;
    };
    expect(respond(TLS, hello)).toEqual([]);
    expect(respond(TLS, hello)).toEqual(dropped('eap-unexpected'));
    expect(heed(authenticator.progressed(cameraMac, now()))).toEqual([]);
    Object.assign(engines[0]!, { busy: false, outgoing: Uint8Array.of(6) });
    expect(sentIn(heed(authenticator.progressed(cameraMac, now())))).toEqual([request(TLS, 0, 6)]);
    // What comes twice changes nothing.
    expect(heed(authenticator.progressed(cameraMac, now()))).toEqual([]);
    expect(heed(authenticator.progressed(strangerMac, now()))).toEqual([]);
  });

  it('without a certificate fails', () => {
    identify();
    respond(TLS, hello);
    engines[0]!.established = true;
    expect(respond(TLS, ACK).at(-1)).toEqual(failed('no-certificate'));
  });

  it('hands out the alert of a failed handshake before it fails', () => {
    identify();
    respond(TLS, hello);
    Object.assign(engines[0]!, { failed: true, outgoing: Uint8Array.of(21) });
    expect(sentIn(respond(TLS, ACK))).toEqual([request(TLS, 0, 21)]);
    const after = respond(TLS, ACK);
    expect(sentIn(after)).toEqual([{ code: 'failure', id }]);
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
    methods.set(cameraMac, ['ttls']);
    identify('anonymous@lab.example');
    respond(TTLS, hello);
    engines[0]!.established = true;
  });

  it('asks for what is said in the tunnel, under the name said there', () => {
    expect(sentIn(respond(TTLS, ACK))).toEqual([request(TTLS, 0)]);
    engines[0]!.incoming = login('cam1', 'secret');
    const asked = respond(TTLS, Uint8Array.of(0, 4));
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
    engines[0]!.tls13 = true;
    const decided = decide(attemptIn(asked), true);
    expect(sentIn(decided)).toEqual([{ code: 'success', id }]);
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
    engines[0]!.incoming = Uint8Array.from(inner);
    expect(respond(TTLS, Uint8Array.of(0, 4)).at(-1)).toEqual(failed('inner-method'));
  });
});

describe('the method', () => {
  it('is what the device can do, if it may', () => {
    identify();
    expect(sentIn(respond(NAK, Uint8Array.of(25, TTLS)))).toEqual([request(TTLS, 0x20)]);
    expect(sentIn(respond(TTLS, hello))).toEqual([request(TTLS, 0)]);
  });

  it.each([
    ['none', [0]],
    ['others only', [25, 4]],
    ['the one proposed', [TLS]],
  ])('fails to be found if the device can do %s', (_, list) => {
    identify();
    expect(respond(NAK, Uint8Array.from(list)).at(-1)).toEqual(failed('no-common-method'));
  });

  it('is not changed once begun, nor twice', () => {
    identify();
    respond(NAK, Uint8Array.of(TTLS));
    expect(respond(NAK, Uint8Array.of(TLS)).at(-1)).toEqual(failed('no-common-method'));
    ms = wake;
    tick();
    respond(IDENTITY, text('cam1'));
    respond(TLS, hello);
    expect(respond(NAK, Uint8Array.of(TTLS))).toEqual(dropped('eap-unexpected'));
  });
});

describe('the authenticator', () => {
  it('asks a device that appears, and only once', () => {
    expect(sentIn(heed(authenticator.begin(cameraMac, now())))).toEqual([request(IDENTITY)]);
    expect(heed(authenticator.begin(cameraMac, now()))).toEqual([]);
    // A supplicant that comes up a moment later hears the same question.
    expect(sentIn(receive(start))).toEqual([request(IDENTITY)]);
  });

  it('repeats a request with growing waits, then takes the device for silent', () => {
    receive(start);
    const first = id;
    const waits = [wake - ms];
    for (let i = 0; i < authenticatorTiming.retransmissions; i++) {
      ms = wake;
      expect(sentIn(tick())).toEqual([{ ...request(IDENTITY), id: first }]);
      waits.push(wake - ms);
    }
    expect(waits).toEqual([3000, 6000, 12_000, 20_000, 20_000]);
    ms = wake;
    expect(tick().at(-1)).toEqual(failed('silent'));
    expect(wake).toBe(Number.POSITIVE_INFINITY);
    expect(sentIn(receive(start))).toEqual([request(IDENTITY)]);
  });

  it('pauses after a failure, longer each time, then asks again by itself', () => {
    const pauses: number[] = [];
    identify();
    for (let i = 0; i < 6; i++) {
      expect(respond(NAK, Uint8Array.of(0)).at(-1)).toEqual(failed('no-common-method'));
      pauses.push(wake - ms);
      expect(receive(start)).toEqual(dropped('eapol-held'));
      expect(heed(authenticator.begin(cameraMac, now()))).toEqual(dropped('eapol-held'));
      ms = wake;
      expect(sentIn(tick())).toEqual([request(IDENTITY)]);
      respond(IDENTITY, text('cam1'));
    }
    expect(pauses).toEqual([5000, 10_000, 20_000, 40_000, 60_000, 60_000]);
  });

  it('gives up on a decision that never comes, and takes none that comes late', () => {
    const attempt = attemptIn(showCertificate());
    ms = wake;
    expect(wake).toBe(1_000_000 + authenticatorTiming.decision);
    expect(tick().at(-1)).toEqual(failed('undecided'));
    expect(decide(attempt, true)).toEqual([]);
    ms = wake;
    tick();
    expect(decide(attempt, true)).toEqual([]);
    expect(sentIn(respond(IDENTITY, text('cam1')))).toEqual([request(TLS, 0x20)]);
  });

  it('takes no decision about a conversation that was begun anew', () => {
    const attempt = attemptIn(showCertificate());
    ms += authenticatorTiming.restart;
    receive(start);
    expect(engines[0]!.closed).toBe(true);
    expect(decide(attempt, true)).toEqual([]);
    expect(sentIn(respond(IDENTITY, text('cam1')))).toEqual([request(TLS, 0x20)]);
  });

  it('authenticates again from time to time; who fails then is out', () => {
    decide(attemptIn(showCertificate()), true);
    ms = wake;
    expect(tick()).toHaveLength(1);
    respond(IDENTITY, text('cam1'));
    respond(TLS, hello);
    Object.assign(engines[1]!, { established: true, peerCertificate: certificate });
    const again = decide(attemptIn(respond(TLS, ACK)), true);
    expect(again.at(-1)).toMatchObject({ do: 'authorised' });
    ms = wake;
    tick();
    respond(IDENTITY, text('cam1'));
    expect(respond(NAK, Uint8Array.of(0)).at(-1)).toEqual(failed('no-common-method'));
  });

  it('lets a device log off, and come back', () => {
    decide(attemptIn(showCertificate()), true);
    const off = receive(logoff);
    expect(sentIn(off)).toEqual([{ code: 'failure', id }]);
    expect(off.at(-1)).toEqual(failed('logoff'));
    expect(wake).toBe(Number.POSITIVE_INFINITY);
    expect(receive(logoff)).toEqual(dropped('eap-unexpected'));
    ms += authenticatorTiming.restart;
    expect(sentIn(receive(start))).toEqual([request(IDENTITY)]);
  });

  it('forgets a device that is gone', () => {
    showCertificate();
    expect(authenticator.forget(cameraMac)).toEqual([]);
    expect(engines[0]!.closed).toBe(true);
    decide(1, true);
    expect(receive(logoff)).toEqual(dropped('eap-unexpected'));
    receive(start);
    methods.clear();
    ms = wake;
    expect(tick()).toMatchObject([{ do: 'send' }]);
    expect(receive(start)).toEqual(dropped('eapol-unknown-device'));
  });

  it('does not begin anew with a device that was unregistered', () => {
    decide(attemptIn(showCertificate()), true);
    methods.clear();
    ms = wake;
    expect(tick()).toEqual([failed('unregistered')]);
    expect(wake).toBe(Number.POSITIVE_INFINITY);
  });

  it('can’t be made to start over and over', () => {
    identify();
    for (let i = 0; i < 100; i++) expect(receive(start)).toEqual(dropped('eapol-too-often'));
    expect(sentIn(respond(TLS, hello))).toEqual([request(TLS, 0)]);
    for (let i = 0; i < 97; i++) respond(TLS, ACK);
    expect(respond(TLS, ACK)).toMatchObject([{ do: 'send' }]);
    expect(respond(TLS, ACK).at(-1)).toEqual(failed('too-long'));
  });

  it('talks with so many at once and no more', () => {
    const macOf = (i: number) =>
      `02:00:00:01:${(i >> 8).toString(16).padStart(2, '0')}:${(i & 255).toString(16).padStart(2, '0')}`;
    for (let i = 0; i < 257; i++) methods.set(macOf(i), ['tls']);
    for (let i = 0; i < 256; i++) expect(sentIn(receive(start, macOf(i)))).toHaveLength(1);
    expect(receive(start, macOf(256))).toEqual(dropped('eapol-overloaded', macOf(256)));
    receive(logoff, macOf(0));
    ms += authenticatorTiming.restart;
    expect(sentIn(tick())).toHaveLength(1);
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
    receive(start);
    expect(id).toBe(129);
    expect(receive(pdu)).toEqual(dropped(reason));
    expect(sentIn(respond(IDENTITY, text('cam1')))).toHaveLength(1);
  });

  it('drops fragments out of place', () => {
    identify();
    expect(respond(TLS, Uint8Array.of(0x80, 0))).toEqual(dropped('eap-fragment'));
    expect(respond(TLS, Uint8Array.of(0x20))).toEqual(dropped('eap-fragment'));
    expect(engines).toEqual([]);
    respond(TLS, hello);
    engines[0]!.outgoing = new Uint8Array(3000);
    respond(TLS, ACK);
    expect(respond(TLS, hello)).toEqual(dropped('eap-fragment'));
    expect(sentIn(respond(TLS, ACK))).toHaveLength(1);
  });

  it('does nothing for a device that is not registered for it', () => {
    expect(receive(start, strangerMac)).toEqual(dropped('eapol-unknown-device', strangerMac));
    expect(receive(logoff, plcMac)).toEqual(dropped('eapol-unknown-device', plcMac));
    expect(heed(authenticator.begin(strangerMac, now()))).toEqual(dropped('eapol-unknown-device', strangerMac));
    expect(wake).toBe(Number.POSITIVE_INFINITY);
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
        peerCertificate: fc.option(fc.constant(certificate)),
        outgoing: fc.uint8Array({ maxLength: 3 }),
        incoming: fc.uint8Array({ maxLength: 12 }),
      }),
      fc.constant({ do: 'progressed' as const }),
      fc.record({ do: fc.constant('wait' as const), wait: fc.nat(70_000) }),
      fc.record({ do: fc.constant('refuse' as const), attempt: fc.nat(5) }),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        authenticator.forget(cameraMac);
        for (const it of events) {
          let actions: AuthenticatorAction[] = [];
          if (it.do === 'pdu') actions = receive(it.pdu);
          else if (it.do === 'respond') actions = respond(it.type, it.data);
          else if (it.do === 'engine') Object.assign(engines.at(-1) ?? {}, { ...it, do: undefined });
          else if (it.do === 'progressed') actions = heed(authenticator.progressed(cameraMac, now()));
          else if (it.do === 'refuse') actions = decide(it.attempt, false);
          else {
            ms += it.wait;
            actions = tick();
          }
          expect(actions.filter((action) => action.do === 'authorised')).toEqual([]);
        }
      }),
    );
  });
});
