/**
 * Where a TRS takes datagrams over TLS, for devices in networks that block UDP (docs/protocol.md, Over TLS). Where the AS
 * shares its address, it is reached by the same port: what is meant for it is handed on as it came.
 */

import type { Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Service } from '../../lib/device.ts';
import { type Address, type Endpoint, type Family, isLinkLocal } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import { attach } from '../../sys/tcp.ts';
import { startWorker } from '../../sys/worker.ts';
import { readText, type ServiceFile } from '../network-files.ts';
import type { Targets } from './guest.ts';

export type TerminalLimits = {
  readonly connections: number;
  readonly perSite: number;
  /** Connections that no service has believed yet, in all and of one site. */
  readonly strangers: number;
  readonly strangersPerSite: number;
};

export type TerminalSetup = {
  readonly certificate: string;
  readonly key: string;
  readonly port: number;
  readonly limits: TerminalLimits;
  /** Connections that ask for a server of these names are handed on. */
  readonly others: readonly string[];
};

export type TerminalOrder = { readonly targets: Targets } | { readonly stop: true };
export type TerminalReport =
  | { readonly listening: true }
  | { readonly failed: string }
  | { readonly meant: string; readonly descriptor: number; readonly head: Uint8Array }
  | { readonly counters: Record<string, number>; readonly connections: number };

/** A site may be a company behind one address. */
const defaults: TerminalLimits = { connections: 4_096, perSite: 1_024, strangers: 1_024, strangersPerSite: 64 };

/** Takes on a connection that came in here, of which a TLS server reads the first octet. */
export type Adopt = (socket: Socket) => void;

export type Terminal = {
  /** Events, octets and drops since the start. */
  counters(): Record<string, number>;
  readonly connections: number;
  readonly listening: boolean;
  /** The register's services, of which the NMSs may be spoken to. */
  update(services: readonly Service[]): void;
  stop(): Promise<void>;
};

export type TerminalOptions = {
  /** The TRS's own. */
  readonly addresses: Pick<ServiceFile, 'address4' | 'address6'>;
  readonly tls: NonNullable<ServiceFile['tls']>;
  /** The TRS's own UDP port. */
  readonly udpPort: number;
  readonly log: Log;
  /** Servers of this process at the same address, by their names. */
  readonly others?: ReadonlyMap<string, Adopt>;
  readonly limits?: Partial<TerminalLimits>;
};

/**
 * Resolves once it listens, or cannot. Without it a TRS still does what it is mainly for, so that a port that is taken or
 * not permitted costs a warning.
 */
export async function startTerminal(options: TerminalOptions): Promise<Terminal> {
  const { addresses, tls, udpPort, log, others = new Map<string, Adopt>(), limits } = options;
  const workerData: TerminalSetup = {
    certificate: readText(tls.certificateFile),
    key: readText(tls.keyFile),
    port: tls.port,
    limits: { ...defaults, ...limits },
    others: [...others.keys()],
  };
  const worker = startWorker('roles/trs/terminal', { workerData });
  const own = ownAddresses(addresses);
  let counters: Record<string, number> = {};
  let connections = 0;
  let listening = false;
  const begun = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  worker.on('message', (message: TerminalReport) => {
    if ('counters' in message) ({ counters, connections } = message);
    else if ('meant' in message) others.get(message.meant)!(attach(message.descriptor, message.head));
    else {
      if ('failed' in message) log.warn('datagrams are not taken over TLS', { port: tls.port, why: message.failed });
      else listening = true;
      begun.resolve();
    }
  });
  worker.on('error', (error) => {
    log.error('datagrams are not taken over TLS any more', { why: String(error) });
    listening = false;
    begun.resolve();
  });
  worker.on('exit', () => ended.resolve());
  const order = (message: TerminalOrder): void => worker.postMessage(message);
  await begun.promise;
  return {
    counters: () => counters,
    get connections() {
      return connections;
    },
    get listening() {
      return listening;
    },
    update(services) {
      const nms = services.filter(({ role }) => role === 'nms');
      const family = ([4, 6] as const).find(
        (f) => own[f] !== null && nms.some((service) => endpointOf(service, f) !== null),
      );
      const at = family ?? (own[4] === null ? 6 : 4);
      const trs = own[at] === null ? null : { address: own[at], port: udpPort };
      order({ targets: { trs, nms: nms.map((service) => endpointOf(service, at)).filter((to) => to !== null) } });
    },
    async stop() {
      order({ stop: true });
      await ended.promise;
    },
  };
}

function endpointOf({ address4, address6, port }: Service, family: Family): Endpoint | null {
  const address = family === 4 ? address4 : address6;
  return address === null ? null : { address, port };
}

/** Where this host reaches the TRS's own UDP port: the registered address, or behind a translation or balancer one that is here. */
function ownAddresses({ address4, address6 }: TerminalOptions['addresses']): Readonly<Record<Family, Address | null>> {
  const present = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const of = (registered: Address | null, family: Family): Address | null => {
    if (registered === null || present.some(({ address }) => address === registered)) return registered;
    const others = present.filter((entry) => entry.family === `IPv${family}` && !isLinkLocal(entry.address));
    return others.sort((a, b) => Number(a.internal) - Number(b.internal))[0]?.address ?? null;
  };
  return { 4: of(address4, 4), 6: of(address6, 6) };
}
