/** General nodes that authenticate by IEEE 802.1X: between the authenticator and the life of each of them. */

import type { Mac } from '../../lib/mac.ts';
import type { Now } from '../../lib/time.ts';
import { type AuthenticationFailure, Authenticator, type AuthenticatorAction } from '../../net/authenticator.ts';
import type { EapMethod } from '../../net/eap-conversation.ts';
import type { LinkDropReason } from '../../net/link-drop.ts';
import type { GeneralNode } from './general-node.ts';
import type { AdapterOptions, LoginResult, Proof, RegisteredDevice } from './types.ts';

/** Of what an AS reads of a login, 16 KiB, this much is left for a handshake with its chains. */
const MAX_PROOF = 15_000;

export type SupplicantEvents = {
  nodeOf(mac: Mac): GeneralNode | undefined;
  /** Begins a login and returns its number. */
  ask(node: GeneralNode, proof: Proof): number;
  send(to: Mac, pdu: Uint8Array): void;
  /** `failure` is null if it was let in. */
  ended(node: GeneralNode, failure: AuthenticationFailure | null): void;
  drop(reason: LinkDropReason, mac: Mac): void;
};

export class Supplicants {
  readonly #events: SupplicantEvents;
  readonly #authenticator: Authenticator;
  /** Which of the authenticator's questions a login answers. */
  readonly #asked = new Map<number, { readonly mac: Mac; readonly attempt: number }>();
  /** Whether there is a certificate to show to devices: before, none is asked. */
  #certified = false;
  due = Number.POSITIVE_INFINITY;

  constructor(options: Pick<AdapterOptions, 'makeEngine' | 'random'>, events: SupplicantEvents) {
    this.#events = events;
    const methodsOf = (mac: Mac): readonly EapMethod[] | null => this.#methodsOf(mac);
    this.#authenticator = new Authenticator({ ...options, methodsOf });
  }

  certified(): void {
    this.#certified = true;
  }

  /** Asks a device who it is. */
  begin(mac: Mac, now: Now): void {
    this.#take(this.#authenticator.begin(mac, now), now);
  }

  isBusy(mac: Mac): boolean {
    return this.#authenticator.isBusy(mac);
  }

  receive(mac: Mac, pdu: Uint8Array, now: Now): void {
    this.#take(this.#authenticator.receive(mac, pdu, now), now);
  }

  progressed(mac: Mac, now: Now): void {
    this.#take(this.#authenticator.progressed(mac, now), now);
  }

  forget(mac: Mac, now: Now): void {
    this.#take(this.#authenticator.forget(mac), now);
  }

  /** The outcome of a login that was asked for; whether it was one of ours. The device hears of it first. */
  decided(node: GeneralNode, login: number, result: LoginResult, now: Now): boolean {
    const asked = this.#asked.get(login);
    if (asked === undefined) return false;
    this.#asked.delete(login);
    if (node.attempt !== login) return true;
    const good = result === 'unreachable' ? null : result === 'accepted';
    // What is accepted counts once the authenticator has said so to the device.
    if (!good) node.ended(login, result, now);
    this.#take(this.#authenticator.decided(asked.mac, asked.attempt, good, now), now);
    return true;
  }

  tick(now: Now): void {
    if (this.due > now.ms) return;
    this.due = Number.POSITIVE_INFINITY;
    this.#take(this.#authenticator.tick(now), now);
  }

  #methodsOf(mac: Mac): readonly EapMethod[] | null {
    const device = this.#events.nodeOf(mac)?.device;
    if (!this.#certified || device === undefined || device.state === 'disabled') return null;
    if (device.auth === 'password') return ['ttls'];
    return device.auth === 'certificate' ? ['tls'] : null;
  }

  #take(actions: readonly AuthenticatorAction[], now: Now): void {
    for (const action of actions) {
      switch (action.do) {
        case 'wake':
          this.due = action.at;
          break;
        case 'drop':
          this.#events.drop(action.reason, action.mac);
          break;
        case 'send':
          this.#events.send(action.to, action.pdu);
          break;
        default:
          this.#step(action, now);
      }
    }
  }

  #step(action: Extract<AuthenticatorAction, { do: 'authenticate' | 'authorised' | 'failed' }>, now: Now): void {
    const node = this.#events.nodeOf(action.mac);
    if (node === undefined) return;
    if (action.do === 'authenticate') {
      const { identity, credential, mac, attempt } = action;
      const hopeless =
        credential.kind === 'password' ? !isNameOf(node.device, identity) : credential.proof.length > MAX_PROOF;
      if (hopeless) {
        this.#take(this.#authenticator.decided(mac, attempt, false, now), now);
      } else this.#asked.set(this.#events.ask(node, { ...credential, identity }), { mac, attempt });
    } else if (action.do === 'authorised') {
      this.#events.ended(node, null);
      node.ended(node.attempt, 'accepted', now);
    } else {
      this.#events.ended(node, action.reason);
      if (node.state !== 'refused') node.gone(now);
    }
  }
}

/** A device logs in by its DeviceID, alone or with a realm behind it (RFC 7542). */
function isNameOf({ deviceId }: RegisteredDevice, identity: string): boolean {
  const [user = ''] = identity.split('@', 1);
  return user.toLowerCase() === deviceId.toLowerCase();
}
