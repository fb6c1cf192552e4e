/** A node that has a session: its data plane, state machine, interface and resolver, from the first packet to the last. */

import { NodeMachine } from '../../core/node/machine.ts';
import type { NatType } from '../../core/node/nat-check.ts';
import type {
  NodeAction,
  NodeSnapshot,
  ProbeResult,
  ResolveQuestion,
  ResolveResult,
  Session,
} from '../../core/node/types.ts';
import type { Identity } from '../../crypto/identity.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import { Counters } from '../../lib/counters.ts';
import { CyphonicError, raise } from '../../lib/errors.ts';
import { canonicalAddress, formatEndpoint } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import { readClock } from '../../lib/time.ts';
import { type LookupResult, type LookupTarget, reverseZones } from '../../net/dns-responder.ts';
import { type DataPlane, type Offload, openDataPlane } from '../../pipeline/dataplane.ts';
import type { Suite } from '../../proto/constants.ts';
import { monitorNetwork, Netlink, type NetworkMonitor } from '../../sys/netlink.ts';
import { Shell } from '../shell.ts';
import { configureDns, type DnsMode } from './dns-config.ts';
import { bringInterfaceUp, takeInterfaceDown } from './interface-setup.ts';
import { candidateAddresses, refuseOverlap } from './local-addresses.ts';
import { NatWatch, type NetcheckReport } from './nat-watch.ts';
import { type Resolver, startResolver } from './resolver.ts';

/** Largest inner packet: 1,500 less the outer IPv6 and UDP headers, our own, and room for a tunnel below. */
export const INNER_MTU = 1400;
/** How often the machine hears of traffic, from which it tells whether a path still works (ms). */
const TRAFFIC_MS = 250;
/** How long a node that was online before waits for the NMS until it says that it serves all the same. */
const SERVING_ANYWAY_MS = 8_000;

export type LiveOptions = {
  readonly state: string;
  readonly deviceId: string;
  readonly identity: Identity;
  readonly session: Session;
  readonly port: number;
  readonly portIsDefault: boolean;
  readonly suite: Suite;
  /** Threads that seal and open. */
  readonly workers: number | 'auto';
  readonly copyDscp: boolean;
  readonly dns: DnsMode;
  readonly primitives: Primitives;
  readonly log: Log;
  /** The login should be renewed. */
  readonly onRenew: () => void;
  /** The network says that this device is disabled or removed. */
  readonly onRefused: () => void;
  /** The data plane died. */
  readonly onFailure: (error: CyphonicError) => void;
};

export type PingReply = { readonly rttMs: number; readonly path: string; readonly endpoint: string };

/** What `status` shows beside the machine's own snapshot. */
export type LiveStatus = {
  readonly snapshot: NodeSnapshot;
  readonly natType: NatType | null;
  readonly interface: string;
  readonly resolver: string | null;
  readonly offload: Offload;
  readonly workers: number;
  readonly warnings: readonly string[];
  readonly counters: Readonly<Record<string, number>>;
};

type MachineExtra = Exclude<NodeAction, { readonly do: 'send' | 'wake' | 'drop' | 'log' | 'count' | 'load' | 'save' }>;

export class LiveNode {
  readonly #options: LiveOptions;
  readonly #machine: NodeMachine;
  readonly #shell: Shell<MachineExtra>;
  readonly #counters = new Counters();
  readonly #cleanup = new AsyncDisposableStack();
  readonly #waiting = new Map<number, (result: ResolveResult | ProbeResult) => void>();
  readonly #netlink = new Netlink();
  readonly #natWatch: NatWatch;
  readonly #serving = Promise.withResolvers<void>();
  #session: Session;
  #tickets = 0;
  #plane: DataPlane | null = null;
  #resolver: Resolver | null = null;
  #warnings: string[] = [];
  #candidates = '';

  static async open(options: LiveOptions): Promise<LiveNode> {
    const node = new LiveNode(options);
    try {
      await node.#open();
    } catch (error) {
      await node.close();
      throw error;
    }
    return node;
  }

  private constructor(options: LiveOptions) {
    this.#options = options;
    this.#session = options.session;
    const { identity, primitives, suite, log } = options;
    this.#machine = new NodeMachine({ primitives, suite, identity });
    this.#natWatch = new NatWatch({
      primitives,
      log,
      nodeId: () => this.#session.nodeId,
      mirrors: () => this.#machine.mirrors,
    });
    this.#shell = new Shell<MachineExtra>({
      machine: this.#machine,
      send: (to, datagram) => void this.#plane?.sendSignalling(to, datagram),
      counters: this.#counters,
      log,
      perform: (action) => this.#perform(action),
    });
  }

  /** Resolves once packets can flow: registered, or, with a session from before, also while no NMS answers. */
  get serving(): Promise<void> {
    return this.#serving.promise;
  }

  async #open(): Promise<void> {
    const { session, state, log, port, portIsDefault, dns, workers, copyDscp } = this.#options;
    this.#cleanup.defer(() => this.#netlink.close());
    this.#cleanup.defer(() => this.#natWatch.close());
    refuseOverlap(this.#netlink, { overlay: session.overlay, ownInterface: null });
    const local = [session.vip4, session.vip6].filter((vip) => vip !== null);
    const plane = await openDataPlane({
      port,
      portIsDefault,
      overlay: session.overlay,
      local,
      workers,
      copyDscp,
      log,
      onEvent: (event) => this.#shell.input((_, now) => this.#machine.event(event, now)),
      onFailure: (error) => this.#options.onFailure(asFault(error)),
    });
    this.#plane = plane;
    this.#cleanup.defer(() => plane.close());
    const { vip4, vip6, overlay } = session;
    const plan = { stateDirectory: state, interface: plane.interfaceName, overlay, mtu: INNER_MTU, vip4, vip6 };
    this.#warnings = await bringInterfaceUp(plan);
    this.#cleanup.defer(async () => void (await takeInterfaceDown(state)));

    this.#shell.input((_, now) => this.#machine.session(session, now));
    this.#announceAddresses();
    const monitor: NetworkMonitor = monitorNetwork(() => this.#announceAddresses());
    this.#cleanup.defer(() => monitor.close());
    const traffic = setInterval(() => this.#reportTraffic(), TRAFFIC_MS);
    const anyway = setTimeout(() => this.#serving.resolve(), SERVING_ANYWAY_MS);
    this.#cleanup.defer(() => {
      clearInterval(traffic);
      clearTimeout(anyway);
    });

    const { domain } = session;
    const resolver = await startResolver({
      vip4,
      vip6,
      zone: { domain, overlay, server: session.fqdn },
      lookUp: (target) => this.#lookUp(target),
      log,
      counters: this.#counters,
    });
    this.#resolver = resolver;
    this.#cleanup.defer(() => resolver.close());
    const setup = await configureDns({
      mode: dns,
      stateDirectory: state,
      interface: plane.interfaceName,
      server: resolver.endpoint,
      domain,
      reverseZones: reverseZones(overlay),
    });
    this.#cleanup.defer(() => setup.restore());
    resolver.setUpstreams(setup.upstreams);
    if (setup.warning !== null) {
      this.#warnings.push(setup.warning);
      log.warn(setup.warning);
    }
    this.#cleanup.defer(() => this.#shell.input((_, now) => this.#machine.stop(now)));
  }

  async close(): Promise<void> {
    await this.#cleanup.disposeAsync();
    this.#shell.stop();
  }

  renewed(session: Session): void {
    this.#session = session;
    this.#shell.input((_, now) => this.#machine.session(session, now));
  }

  resolve(question: ResolveQuestion): Promise<ResolveResult> {
    return this.#ask((ticket, now) => this.#machine.resolve(ticket, question, now)) as Promise<ResolveResult>;
  }

  /** One round trip to a device by name or virtual address. Null: no reply in time. */
  async ping(target: string): Promise<PingReply | null> {
    const address = canonicalAddress(target);
    const name = target.includes('.') ? target.replace(/\.$/, '') : `${target}.${this.#session.domain}`;
    const found = await this.resolve(address === null ? { name: name.toLowerCase() } : { address });
    if (found.status === 'unknown') raise('PEER_UNKNOWN_NAME', { target });
    if (found.status === 'refused') raise('REFUSED_POLICY', { target });
    if (found.status !== 'found') return null;
    if (found.nodeId === this.#session.nodeId) raise('PEER_SELF', { target });
    const result = (await this.#ask((ticket, now) => this.#machine.probe(ticket, found.nodeId, now))) as ProbeResult;
    if (result.status === 'timeout') return null;
    return { rttMs: result.rttMs, path: result.path, endpoint: formatEndpoint(result.endpoint) };
  }

  netcheck(): Promise<NetcheckReport> {
    return this.#natWatch.netcheck();
  }

  status(): LiveStatus | null {
    if (this.#plane === null) return null;
    const { interfaceName, offload, drops, workers } = this.#plane;
    const planeDrops = Object.entries(drops).map(([reason, count]) => [`drop-${reason}`, count] as const);
    const counters = this.#counters.snapshot();
    for (const [name, count] of [...planeDrops, ...Object.entries(this.#plane.counters())]) {
      counters[name] = (counters[name] ?? 0) + count;
    }
    return {
      snapshot: this.#machine.snapshot(readClock()),
      natType: this.#natWatch.natType,
      interface: interfaceName,
      resolver: this.#resolver === null ? null : formatEndpoint(this.#resolver.endpoint),
      offload,
      workers,
      warnings: this.#warnings,
      counters,
    };
  }

  async #lookUp(target: LookupTarget): Promise<LookupResult> {
    const question = target.by === 'name' ? { name: target.name } : { address: target.address };
    const result = await this.resolve(question);
    return result.status === 'found' ? result : result.status;
  }

  #ask(
    give: (ticket: number, now: ReturnType<typeof readClock>) => NodeAction[],
  ): Promise<ResolveResult | ProbeResult> {
    const ticket = ++this.#tickets;
    return new Promise((resolve) => {
      this.#waiting.set(ticket, resolve);
      this.#shell.input((_, now) => give(ticket, now));
    });
  }

  #perform(action: MachineExtra): void {
    switch (action.do) {
      case 'answer':
        this.#waiting.get(action.ticket)?.(action.result);
        this.#waiting.delete(action.ticket);
        break;
      case 'online':
        this.#serving.resolve();
        break;
      case 'renewLogin':
        this.#options.onRenew();
        break;
      case 'refused':
        this.#options.onRefused();
        break;
      case 'seenAnew':
        this.#natWatch.moved();
        break;
      case 'registerChanged':
        break;
      default:
        this.#plane?.command(action);
    }
  }

  /** Tells the machine the host's addresses, if they are not the ones it knows. */
  #announceAddresses(): void {
    const port = this.#plane?.localPort;
    if (port === undefined) return;
    const addresses = candidateAddresses(this.#netlink, {
      overlay: this.#session.overlay,
      ownInterface: this.#plane?.interfaceName ?? null,
    });
    const known = addresses.join(' ');
    if (known === this.#candidates) return;
    this.#candidates = known;
    const candidates = addresses.map((address) => ({ address, port, kind: 'host' as const }));
    this.#shell.input((_, now) => this.#machine.localAddresses(candidates, now));
  }

  #lastTraffic = new Map<string, number>();

  #reportTraffic(): void {
    const seen = new Map<string, number>();
    for (const totals of this.#plane?.traffic() ?? []) {
      const sum = totals.txPackets + totals.txDropped + totals.rxPackets + totals.rxDropped;
      seen.set(totals.pathId, sum);
      if (sum !== (this.#lastTraffic.get(totals.pathId) ?? 0)) {
        this.#shell.input((_, now) => this.#machine.traffic(totals, now));
      }
    }
    this.#lastTraffic = seen;
  }
}

function asFault(error: unknown): CyphonicError {
  return error instanceof CyphonicError ? error : new CyphonicError('BUG_UNREACHABLE', { what: String(error) }, error);
}
