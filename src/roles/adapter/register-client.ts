/** The adapter's list of general nodes: asked of the controller, and asked again when told that it changed. */

import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { RegisteredDevice } from '../../core/adapter/types.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import type { TlsIdentity } from '../../crypto/tls-certificate.ts';
import { CyphonicError } from '../../lib/errors.ts';
import { formatEndpoint } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import type { ProxyEnvironment } from '../../net/http-proxy.ts';
import { Port } from '../../proto/constants.ts';
import type { DeviceView } from '../administration.ts';
import { type AdapterAccess, certifyAdapter, listGeneralNodes } from '../controller-client.ts';
import { endpointsOf, openTls, reach } from '../member/reach.ts';
import type { DaemonState } from '../member/state.ts';
import { serviceNames } from '../service-names.ts';

const RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;
/** In case a notice was lost with the NMS that sent it. */
const AGAIN_MS = 10 * 60_000;

export type RegisterClientOptions = {
  readonly state: () => DaemonState;
  readonly environment: ProxyEnvironment;
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
    return certifyAdapter(this.#access());
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
      const devices = await listGeneralNodes(this.#access());
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
  #access(): AdapterAccess {
    const { network, identity, tlsRoot } = this.#options.state();
    const { primitives, environment } = this.#options;
    const ca = tlsRoot === null ? '' : new X509Certificate(tlsRoot).toString();
    const trust = { ca, servername: serviceNames(network.domain).controller };
    const endpoints = endpointsOf(network, Port.controller);
    const url = `https://${formatEndpoint(endpoints[0]!)}`;
    const connect = (): Promise<TLSSocket> =>
      reach(
        endpoints,
        (endpoint, signal) => openTls(endpoint, trust, environment, signal),
        (why) => new CyphonicError('SYS_CONTROLLER', { url, why }),
      );
    return { url, connect, deviceId: network.deviceId, identity, primitives };
  }
}

function toRegistered(view: DeviceView): RegisteredDevice {
  const { deviceId, nodeId, fqdn, vip4, vip6, mac, auth, mode, state } = view;
  return { deviceId, nodeId, fqdn, vip4, vip6, mac, auth, mode, state };
}
