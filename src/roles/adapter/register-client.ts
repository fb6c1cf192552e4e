/** The adapter's list of general nodes: asked of the controller, and asked again when told that it changed. */

import { X509Certificate } from 'node:crypto';
import type { RegisteredDevice } from '../../core/adapter/types.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import type { TlsIdentity } from '../../crypto/tls-certificate.ts';
import { familyOf } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import { Port } from '../../proto/constants.ts';
import type { DeviceView } from '../administration.ts';
import { type AdapterAccess, certifyAdapter, listGeneralNodes } from '../controller-client.ts';
import type { DaemonState } from '../member/state.ts';

const RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;
/** In case a notice was lost with the NMS that sent it. */
const AGAIN_MS = 10 * 60_000;

export type RegisterClientOptions = {
  readonly state: () => DaemonState;
  readonly primitives: Primitives;
  readonly log: Log;
  readonly onList: (devices: readonly RegisteredDevice[]) => void;
};

export class RegisterClient {
  readonly #options: RegisterClientOptions;
  #asking = false;
  #stale = false;
  #retry = RETRY_MS;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: RegisterClientOptions) {
    this.#options = options;
  }

  /** Asks now, or once more when the answer under way is there. */
  refresh(): void {
    this.#stale = true;
    if (!this.#asking) void this.#ask();
  }

  /** Key and certificate by which the adapter speaks TLS to its general nodes. */
  certify(): Promise<TlsIdentity> {
    return this.#atAny((access) => certifyAdapter(access));
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #ask(): Promise<void> {
    clearTimeout(this.#timer);
    this.#asking = true;
    this.#stale = false;
    let again = AGAIN_MS;
    try {
      const devices = await this.#atAny((access) => listGeneralNodes(access));
      if (this.#closed) return;
      this.#options.onList(devices.map(toRegistered));
      this.#retry = RETRY_MS;
    } catch (error) {
      if (this.#closed) return;
      again = this.#retry;
      this.#retry = Math.min(2 * this.#retry, LONGEST_RETRY_MS);
      this.#options.log.warn('the list of general nodes could not be had', {
        why: (error as Error).message,
        inMs: again,
      });
    } finally {
      this.#asking = false;
    }
    this.#timer = setTimeout(() => this.refresh(), this.#stale ? 0 : again).unref();
  }

  /** The controller is where the AS is (protocol section 1). */
  async #atAny<T>(ask: (access: AdapterAccess) => Promise<T>): Promise<T> {
    const { network, identity, tlsRoot } = this.#options.state();
    const { primitives } = this.#options;
    const root = tlsRoot === null ? '' : new X509Certificate(tlsRoot).toString();
    let failure: unknown;
    for (const address of [network.as4, network.as6]) {
      if (address === null) continue;
      const host = familyOf(address) === 6 ? `[${address}]` : address;
      const url = `https://${host}:${Port.controller}`;
      try {
        return await ask({ url, root, deviceId: network.deviceId, identity, primitives });
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }
}

function toRegistered(view: DeviceView): RegisteredDevice {
  const { deviceId, nodeId, fqdn, vip4, vip6, mac, auth, mode, state } = view;
  return { deviceId, nodeId, fqdn, vip4, vip6, mac, auth, mode, state };
}
