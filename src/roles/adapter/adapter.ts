/** An adapter's inner side at work: its machine, and an identity of the overlay for each general node. Wiring only. */

import { AdapterMachine } from '../../core/adapter/machine.ts';
import type { AdapterAction, Proof } from '../../core/adapter/types.ts';
import type { ResolveQuestion, ResolveResult } from '../../core/node/types.ts';
import type { TlsIdentity } from '../../crypto/tls-certificate.ts';
import { CyphonicError } from '../../lib/errors.ts';
import type { Address } from '../../lib/ip.ts';
import type { Mac } from '../../lib/mac.ts';
import type { VirtualAddresses } from '../../lib/path.ts';
import type { Now } from '../../lib/time.ts';
import type { UdpDatagram } from '../../net/datagram.ts';
import type { LookupResult, LookupTarget } from '../../net/dns-responder.ts';
import type { EapMethod } from '../../net/eap-conversation.ts';
import { readClock } from '../../sys/clock.ts';
import { monitorNetwork } from '../../sys/netlink.ts';
import { type Listener, listenTcp } from '../member/dns-tcp.ts';
import type { Attachment, ExtensionStatus, Host } from '../member/extension.ts';
import { Member, type MemberEvent } from '../member/member.ts';
import { DNS_PORT, ResolverService } from '../member/resolver.ts';
import { peerFile } from '../member/state.ts';
import { Shell } from '../shell.ts';
import { FrameSender } from './frame-sender.ts';
import { type AdapterSettings, gatewaysOf, linkLocalOf } from './inner-interface.ts';
import { GeneralLogins } from './logins.ts';
import { RegisterClient } from './register-client.ts';
import { RoutedHosts } from './routed-hosts.ts';
import { ServerCertificate } from './server-certificate.ts';
import { NodeTlsEngine } from './tls-engine.ts';
import { Vault } from './vault.ts';

type Own = Exclude<AdapterAction, { readonly do: 'send' | 'wake' | 'drop' | 'log' | 'count' | 'load' | 'save' }>;

/** Of the resolver, for each general node: a few stubs and a browser. */
const SHARE = { queries: 32, connections: 4 };

export class Adapter implements Attachment {
  readonly #host: Host;
  readonly #settings: AdapterSettings;
  readonly #machine: AdapterMachine;
  readonly #shell: Shell<Own>;
  readonly #frames: FrameSender;
  readonly #vault: Vault;
  readonly #logins: GeneralLogins;
  readonly #register: RegisterClient;
  readonly #resolver: ResolverService;
  readonly #listeners: Listener[] = [];
  #closed = false;
  readonly #members = new Map<string, Member>();
  /** Null without `--internet`. */
  readonly #routed: RoutedHosts | null;
  readonly #monitor: { close(): void };
  readonly #certificate: ServerCertificate;

  constructor(host: Host, settings: AdapterSettings) {
    this.#host = host;
    this.#settings = settings;
    const { session, environment, plane, primitives, counters, log, netlink, stateDirectory, mtu } = host;
    const port = plane.link!;
    const { domain, overlay } = session;
    this.#frames = new FrameSender(port);
    this.#routed = settings.internet ? new RoutedHosts(plane.interfaceName, settings.inner, log) : null;
    this.#vault = new Vault(stateDirectory, primitives, log);
    this.#logins = new GeneralLogins(host.state, environment, primitives);
    this.#machine = new AdapterMachine({
      ...gatewaysOf(overlay),
      mac: port.mac,
      linkLocal: linkLocalOf(settings.inner, port.mac, netlink),
      domain,
      mtu,
      internet: settings.internet,
      random: () => new DataView(primitives.random(4).buffer).getUint32(0) / 2 ** 32,
      makeEngine: (mac, method) =>
        new NodeTlsEngine(this.#shown(mac, method), method, () =>
          this.#input((now) => this.#machine.progressed(mac, now)),
        ),
    });
    this.#shell = new Shell<Own>({
      machine: this.#machine,
      send: () => {},
      counters,
      log,
      perform: (action) => this.#perform(action),
    });
    this.#resolver = new ResolverService({
      ...{ vip4: null, vip6: null },
      zone: { domain, overlay, server: session.fqdn },
      lookUp: (target, requester) => this.#lookUp(target, requester),
      mayAsk: (source) => this.#machine.find({ address: source }) !== undefined,
      share: { ...SHARE, holder: (source) => this.#machine.find({ address: source })?.deviceId ?? source },
      log,
      counters,
    });
    const { gateway4, gateway6 } = gatewaysOf(overlay);
    for (const gateway of [gateway4, gateway6]) void this.#listen(gateway);
    this.#resolver.setUpstreams(settings.internet ? host.upstreams : []);
    this.#register = new RegisterClient({
      state: host.state,
      environment,
      primitives,
      log,
      onList: (devices) => {
        this.#vault.register = devices;
        this.#listed();
      },
    });
    this.#certificate = new ServerCertificate({
      fetch: () => this.#register.certify(),
      log,
      onIssued: () => this.#input((now) => this.#machine.certified(now)),
    });
    this.#listed();
    this.#register.refresh();
    this.#monitor = monitorNetwork(() => this.#watchLink());
  }

  frame(octets: Uint8Array): void {
    this.#input((now) => this.#machine.frame(octets, now));
  }

  find(question: ResolveQuestion): Extract<ResolveResult, { status: 'found' }> | null {
    const { session } = this.#host;
    const isOwn = 'name' in question ? question.name === session.fqdn : owns(session, question.address);
    const found = isOwn ? session : this.#machine.find(question);
    if (found === undefined) return null;
    const { fqdn, vip4, vip6, nodeId } = found;
    return { status: 'found', fqdn, vip4, vip6, nodeId };
  }

  registerChanged(): void {
    this.#register.refresh();
  }

  status(): ExtensionStatus {
    const { gateway4, gateway6 } = gatewaysOf(this.#host.session.overlay);
    const now = readClock();
    return {
      inner: this.#settings.inner,
      gateway4,
      gateway6,
      generalNodes: this.#machine.snapshot().map((node) => ({
        ...node,
        peers: this.#members.get(node.deviceId ?? '')?.machine.snapshot(now).peers ?? [],
      })),
    };
  }

  async close(): Promise<void> {
    this.#monitor.close();
    this.#register.close();
    this.#certificate.close();
    this.#input((now) => this.#machine.stop(now));
    this.#shell.stop();
    this.#logins.close();
    this.#closed = true;
    for (const listener of this.#listeners) listener.close();
    this.#resolver.close();
    await this.#routed?.close();
  }

  #input(give: (now: Now) => readonly AdapterAction[]): void {
    this.#shell.input((_, now) => give(now));
  }

  #listed(): void {
    const { register } = this.#vault;
    const granted = (deviceId: string): boolean => this.#vault.sessionOf(deviceId, readClock().wall) !== null;
    this.#input((now) => this.#machine.register(register, granted, now));
    if (register.some(({ auth }) => auth !== 'mac')) this.#certificate.want();
  }

  #perform(action: Own): void {
    switch (action.do) {
      case 'transmit':
        if (!this.#frames.send(action.frame)) this.#host.counters.add('link-not-sent');
        break;
      case 'login':
        void this.#logIn(action.deviceId, action.attempt, action.proof);
        break;
      case 'join':
        this.#join(action.deviceId);
        break;
      case 'leave':
        this.#leave(action.deviceId, action.forget);
        break;
      case 'hostsChanged':
        this.#admit();
        break;
      case 'query':
        void this.#query(action.deviceId, action.datagram);
        break;
      case 'carry':
        this.#members
          .get(action.deviceId)
          ?.input((machine, now) => machine.packet(action.packet, action.destination, now));
    }
  }

  /** The AS judges a certificate by the handshake, which therefore has to be of this moment. */
  #shown(mac: Mac, method: EapMethod): Promise<TlsIdentity | null> {
    return method === 'tls' ? this.#certificate.newTo(mac) : Promise.resolve(this.#certificate.identity);
  }

  async #logIn(deviceId: string, attempt: number, proof: Proof): Promise<void> {
    const device = this.#vault.register.find((entry) => entry.deviceId === deviceId);
    if (device === undefined) return;
    const finish = (result: 'accepted' | 'refused' | 'unreachable'): void =>
      this.#input((now) => this.#machine.loggedIn(deviceId, attempt, result, now));
    try {
      const identity = this.#vault.identityOf(deviceId);
      await this.#logins.logIn(device, identity, proof, (session) => this.#vault.keep(deviceId, session));
      if (proof.kind === 'certificate' && device.mac !== null) this.#certificate.loggedIn(device.mac);
      finish('accepted');
    } catch (error) {
      const refused = error instanceof CyphonicError && error.code.startsWith('REFUSED_');
      this.#host.log.warn('general node not logged in', { deviceId, why: (error as Error).message });
      finish(refused ? 'refused' : 'unreachable');
    }
  }

  #join(deviceId: string): void {
    const session = this.#vault.sessionOf(deviceId, readClock().wall);
    if (session === null) return;
    const known = this.#members.get(deviceId);
    if (known !== undefined) {
      known.begin(session);
      return;
    }
    const { stateDirectory, suite, mtu, rekeyAfterMs, natType, primitives, plane, counters, log, members } = this.#host;
    const identity = this.#vault.identityOf(deviceId);
    const tell = (event: MemberEvent): void => this.#told(deviceId, event);
    const member = new Member({
      ...{ identity, session, suite, mtu, rekeyAfterMs, natType },
      ...{ primitives, plane, counters, log, tell, peers: peerFile(stateDirectory, log, deviceId) },
    });
    this.#members.set(deviceId, member);
    members.add(member);
  }

  #leave(deviceId: string, forget: boolean): void {
    const member = this.#members.get(deviceId);
    this.#members.delete(deviceId);
    if (member !== undefined) this.#host.members.remove(member);
    if (!forget) return;
    this.#vault.forget(deviceId);
    peerFile(this.#host.stateDirectory, this.#host.log, deviceId).remove();
  }

  #told(deviceId: string, event: MemberEvent): void {
    if (event.do === 'renewLogin') this.#input((now) => this.#machine.renew(deviceId, now));
    else if (event.do === 'refused') this.#input((now) => this.#machine.revoked(deviceId, now));
  }

  /** Tells the data plane whose packets are carried. */
  #admit(): void {
    const { plane, session } = this.#host;
    const { hosts } = this.#machine;
    plane.setHosts(hosts);
    this.#routed?.set(hosts);
    plane.setLocal([session, ...hosts].flatMap(({ vip4, vip6 }) => [vip4, vip6]).filter((vip) => vip !== null));
  }

  /** Name queries by TCP, which the data plane leaves to the kernel. Whoever has no path by it still has UDP. */
  async #listen(gateway: Address): Promise<void> {
    try {
      const listener = await listenTcp(this.#resolver, gateway, DNS_PORT);
      if (this.#closed) return listener.close();
      this.#listeners.push(listener);
      this.#host.plane.setResolvers(this.#listeners.map(({ address }) => address));
    } catch (error) {
      this.#host.log.warn('general nodes get no names by TCP', { gateway, why: (error as Error).message });
    }
  }

  async #query(deviceId: string, datagram: UdpDatagram): Promise<void> {
    const response = await this.#resolver.answer(datagram.payload, datagram.source, 'udp');
    if (response !== null) this.#input(() => this.#machine.resolved(deviceId, datagram, response));
  }

  /** A name is looked up by the general node that asks; one beside it on the link needs no path. */
  async #lookUp(target: LookupTarget, requester: Address): Promise<LookupResult> {
    const question = target.by === 'name' ? { name: target.name } : { address: target.address };
    const here = this.find(question);
    if (here !== null) return here;
    const asker = this.#machine.find({ address: requester });
    const member = asker === undefined ? undefined : this.#members.get(asker.deviceId);
    if (member === undefined) return 'refused';
    const result = await member.resolve(question);
    return result.status === 'found' ? result : result.status;
  }

  #linkWasUp = true;

  #watchLink(): void {
    const link = this.#host.netlink.link(this.#settings.inner);
    const up = link?.up === true && link.running;
    if (this.#linkWasUp && !up) this.#input((now) => this.#machine.unplugged(now));
    // The kernel forgot its routes there.
    if (!this.#linkWasUp && up) this.#admit();
    this.#linkWasUp = up;
  }
}

function owns({ vip4, vip6 }: VirtualAddresses, address: Address): boolean {
  return address === vip4 || address === vip6;
}
