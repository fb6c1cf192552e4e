/** The authenticator with Node's TLS stack on both sides: what is scripted elsewhere, for once in earnest. */

import { X509Certificate } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { issueTlsServer, makeTlsRoot, type TlsIdentity } from '../../src/crypto/tls-certificate.ts';
import { Authenticator, type AuthenticatorAction } from '../../src/net/authenticator.ts';
import type { EapMethod } from '../../src/net/eap-conversation.ts';
import {
  decodeTlsFragment,
  encodeTlsFragment,
  FlightReceiver,
  FlightSender,
  tlsAcknowledgement,
} from '../../src/net/eap-tls-framing.ts';
import { encodeEapol } from '../../src/net/eapol.ts';
import { encodeAvps } from '../../src/net/ttls-avps.ts';
import { cameraMac, decoded } from './support/link.ts';
import { eapIn, responsePdu } from './support/supplicant.ts';
import { TlsEnd, type TlsVersion } from './support/tls-end.ts';

const now = { ms: 0, wall: 0 };
const methodTypes: Record<EapMethod, number> = { tls: 13, ttls: 21 };

let root: TlsIdentity;
let server: TlsIdentity;
let device: TlsIdentity;

beforeAll(async () => {
  const wall = Date.now();
  root = await makeTlsRoot('lab.example', wall);
  server = await issueTlsServer(root, ['radius.lab.example'], [], wall);
  device = await issueTlsServer(root, ['cam1.lab.example'], [], wall);
});

/** A supplicant: answers one EAP request after the other over its own TLS connection. */
class Supplicant {
  readonly #tls: TlsEnd;
  readonly #method: EapMethod;
  readonly #inner: Uint8Array | null;
  readonly #receiver = new FlightReceiver();
  readonly #sender = new FlightSender();
  readonly heard: Uint8Array[] = [];
  #told = false;

  constructor(tls: TlsEnd, method: EapMethod, inner: Uint8Array | null) {
    this.#tls = tls;
    this.#method = method;
    this.#inner = inner;
  }

  /** The response to a PDU; null at the end. */
  async answer(pdu: Uint8Array): Promise<Uint8Array | null> {
    const eap = eapIn(pdu);
    if (!('type' in eap)) return null;
    if (eap.type === 1) return responsePdu(eap.id, 1, Uint8Array.from(Buffer.from('anonymous')));
    expect(eap.type).toBe(methodTypes[this.#method]);
    const fragment = decoded(decodeTlsFragment(eap.data));
    const reply = async () => {
      if (this.#sender.pending) return this.#sender.next();
      const flight = fragment.start ? new Uint8Array(0) : this.#receiver.accept(fragment);
      if (flight === null) return tlsAcknowledgement;
      if (typeof flight === 'string') throw new Error(flight);
      if (flight.length > 0) this.#tls.feed(flight);
      await this.#tls.settled();
      if (this.#tls.established && this.#inner !== null && !this.#told) {
        this.#told = true;
        this.#tls.write(this.#inner);
        await this.#tls.settled();
      }
      const heard = this.#tls.read();
      if (heard.length > 0) this.heard.push(heard);
      const out = this.#tls.take();
      return out.length === 0 ? tlsAcknowledgement : this.#sender.begin(out);
    };
    return responsePdu(eap.id, eap.type, encodeTlsFragment(await reply()));
  }
}

type Outcome = { readonly last: AuthenticatorAction; readonly asked: AuthenticatorAction | null; heard: Uint8Array[] };

/** Runs one device through the authenticator; `good` decides about its credential. */
async function run(version: TlsVersion, method: EapMethod, client: TlsEnd, good: boolean, inner: Uint8Array | null) {
  let engine: TlsEnd | null = null;
  const authenticator = new Authenticator({
    methodsOf: () => [method],
    makeEngine: () => {
      engine = TlsEnd.server(server, version, method === 'tls');
      return engine;
    },
    random: () => 0,
  });
  const supplicant = new Supplicant(client, method, inner);
  const queue = authenticator.receive(cameraMac, encodeEapol('start'), now);
  let asked: AuthenticatorAction | null = null;
  for (let steps = 0; steps < 200; steps++) {
    const action = queue.shift();
    if (action === undefined) {
      if (engine === null) break;
      await (engine as TlsEnd).settled();
      queue.push(...authenticator.progressed(cameraMac, now));
    } else if (action.do === 'send') {
      const answer = await supplicant.answer(action.pdu);
      if (answer !== null) queue.push(...authenticator.receive(cameraMac, answer, now));
    } else if (action.do === 'authenticate') {
      asked = action;
      queue.push(...authenticator.decided(cameraMac, action.attempt, good, now));
    } else if (action.do !== 'wake') {
      client.close();
      return { last: action, asked, heard: supplicant.heard } satisfies Outcome;
    }
  }
  throw new Error('the conversation has no end');
}

const pap = encodeAvps([
  { code: 1, vendor: null, mandatory: true, value: Buffer.from('cam1') },
  { code: 2, vendor: null, mandatory: true, value: Buffer.from('secret\0\0\0\0\0\0\0\0\0\0') },
]);

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('over %s', (version) => {
  it('a device authenticates by its certificate', async () => {
    const { last, asked, heard } = await run(
      version,
      'tls',
      TlsEnd.client(root.certificate, version, device),
      true,
      null,
    );
    expect(last).toEqual({ do: 'authorised', mac: cameraMac, identity: 'anonymous' });
    const certificate = Uint8Array.from(new X509Certificate(device.certificate).raw);
    expect(asked).toMatchObject({ credential: { kind: 'certificate', certificate } });
    // RFC 9190: the commitment, with TLS 1.3 only.
    expect(heard).toEqual(version === 'TLSv1.3' ? [Uint8Array.of(0)] : []);
  });

  it('a device authenticates by name and password', async () => {
    const { last, asked } = await run(version, 'ttls', TlsEnd.client(root.certificate, version, null), true, pap);
    expect(last).toEqual({ do: 'authorised', mac: cameraMac, identity: 'cam1' });
    expect(asked).toMatchObject({ credential: { kind: 'password', password: Uint8Array.from(Buffer.from('secret')) } });
  });

  it('a device is refused', async () => {
    const { last } = await run(version, 'ttls', TlsEnd.client(root.certificate, version, null), false, pap);
    expect(last).toEqual({ do: 'failed', mac: cameraMac, reason: 'refused' });
  });

  it('a device without a certificate fails', async () => {
    const { last, asked } = await run(version, 'tls', TlsEnd.client(root.certificate, version, null), true, null);
    expect(last).toEqual({ do: 'failed', mac: cameraMac, reason: 'no-certificate' });
    expect(asked).toBeNull();
  });

  it('a device that speaks another version fails', async () => {
    const other = version === 'TLSv1.2' ? 'TLSv1.3' : 'TLSv1.2';
    const { last } = await run(version, 'tls', TlsEnd.client(root.certificate, other, device), true, null);
    expect(last).toEqual({ do: 'failed', mac: cameraMac, reason: 'tls' });
  });
});
