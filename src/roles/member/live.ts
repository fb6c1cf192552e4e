/** A node that has a session: its data plane, state machine, interface and resolver, from the first packet to the last. */

import type { NatType } from '../../core/node/nat-check.ts';
import type { NodeSnapshot, Session } from '../../core/node/types.ts';
import type { Identity } from '../../crypto/identity.ts';
import type { Primitives } from '../../crypto/primitives.ts';
import { Counters } from '../../lib/counters.ts';
import { CyphonicError, raise } from '../../lib/errors.ts';
import { familyOf, formatEndpoint, formatPrefix, type Prefix, parseEndpoint } from '../../lib/ip.ts';
import type { Log } from '../../lib/log.ts';
import { type LookupResult, type LookupTarget, reverseZones } from '../../net/dns-responder.ts';
import type { ProxyEnvironment } from '../../net/http-proxy.ts';
import { type DataPlane, type Offload, openDataPlane } from '../../pipeline/dataplane.ts';
import type { Suite } from '../../proto/constants.ts';
import type { Candidate } from '../../proto/options.ts';
import { readClock } from '../../sys/clock.ts';
import { monitorNetwork, Netlink, type NetworkEvent, type NetworkMonitor } from '../../sys/netlink.ts';
import { Carriers } from './carriers.ts';
import { configureDns, type DnsMode } from './dns-config.ts';
import type { Attachment, Extension, ExtensionStatus } from './extension.ts';
import { bringInterfaceUp, takeInterfaceDown } from './interface-setup.ts';
import {
  candidateAddresses,
  defaultRouter4,
  defaultRouter6,
  defaultRoutes,
  refuseOverlap,
  uplinksOf,
} from './local-addresses.ts';
import { Member, type MemberEvent, type PingReply, questionOf } from './member.ts';
import { Members } from './members.ts';
import { NatWatch, type NetcheckReport } from './nat-watch.ts';
import { Nat64Watch } from './nat64.ts';
import { PortFan } from './port-fan.ts';
import { type DefaultRouter, PortMapper } from './port-mapper.ts';
import { type Resolver, startResolver } from './resolver.ts';
import { SleepWatch } from './sleep-watch.ts';
import { type DaemonState, peerFile } from './state.ts';
import { TrafficWatch } from './traffic-watch.ts';

/** How long a node that was online before waits for the NMS until it says that it serves all the same. */
const SERVING_ANYWAY_MS = 8_000;

/** How whoever starts a daemon wants it to run. */
export type MemberSettings = {
  readonly state: string;
  /** Says whether a proxy is on the way to services. */
  readonly environment: ProxyEnvironment;
  readonly port: number;
  readonly portIsDefault: boolean;
  readonly suite: Suite;
  /** Threads that seal and open. */
  readonly workers: number | 'auto';
  /** Whether outer headers get the DSCP of inner ones. */
  readonly copyDscp: boolean;
  /** Of the TUN. */
  readonly mtu: number;
  readonly rekeyAfterMs: number;
  /** Whether ports are predicted to get to where NATs don't let it be told. */
  readonly portPrediction: boolean;
  readonly dns: DnsMode;
};

export type LiveOptions = MemberSettings & {
  readonly extension: Extension | null;
  readonly daemonState: () => DaemonState;
  readonly deviceId: string;
  readonly identity: Identity;
  readonly session: Session;
  readonly primitives: Primitives;
  readonly log: Log;
  /** The network's TLS root (DER), for streams where UDP is blocked. */
  readonly tlsRoot: Uint8Array | null;
  /** The login should be renewed. */
  readonly onRenew: () => void;
  /** The network says that this device is disabled or removed. */
  readonly onRefused: () => void;
  /** The data plane died. */
  readonly onFailure: (error: CyphonicError) => void;
};

/** What `status` shows beside the machine's own snapshot. */
export type LiveStatus = {
  readonly snapshot: NodeSnapshot;
  readonly natType: NatType | null;
  readonly interface: string;
  readonly mtu: number;
  readonly resolver: string | null;
  readonly offload: Offload;
  readonly workers: number;
  readonly extension: ExtensionStatus | null;
  readonly warnings: readonly string[];
  readonly counters: Readonly<Record<string, number>>;
};

export class LiveNode {
  readonly #options: LiveOptions;
  readonly #counters = new Counters();
  readonly #cleanup = new AsyncDisposableStack();
  readonly #netlink = new Netlink();
  readonly #natWatch: NatWatch;
  readonly #nat64 = new Nat64Watch((prefix) => this.#foundNat64(prefix));
  readonly #serving = Promise.withResolvers<void>();
  readonly #members = new Members();
  #self: Member | null = null;
  #attachment: Attachment | null = null;
  #plane: DataPlane | null = null;
  #portMapper: PortMapper | null = null;
  #traffic: TrafficWatch | null = null;
  #resolver: Resolver | null = null;
  #warnings: string[] = [];
  /** Addresses and uplinks, as they were looked at last. */
  #network = '';
  #uplinks = new Set<number | null>();
  #hosts: readonly Candidate[] = [];

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
    const { primitives, log, session } = options;
    this.#natWatch = new NatWatch({
      primitives,
      log,
      nodeId: () => session.nodeId,
      mirrors: () => this.#self?.machine.mirrors ?? [],
      streams: () => this.#members.carriers?.open ?? [],
      measured: (times) => this.#members.relayTimes(times),
      portMapping: () => this.#portMapper?.protocol ?? null,
      nat64: () => this.#nat64.prefix,
    });
  }

  /** Resolves once packets can flow: registered, or, with a session from before, also while no NMS answers. */
  get serving(): Promise<void> {
    return this.#serving.promise;
  }

  async #open(): Promise<void> {
    const { session, state, log, port, portIsDefault, dns, workers, copyDscp, mtu, rekeyAfterMs } = this.#options;
    const { identity, primitives, suite } = this.#options;
    this.#cleanup.defer(() => this.#netlink.close());
    this.#cleanup.defer(() => this.#natWatch.close());
    const { extension } = this.#options;
    const inner = extension?.plan(session, this.#netlink) ?? null;
    refuseOverlap(this.#netlink, { overlay: session.overlay, ownInterface: inner?.inner ?? null });
    const local = [session.vip4, session.vip6].filter((vip) => vip !== null);
    const plane = await openDataPlane({
      port,
      portIsDefault,
      overlay: session.overlay,
      local,
      workers,
      copyDscp,
      log,
      link: inner === null ? null : { ...inner, interface: inner.inner },
      onEvent: (event) => this.#members.event(event),
      onTraffic: () => this.#traffic?.begun(),
      onFrame: (frame) => this.#attachment?.frame(frame),
      onFailure: (error) => this.#options.onFailure(asFault(error)),
    });
    this.#plane = plane;
    this.#cleanup.defer(() => plane.close());
    const portMapper = new PortMapper({
      primitives,
      log,
      counters: this.#counters,
      port: plane.localPort,
      router4: () => this.#natRouter(),
      router6: () =>
        defaultRouter6(
          this.#netlink,
          this.#hosts.map(({ address }) => address),
        ),
      mapped: (endpoint) => this.#members.forwarded(endpoint),
    });
    this.#portMapper = portMapper;
    this.#cleanup.defer(() => portMapper.close());
    const { vip4, vip6, overlay } = session;
    const plan = { stateDirectory: state, interface: plane.interfaceName, overlay, mtu, vip4, vip6, inner };
    this.#warnings = await bringInterfaceUp(plan);
    this.#cleanup.defer(async () => void (await takeInterfaceDown(state)));

    const { tlsRoot, environment } = this.#options;
    const nat64 = (): Prefix | null => this.#nat64.prefix;
    const carriers = new Carriers({ plane, tlsRoot, domain: session.domain, environment, nat64, log });
    this.#members.carriers = carriers;
    this.#cleanup.defer(() => carriers.stop());
    const ports = new PortFan(plane, log);
    this.#members.ports = ports;
    this.#cleanup.defer(() => ports.close());
    const tell = (event: MemberEvent): void => this.#told(event);
    const peers = peerFile(state, log);
    const counters = this.#counters;
    const natType = (): NatType | null => (this.#options.portPrediction ? this.#natWatch.natType4 : null);
    const own = { identity, session, suite, mtu, rekeyAfterMs, natType };
    const self = new Member({ ...own, primitives, plane, counters, log, tell, peers });
    this.#self = self;
    this.#members.add(self);
    this.#cleanup.defer(() => this.#members.remove(self));
    this.#announceAddresses();
    const monitor: NetworkMonitor = monitorNetwork((events) => this.#networkChanged(events));
    this.#cleanup.defer(() => {
      monitor.close();
      this.#nat64.close();
    });
    const sleep = new SleepWatch((sleptMs) => this.#woke(sleptMs));
    this.#cleanup.defer(() => sleep.close());
    const traffic = new TrafficWatch(() => {
      sleep.look();
      const news = plane.traffic();
      this.#members.traffic(news);
      return news.length > 0;
    });
    this.#traffic = traffic;
    this.#cleanup.defer(() => traffic.close());
    traffic.begun();
    const anyway = setTimeout(() => this.#serving.resolve(), SERVING_ANYWAY_MS);
    this.#cleanup.defer(() => clearTimeout(anyway));

    const { domain } = session;
    const resolver = await startResolver({
      vip4,
      vip6,
      zone: { domain, overlay, server: session.fqdn },
      lookUp: (target) => this.#lookUp(self, target),
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
    if (extension === null) return;
    const attachment = await extension.attach({
      ...{ stateDirectory: state, state: this.#options.daemonState, session, suite, mtu, rekeyAfterMs, natType, plane },
      ...{ members: this.#members, netlink: this.#netlink, upstreams: setup.upstreams },
      ...{ environment, primitives, counters, log },
    });
    this.#attachment = attachment;
    this.#cleanup.defer(() => attachment.close());
  }

  async close(): Promise<void> {
    await this.#cleanup.disposeAsync();
  }

  renewed(session: Session): void {
    this.#self?.begin(session);
  }

  async ping(target: string): Promise<PingReply | null> {
    if (this.#self === null) return null;
    const here = this.#attachment?.find(questionOf(target, this.#self.session.domain));
    return here ? raise('PEER_SELF', { target }) : this.#self.ping(target);
  }

  netcheck(): Promise<NetcheckReport> {
    return this.#natWatch.netcheck();
  }

  status(): LiveStatus | null {
    if (this.#plane === null || this.#self === null) return null;
    const { interfaceName, offload, drops, workers } = this.#plane;
    const planeDrops = Object.entries(drops).map(([reason, count]) => [`drop-${reason}`, count] as const);
    const counters = this.#counters.snapshot();
    const streams = this.#members.carriers?.counters() ?? {};
    for (const [name, count] of [...planeDrops, ...Object.entries({ ...this.#plane.counters(), ...streams })]) {
      counters[name] = (counters[name] ?? 0) + count;
    }
    return {
      snapshot: this.#self.machine.snapshot(readClock()),
      natType: this.#natWatch.natType,
      interface: interfaceName,
      mtu: this.#options.mtu,
      resolver: this.#resolver === null ? null : formatEndpoint(this.#resolver.endpoint),
      offload,
      workers,
      extension: this.#attachment?.status() ?? null,
      warnings: this.#warnings,
      counters,
    };
  }

  #told(event: MemberEvent): void {
    switch (event.do) {
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
        this.#portMapper?.update();
        break;
      case 'registerChanged':
        this.#attachment?.registerChanged();
        break;
    }
  }

  async #lookUp(self: Member, target: LookupTarget): Promise<LookupResult> {
    const question = target.by === 'name' ? { name: target.name } : { address: target.address };
    const result = this.#attachment?.find(question) ?? (await self.resolve(question));
    return result.status === 'found' ? result : result.status;
  }

  /** Everything known of paths is old: as after a move. */
  #woke(sleptMs: number): void {
    this.#counters.add('suspended');
    this.#options.log.info('was suspended, looking at all paths again', { forMs: Math.round(sleptMs) });
    this.#network = '';
    this.#announceAddresses();
  }

  /** The router that translates our IPv4 addresses, if one does. */
  #natRouter(): DefaultRouter | null {
    const mapped = this.#self?.machine.snapshot(readClock()).mapped ?? [];
    const seen = mapped.map((text) => parseEndpoint(text)!.address).find((address) => familyOf(address) === 4);
    if (seen === undefined || this.#hosts.some(({ address }) => address === seen)) return null;
    return defaultRouter4(this.#netlink);
  }

  #networkChanged(events: readonly NetworkEvent[]): void {
    // A cable that was out for a moment may lead elsewhere now, whatever it looks like.
    const isOut = (event: NetworkEvent): boolean =>
      event.on === 'link' && !event.link.running && this.#uplinks.has(event.link.index);
    if (events.some(isOut)) this.#network = '';
    this.#announceAddresses();
    this.#nat64.heard(events);
  }

  /** Tells the machines the host's addresses, if these or the ways out are not the ones they know. */
  #announceAddresses(): void {
    const port = this.#plane?.localPort;
    if (port === undefined) return;
    const addresses = candidateAddresses(this.#netlink, {
      overlay: this.#options.session.overlay,
      ownInterface: this.#plane?.interfaceName ?? null,
      innerInterface: this.#plane?.link?.name ?? null,
    });
    const routes = defaultRoutes(this.#netlink);
    this.#uplinks = new Set(routes.map(({ index }) => index));
    this.#nat64.update(addresses, routes);
    const known = `${addresses.join(' ')} by ${uplinksOf(routes)}`;
    if (known === this.#network) return;
    this.#network = known;
    this.#members.carriers?.renew('the addresses of this host changed');
    this.#hosts = addresses.map((address) => ({ address, port, kind: 'host' }));
    this.#members.localAddresses(this.#hosts, this.#nat64.prefix !== null);
    this.#portMapper?.update();
  }

  #foundNat64(prefix: Prefix | null): void {
    this.#options.log.info('the way to IPv4', { nat64: prefix === null ? null : formatPrefix(prefix) });
    this.#plane?.setNat64(prefix);
    this.#members.localAddresses(this.#hosts, prefix !== null);
  }
}

function asFault(error: unknown): CyphonicError {
  return error instanceof CyphonicError ? error : new CyphonicError('BUG_UNREACHABLE', { what: String(error) }, error);
}
