/** The streams of all identities behind one port: who needs which, and the thread that has them. It starts with the first. */

import { X509Certificate } from 'node:crypto';
import type { Worker } from 'node:worker_threads';
import type { StreamState } from '../../core/node/streams.ts';
import { type Endpoint, formatEndpoint, type Prefix } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import { type ProxyEnvironment, proxyFor } from '../../net/http-proxy.ts';
import { intoNat64 } from '../../net/nat64.ts';
import type { DataPlane } from '../../pipeline/dataplane.ts';
import { startWorker } from '../../sys/worker.ts';
import { serviceNames } from '../service-names.ts';
import type { Way } from './dial.ts';

export type CarrierSetup = {
  /** The node's own port. */
  readonly udpPort: number;
  /** PEM. */
  readonly tlsRoot: string;
  readonly serverName: string;
};
export type CarrierOrder = { readonly connect: Way } | { readonly disconnect: Endpoint } | { readonly stop: true };
export type CarrierReport =
  | { readonly opened: Endpoint; readonly local: Endpoint }
  | { readonly closed: Endpoint; readonly why: string }
  | { readonly counters: Record<string, number> };

/** Who hears what becomes of a stream. */
export type StreamWatcher = { streamed(endpoint: Endpoint, state: StreamState): void };

export type CarriersOptions = {
  readonly plane: Pick<DataPlane, 'carry' | 'localPort'>;
  /** DER; null = not known, so that there are no streams. */
  readonly tlsRoot: Uint8Array | null;
  readonly domain: string;
  readonly environment: ProxyEnvironment;
  /** By which IPv4 is reached, if not as it is. */
  readonly nat64: () => Prefix | null;
  readonly log: Log;
};

export class Carriers {
  readonly #options: CarriersOptions;
  readonly #watchers = new Map<string, Set<StreamWatcher>>();
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #open = new Set<string>();
  #worker: Worker | null = null;
  #ended: Promise<void> = Promise.resolve();
  #counters: Record<string, number> = {};

  constructor(options: CarriersOptions) {
    this.#options = options;
  }

  /** Where streams are open. */
  get open(): readonly string[] {
    return [...this.#open];
  }

  counters(): Record<string, number> {
    return this.#counters;
  }

  connect(endpoint: Endpoint, watcher: StreamWatcher): void {
    const name = formatEndpoint(endpoint);
    const watchers = this.#watchers.get(name);
    if (watchers !== undefined) {
      watchers.add(watcher);
      // Never from within what the watcher is doing.
      if (this.#open.has(name)) queueMicrotask(() => watcher.streamed(endpoint, { open: true }));
      return;
    }
    const worker = this.#start();
    if (worker === null) {
      queueMicrotask(() => watcher.streamed(endpoint, { why: 'the TLS root of the network is not known' }));
      return;
    }
    this.#watchers.set(name, new Set([watcher]));
    this.#endpoints.set(name, endpoint);
    const { environment, nat64 } = this.#options;
    const way = { to: endpoint, at: intoNat64(nat64(), endpoint), proxy: proxyFor(environment, endpoint) };
    this.#order({ connect: way });
  }

  disconnect(endpoint: Endpoint, watcher: StreamWatcher): void {
    const name = formatEndpoint(endpoint);
    const watchers = this.#watchers.get(name);
    if (watchers?.delete(watcher) !== true || watchers.size > 0) return;
    this.#watchers.delete(name);
    this.#open.delete(name);
    this.#options.plane.carry(endpoint, null);
    this.#order({ disconnect: endpoint });
  }

  /** This host's addresses changed: connections from the old ones are worth nothing. */
  renew(why: string): void {
    for (const name of [...this.#open]) {
      const endpoint = this.#endpoints.get(name)!;
      this.#order({ disconnect: endpoint });
      this.#closed(endpoint, why);
    }
  }

  async stop(): Promise<void> {
    this.#order({ stop: true });
    await this.#ended;
  }

  #order(order: CarrierOrder): void {
    this.#worker?.postMessage(order);
  }

  #start(): Worker | null {
    const { plane, tlsRoot, domain, log } = this.#options;
    if (this.#worker !== null || tlsRoot === null) return this.#worker;
    const setup: CarrierSetup = {
      udpPort: plane.localPort,
      tlsRoot: new X509Certificate(tlsRoot).toString(),
      serverName: serviceNames(domain).trs,
    };
    const worker = startWorker('roles/member/carrier', { workerData: setup });
    this.#worker = worker;
    worker.on('message', (report: CarrierReport) => this.#reported(report));
    worker.on('error', (error) => log.error('the thread of the TLS streams ended', { why: String(error) }));
    this.#ended = new Promise((resolve) => {
      worker.once('exit', () => {
        this.#worker = null;
        for (const name of [...this.#watchers.keys()]) {
          const endpoint = this.#endpoints.get(name);
          if (endpoint !== undefined) this.#closed(endpoint, 'its thread ended');
        }
        resolve();
      });
    });
    return worker;
  }

  #reported(report: CarrierReport): void {
    if ('counters' in report) {
      this.#counters = report.counters;
    } else if ('closed' in report) {
      this.#closed(report.closed, report.why);
    } else {
      const name = formatEndpoint(report.opened);
      const watchers = this.#watchers.get(name);
      if (watchers === undefined) return;
      this.#open.add(name);
      this.#options.plane.carry(report.opened, report.local);
      for (const watcher of [...watchers]) watcher.streamed(report.opened, { open: true });
    }
  }

  #closed(endpoint: Endpoint, why: string): void {
    const name = formatEndpoint(endpoint);
    const watchers = this.#watchers.get(name) ?? [];
    this.#watchers.delete(name);
    this.#open.delete(name);
    this.#options.plane.carry(endpoint, null);
    for (const watcher of [...watchers]) watcher.streamed(endpoint, { why });
  }
}
