/** One device's whole conversation with the authenticator, with Node's TLS stack on both sides. */

import type { ConnectionOptions } from 'node:tls';
import type { TlsIdentity } from '../../../../src/crypto/tls-certificate.ts';
import { Authenticator, type AuthenticatorAction } from '../../../../src/net/authenticator.ts';
import type { EapMethod } from '../../../../src/net/eap-conversation.ts';
import { encodeEapol } from '../../../../src/net/eapol.ts';
import { NodeTlsEngine } from '../../../../src/roles/adapter/tls-engine.ts';
import { cameraMac } from '../../../net/support/link.ts';
import { Supplicant } from './supplicant.ts';
import { TlsClient } from './tls-client.ts';

const now = { ms: 0, wall: 0 };
export const versions = ['TLSv1.2', 'TLSv1.3'] as const;

export type Device = {
  readonly version: (typeof versions)[number] | 'TLSv1.1';
  readonly method: EapMethod;
  readonly identity?: TlsIdentity;
  /** What it says in the tunnel. */
  readonly inner?: Uint8Array;
  readonly options?: ConnectionOptions;
};

export type Place = { readonly root: TlsIdentity; readonly server: TlsIdentity };

/** `good` decides about its credential. */
export async function converse(
  { root, server }: Place,
  { version, method, identity, inner, options }: Device,
  good = true,
) {
  const idle = Promise.withResolvers<void>();
  let settled = idle;
  const authenticator = new Authenticator({
    methodsOf: () => [method],
    makeEngine: () => new NodeTlsEngine(Promise.resolve(server), method, () => settled.resolve()),
    random: () => 0,
  });
  const client = new TlsClient({
    ca: root.certificate,
    minVersion: version,
    maxVersion: version,
    // Whom it talks to is the device's own matter.
    checkServerIdentity: () => undefined,
    ...(identity && { cert: identity.certificate, key: identity.privateKey }),
    ...options,
  });
  const supplicant = new Supplicant(client, method, inner ?? null);
  const queue = authenticator.receive(cameraMac, encodeEapol('start'), now);
  let asked: AuthenticatorAction | null = null;
  for (let steps = 0; steps < 200; steps++) {
    const action = queue.shift();
    if (action === undefined) {
      await settled.promise;
      settled = Promise.withResolvers();
      queue.push(...authenticator.progressed(cameraMac, now));
    } else if (action.do === 'send') {
      const answer = await supplicant.answer(action.pdu);
      if (answer !== null) queue.push(...authenticator.receive(cameraMac, answer, now));
    } else if (action.do === 'authenticate') {
      asked = action;
      queue.push(...authenticator.decided(cameraMac, action.attempt, good, now));
    } else if (action.do !== 'wake') {
      const resumed = client.socket.isSessionReused();
      client.socket.destroy();
      return { last: action, asked, supplicant, sessions: client.sessions, resumed };
    }
  }
  throw new Error('the conversation has no end');
}

/** By what a device shows that it has the key of its certificate. */
export async function proveCertificate(place: Place, device: Omit<Device, 'method'>): Promise<Uint8Array> {
  const { asked } = await converse(place, { ...device, method: 'tls' });
  if (asked?.do === 'authenticate' && asked.credential.kind === 'certificate') return asked.credential.proof;
  throw new Error('no certificate was shown');
}
