/** The overlay's DNS resolver on this host: UDP and TCP on the virtual addresses, for this host only unless told otherwise. */

import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { Shares } from '../../core/limits.ts';
import type { Counters } from '../../lib/counters.ts';
import { raise } from '../../lib/errors.ts';
import { type Address, canonicalAddress, contains, type Endpoint, familyOf } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import type { VirtualAddresses } from '../../lib/path.ts';
import { fitUdp } from '../../net/dns.ts';
import { DnsResponder, type Lookup, type LookupResult, type OverlayZone } from '../../net/dns-responder.ts';
import { DnsForwarder, type Transport } from './dns-forwarder.ts';
import { type Listener, listenTcp } from './dns-tcp.ts';

export type ResolverOptions = VirtualAddresses & {
  readonly zone: OverlayZone;
  readonly lookUp: Lookup;
  /** The first port to try. */
  readonly port?: number;
  /** Who is answered; by default whoever has an address of this host. */
  readonly mayAsk?: (source: Address) => boolean;
  /** What each who asks may have at the same time; by default all there is, as all are this host. */
  readonly share?: Share;
  readonly log: Log;
  readonly counters: Counters;
};

export type Share = {
  readonly queries: number;
  readonly connections: number;
  /** Whose share an address has part in. */
  readonly holder: (source: Address) => string;
};

export type Resolver = {
  /** Where it listens: the virtual IPv4 address if there is one. */
  readonly endpoint: Endpoint;
  /** The servers for all other names; those that would lead back here are left out. */
  setUpstreams(upstreams: readonly Endpoint[]): void;
  close(): void;
};

export const DNS_PORT = 53;
const PORTS_TRIED = 64;
/** A silent peer is SERVFAIL within 4 s, before a stub asks again. */
const LOOKUP_MS = 3800;
const MAX_CONCURRENT = 512;
const MAX_CONNECTIONS = 256;

export async function startResolver(options: ResolverOptions): Promise<Resolver> {
  const addresses = [options.vip4, options.vip6].filter((vip): vip is Address => vip !== null);
  const service = new ResolverService(options);
  const first = options.port ?? DNS_PORT;
  for (let port = first; port < first + PORTS_TRIED; port++) {
    const listeners = await listenOn(service, addresses, port);
    if (listeners === null) continue;
    return {
      endpoint: { address: listeners[0]!.address, port },
      setUpstreams: (upstreams) =>
        service.setUpstreams(
          upstreams.filter((u) => !options.zone.overlay.some((range) => contains(range, u.address))),
        ),
      close: () => {
        for (const listener of listeners) listener.close();
        service.close();
      },
    };
  }
  return raise('SYS_RESOLVER', { address: addresses.join(', '), port: first, why: 'EADDRINUSE, as all that follow' });
}

/** Null if the port is taken. A host without one family still serves the other. */
async function listenOn(
  service: ResolverService,
  addresses: readonly Address[],
  port: number,
): Promise<Listener[] | null> {
  const listeners: Listener[] = [];
  let missing: NodeJS.ErrnoException | undefined;
  for (const address of addresses) {
    try {
      listeners.push(await listenUdp(service, address, port));
      listeners.push(await listenTcp(service, address, port));
    } catch (cause) {
      missing = cause as NodeJS.ErrnoException;
      if (missing.code === 'EADDRNOTAVAIL' || missing.code === 'EAFNOSUPPORT') continue;
      for (const listener of listeners) listener.close();
      if (missing.code === 'EADDRINUSE') return null;
      raise('SYS_RESOLVER', { address, port, why: missing.code }, cause);
    }
  }
  if (listeners.length > 0) return listeners;
  return raise('SYS_RESOLVER', { address: addresses.join(', '), port, why: missing?.code }, missing);
}

/** Answers queries, however they come. */
export class ResolverService {
  readonly #options: ResolverOptions;
  readonly #responder: DnsResponder;
  readonly #forwarder: DnsForwarder;
  readonly #mayAsk: (source: Address) => boolean;
  readonly #queries: Shares;
  readonly #connections: Shares;

  constructor(options: ResolverOptions) {
    this.#options = options;
    const { share } = options;
    this.#queries = new Shares(share?.queries ?? MAX_CONCURRENT, MAX_CONCURRENT);
    this.#connections = new Shares(share?.connections ?? MAX_CONNECTIONS, MAX_CONNECTIONS);
    this.#responder = new DnsResponder(options.zone, (target, requester) =>
      withDeadline(options.lookUp(target, requester), options.log),
    );
    this.#forwarder = new DnsForwarder({ overlay: options.zone.overlay, log: options.log, counters: options.counters });
    this.#mayAsk = options.mayAsk ?? ownAddresses(options);
  }

  setUpstreams(upstreams: readonly Endpoint[]): void {
    this.#forwarder.upstreams = upstreams;
  }

  mayAsk(source: string): boolean {
    const allowed = this.#mayAsk(withoutZone(source));
    if (!allowed) this.#options.counters.add('dns_foreign_source');
    return allowed;
  }

  /** Takes a connection: what to call when it ends, or null if it is not taken. */
  connect(source: string): (() => void) | null {
    if (!this.mayAsk(source)) return null;
    const holder = this.#holderOf(withoutZone(source));
    if (this.#connections.take(holder)) return () => this.#connections.release(holder);
    this.#options.counters.add('dns_connections_refused');
    return null;
  }

  /** The response to one message, or null if it gets none. */
  async answer(octets: Uint8Array, source: string, transport: Transport): Promise<Uint8Array | null> {
    const { counters, log } = this.#options;
    const requester = withoutZone(source);
    const holder = this.#holderOf(requester);
    if (!this.#queries.take(holder)) {
      counters.add('dns_overload');
      return null;
    }
    try {
      const decision = await this.#responder.decide(octets, requester);
      if (decision.do === 'drop') {
        counters.add(`dns_${decision.reason}`);
        return null;
      }
      const { query } = decision;
      const response =
        decision.do === 'answer' ? decision.response : await this.#forwarder.forward(octets, decision.query, transport);
      return transport === 'udp' && query !== null ? fitUdp(query, response) : response;
    } catch (error) {
      log.error('DNS query failed', { why: String(error) });
      return null;
    } finally {
      this.#queries.release(holder);
    }
  }

  close(): void {
    this.#forwarder.close();
  }

  #holderOf(source: Address): string {
    return this.#options.share?.holder(source) ?? source;
  }
}

/** A lookup that takes too long is a silent peer; so is one that fails, after a line in the log. */
function withDeadline(lookup: Promise<LookupResult>, log: Log): Promise<LookupResult> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve('silent'), LOOKUP_MS);
    lookup
      .catch((error: unknown): LookupResult => {
        log.error('name lookup failed', { why: String(error) });
        return 'silent';
      })
      .then((result) => {
        clearTimeout(timer);
        resolve(result);
      });
  });
}

function withoutZone(source: string): Address {
  const text = source.split('%', 1)[0]!;
  return canonicalAddress(text) ?? text;
}

/** Tells this host's addresses; the list is read again once a second at most, as strangers can make us look. */
function ownAddresses({ vip4, vip6 }: VirtualAddresses): (source: Address) => boolean {
  let known = new Set<Address>();
  let readAt = Number.NEGATIVE_INFINITY;
  return (source) => {
    if (source === vip4 || source === vip6 || known.has(source)) return true;
    const now = performance.now();
    if (now - readAt < 1000) return false;
    readAt = now;
    known = new Set(Object.values(networkInterfaces()).flatMap((list = []) => list.map(({ address }) => address)));
    return known.has(source);
  };
}

function listenUdp(service: ResolverService, address: Address, port: number): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const socket: UdpSocket = createSocket(familyOf(address) === 4 ? 'udp4' : 'udp6');
    let open = false;
    const close = (): void => {
      open = false;
      socket.close();
    };
    socket.once('error', (error) => {
      socket.close();
      reject(error);
    });
    socket.on('message', async (octets, source) => {
      if (!service.mayAsk(source.address)) return;
      const response = await service.answer(octets, source.address, 'udp');
      // Who doesn't wait for the answer any more makes the send fail: nobody's loss.
      if (response !== null && open) socket.send(response, source.port, source.address, () => {});
    });
    socket.bind({ address, port }, () => {
      open = true;
      socket.removeAllListeners('error').on('error', () => {});
      resolve({ address, close });
    });
  });
}
