/** An adapter's machine with a register and an AS that the test plays, and devices on its link. */

import { AdapterMachine } from '../../../src/core/adapter/machine.ts';
import type {
  AdapterAction,
  GeneralNodeState,
  LoginResult,
  RegisteredDevice,
} from '../../../src/core/adapter/types.ts';
import { decodeArp } from '../../../src/net/arp.ts';
import { encodeEap } from '../../../src/net/eap.ts';
import { encodeEapol } from '../../../src/net/eapol.ts';
import { decodeFrame, EtherType, encodeFrame, type Frame } from '../../../src/net/ethernet.ts';
import { encodeAvps } from '../../../src/net/ttls-avps.ts';
import {
  adapterMac,
  camera,
  cameraMac,
  decoded,
  gateway4,
  gateway6,
  plc,
  plcMac,
  range4,
  range6,
} from '../../net/support/link.ts';
import { eapIn, ScriptedEngine } from '../../net/support/supplicant.ts';

export type Login = Extract<AdapterAction, { do: 'login' }>;

/** As the register has it. */
export function general(
  deviceId: string,
  mac: string,
  auth: RegisteredDevice['auth'],
  vips: typeof camera,
  state: RegisteredDevice['state'] = 'enrolled',
): RegisteredDevice {
  const names = { deviceId, nodeId: '1'.repeat(32), fqdn: `${deviceId}.lab.example` };
  return { ...names, mac, auth, mode: 'dual', state, ...vips };
}

/** What a supplicant says. */
export const pap = (userName: string, password = 'secret') =>
  encodeAvps([
    { code: 1, vendor: null, mandatory: true, value: Buffer.from(userName) },
    { code: 2, vendor: null, mandatory: true, value: Buffer.from(password) },
  ]);

export class AdapterBench {
  ms = 1_000_000;
  readonly machine: AdapterMachine;
  readonly counts = new Map<string, number>();
  readonly logs: string[] = [];
  readonly logins: Login[] = [];
  /** To a device, by the order of sending, but for the question whether it is there. */
  sent: Frame[] = [];
  engine = new ScriptedEngine();
  /** What comes out of the tunnel once a device has greeted. */
  inner = pap('cam1');
  /** What it shows of its certificate. */
  proof: Uint8Array = Uint8Array.of(1);
  #wake = Number.POSITIVE_INFINITY;

  constructor(auth: RegisteredDevice['auth'] = 'password', certified = true) {
    this.machine = new AdapterMachine({
      ...{ mac: adapterMac, linkLocal: 'fe80::fe', gateway4, gateway6, range4, range6 },
      ...{ domain: 'lab.example', mtu: 1_400, internet: false },
      random: () => 0.5,
      makeEngine: () => {
        this.engine = new ScriptedEngine();
        this.engine.onFeed = () => {
          Object.assign(this.engine, { established: true, incoming: this.inner, certificateProof: this.proof });
        };
        return this.engine;
      },
    });
    const devices = [general('cam1', cameraMac, auth, camera), general('plc', plcMac, 'mac', plc)];
    this.take(this.machine.register(devices, () => false, this.now));
    if (certified) this.take(this.machine.certified(this.now));
  }

  get now() {
    return { ms: this.ms, wall: this.ms };
  }

  #transmitted(frame: Frame): void {
    const arp = frame.etherType === EtherType.arp ? decoded(decodeArp(frame.payload)) : null;
    if (arp?.operation !== 'request') this.sent.push(frame);
  }

  count(name: string): number {
    return this.counts.get(name) ?? 0;
  }

  stateOf(mac: string): GeneralNodeState | undefined {
    return this.machine.snapshot().find((node) => node.mac === mac)?.state;
  }

  take(actions: readonly AdapterAction[]): void {
    for (const action of actions) {
      if (action.do === 'transmit') this.#transmitted(decoded(decodeFrame(action.frame)));
      else if (action.do === 'login') this.logins.push(action);
      else if (action.do === 'count') this.counts.set(action.name, this.count(action.name) + 1);
      else if (action.do === 'log') this.logs.push(action.message);
      else if (action.do === 'wake') this.#wake = action.at;
    }
  }

  frame(frame: Partial<Frame> & Pick<Frame, 'etherType' | 'payload'>): void {
    const whole = { destination: adapterMac, source: cameraMac, tag: null, ...frame };
    this.take(this.machine.frame(encodeFrame(whole), this.now));
  }

  eapol(pdu: Uint8Array, source = cameraMac): void {
    this.frame({ source, etherType: EtherType.eapol, payload: pdu });
  }

  pass(ms: number): void {
    const until = this.ms + ms;
    while (this.#wake <= until) {
      this.ms = Math.max(this.ms, this.#wake);
      this.#wake = Number.POSITIVE_INFINITY;
      this.take(this.machine.tick(this.now));
    }
    this.ms = until;
  }

  /** The supplicant of the camera answers all that is asked, up to what the AS has to say. */
  answer(tag: number | null = null): void {
    for (let rounds = 0; rounds < 10; rounds++) {
      const request = this.sent.splice(0).findLast((frame) => frame.etherType === EtherType.eapol);
      const eap = request === undefined ? null : eapIn(request.payload);
      if (eap === null || !('type' in eap)) return;
      const data = eap.type === 1 ? Buffer.from('anonymous') : Uint8Array.of(0, 1, 2);
      const payload = encodeEapol('packet', encodeEap({ code: 'response', id: eap.id, type: eap.type, data }));
      this.frame({ tag, etherType: EtherType.eapol, payload });
    }
  }

  /** The AS answers the latest login. */
  decide(result: LoginResult): void {
    const { deviceId, attempt } = this.logins.at(-1)!;
    this.take(this.machine.loggedIn(deviceId, attempt, result, this.now));
  }

  /** From the first frame to what the AS said, and what follows of it. */
  authenticate(result: LoginResult = 'accepted'): void {
    this.answer();
    this.decide(result);
    this.answer();
  }
}
