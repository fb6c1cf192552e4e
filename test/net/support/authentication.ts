/** An authenticator with scripted TLS engines, and one device that talks to it. */

import { Authenticator, type AuthenticatorAction } from '../../../src/net/authenticator.ts';
import type { EapMethod } from '../../../src/net/eap-conversation.ts';
import { encodeEapol } from '../../../src/net/eapol.ts';
import { hex } from '../../vectors/read.ts';
import { cameraMac } from './link.ts';
import { responsePdu, ScriptedEngine, sentIn } from './supplicant.ts';

export const IDENTITY = 1;
export const NAK = 3;
export const TLS = 13;
export const TTLS = 21;
export const ACK = Uint8Array.of(0);
export const hello = Uint8Array.of(0, 1, 2, 3);
export const start = encodeEapol('start');
export const logoff = encodeEapol('logoff');
export const certificate = hex('3082');
export const text = (it: string): Uint8Array => Uint8Array.from(Buffer.from(it));
export const dropped = (reason: string, mac = cameraMac) => [{ do: 'drop', reason, mac }];
export const failed = (reason: string) => ({ do: 'failed', mac: cameraMac, reason });

export const attemptIn = (actions: AuthenticatorAction[]): number => {
  const action = actions.find((it) => it.do === 'authenticate');
  if (action?.do !== 'authenticate') throw new Error('nothing is asked');
  return action.attempt;
};

export class Bench {
  ms = 1_000_000;
  readonly engines: ScriptedEngine[] = [];
  readonly methods = new Map<string, readonly EapMethod[]>([[cameraMac, ['tls', 'ttls']]]);
  /** Of the latest request. */
  id = 0;
  wake = Number.POSITIVE_INFINITY;
  readonly authenticator = new Authenticator({
    methodsOf: (mac) => this.methods.get(mac) ?? null,
    makeEngine: () => {
      this.engines.push(new ScriptedEngine());
      return this.engine;
    },
    random: () => 0.5,
  });

  get engine(): ScriptedEngine {
    return this.engines.at(-1)!;
  }

  /** Notes what the actions ask of the shell, and gives them without the wake. */
  heed(actions: AuthenticatorAction[]): AuthenticatorAction[] {
    this.wake = Number.POSITIVE_INFINITY;
    for (const action of actions) if (action.do === 'wake') this.wake = action.at;
    const request = sentIn(actions).findLast((eap) => eap.code === 'request');
    if (request !== undefined) this.id = request.id;
    return actions.filter((action) => action.do !== 'wake');
  }

  get now() {
    return { ms: this.ms, wall: 0 };
  }

  begin(mac = cameraMac) {
    return this.heed(this.authenticator.begin(mac, this.now));
  }

  receive(pdu: Uint8Array, mac = cameraMac) {
    return this.heed(this.authenticator.receive(mac, pdu, this.now));
  }

  respond(type: number, data: Uint8Array) {
    return this.receive(responsePdu(this.id, type, data));
  }

  progressed(mac = cameraMac) {
    return this.heed(this.authenticator.progressed(mac, this.now));
  }

  decide(attempt: number, good: boolean | null) {
    return this.heed(this.authenticator.decided(cameraMac, attempt, good, this.now));
  }

  tick() {
    return this.heed(this.authenticator.tick(this.now));
  }

  /** The latest request, as it must have been sent. */
  request(type: number, ...data: number[]) {
    return { code: 'request', id: this.id, type, data: Uint8Array.from(data) };
  }

  identify(identity = 'cam1@lab.example'): void {
    this.receive(start);
    this.respond(IDENTITY, text(identity));
  }

  /** To the question whether the certificate is good. */
  showCertificate(tls13 = false): AuthenticatorAction[] {
    this.identify();
    this.respond(TLS, hello);
    Object.assign(this.engine, { established: true, tls13, certificateProof: certificate });
    return this.respond(TLS, ACK);
  }
}
