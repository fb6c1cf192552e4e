/** A CYPHONIC network in the laboratory, run only by its commands, as a user or a script would. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from './command.ts';
import type { Host, Lab } from './lab.ts';
import type { Exit, Program, ProgramOptions } from './program.ts';

const launcher = fileURLToPath(new URL('../../../bin/cyphonic', import.meta.url));

export type PeerStatus = {
  readonly fqdn: string;
  readonly nodeId: string;
  readonly vip4: string | null;
  readonly vip6: string | null;
  readonly state: 'directing' | 'establishing' | 'up' | 'idle';
  readonly path: 'direct' | 'lan' | 'relay' | null;
  readonly endpoint: string | null;
  readonly transport: 'udp' | 'tls' | null;
  readonly rttMs: number | null;
  readonly mtu: number | null;
  readonly epoch: number | null;
  readonly tx: { readonly packets: number; readonly bytes: number; readonly dropped: number };
  readonly rx: {
    readonly packets: number;
    readonly bytes: number;
    readonly dropped: number;
    readonly replayed: number;
    readonly rejected: number;
  };
};

export type NodeStatus = {
  readonly state: string;
  readonly deviceId: string;
  readonly nodeId: string | null;
  readonly fqdn: string | null;
  readonly vip4: string | null;
  readonly vip6: string | null;
  readonly interface: string | null;
  readonly resolver: string | null;
  readonly nat: boolean | null;
  readonly natType: { readonly mapping: string | null; readonly filtering: string | null } | null;
  readonly mapped: readonly string[];
  readonly warnings: readonly string[];
  readonly services: readonly {
    readonly role: string;
    readonly address: string;
    readonly transport: 'udp' | 'tls' | 'tcp';
    readonly state: 'up' | 'down' | null;
    readonly lastContactMs: number | null;
  }[];
  readonly peers: readonly PeerStatus[];
  readonly counters: Readonly<Record<string, number>>;
};

export type PingReply = {
  readonly seq: number;
  readonly rttMs: number;
  readonly path: 'direct' | 'lan' | 'relay';
  readonly endpoint: string;
};

export type PingResult = {
  readonly target: string;
  readonly replies: readonly PingReply[];
  readonly sent: number;
  readonly received: number;
};

export type DeviceRecord = { readonly nodeId: string; readonly vip4: string | null; readonly vip6: string | null };

export type Ended = Exit & { readonly stdout: string; readonly stderr: string };

/** A daemon starts within seconds, on a machine that has nothing else to do. */
const PATIENCE_MS = 60_000;

export type NetworkOptions = {
  readonly domain?: string;
  /** The program under test instead of the checkout's. */
  readonly program?: string;
  /** More arguments of `cloud init`. */
  readonly init?: readonly string[];
};

export class Network {
  readonly lab: Lab;
  readonly domain: string;
  readonly cloud: Host;
  readonly directory: string;
  readonly program: string;
  service!: Program;

  private constructor(lab: Lab, cloud: Host, options: NetworkOptions) {
    this.lab = lab;
    this.cloud = cloud;
    this.domain = options.domain ?? 'lab.example';
    this.program = options.program ?? launcher;
    this.directory = join(lab.directory, 'cloud');
  }

  /** Makes a new network that devices reach at the addresses of `cloud`. */
  static async make(lab: Lab, cloud: Host, options: NetworkOptions = {}): Promise<Network> {
    const network = new Network(lab, cloud, options);
    const { v4, v6 } = cloud.addresses;
    await cloud.run([
      ...[network.program, 'cloud', 'init', '--dir', network.directory, '--domain', network.domain],
      ...(v4 === null ? [] : ['--address', v4]),
      ...(v6 === null ? [] : ['--address6', v6]),
      ...(options.init ?? []),
    ]);
    return network;
  }

  /** Makes a new network and serves it on `cloud`. */
  static async start(lab: Lab, cloud: Host, options: NetworkOptions = {}): Promise<Network> {
    const network = await Network.make(lab, cloud, options);
    await network.restart();
    return network;
  }

  /** Starts the cloud, also again after its program ended. */
  async restart(): Promise<void> {
    this.service = this.cloud.spawn([this.program, 'cloud', 'serve', '--dir', this.directory]);
    await this.service.output(/^ready/m);
  }

  /** Registers one more NMS or TRS and serves it on `host`. */
  async addService(role: 'nms' | 'trs', name: string, host: Host): Promise<Service> {
    const { v4, v6 } = host.addresses;
    const output = await this.cloud.run([
      ...[this.program, 'cloud', 'service', 'add', role, name, '--dir', this.directory],
      ...(v4 === null ? [] : ['--address', v4]),
      ...(v6 === null ? [] : ['--address6', v6]),
    ]);
    const config = /--config (.*)$/m.exec(output)?.[1] ?? '';
    const service = new Service(host, [this.program, role, 'serve', '--config', config]);
    await service.start();
    return service;
  }

  /** Runs one command to its end, whatever it ends with. */
  async command(host: Host, args: readonly string[], options: ProgramOptions = {}): Promise<Ended> {
    const program = host.spawn([this.program, ...args], { input: '', ...options });
    return { ...(await program.ended()), stdout: program.stdout, stderr: program.stderr };
  }

  /** Registers a device and returns its enrolment token. */
  async addDevice(deviceId: string, flags: readonly string[] = []): Promise<string> {
    const args = ['device', 'add', deviceId, '--dir', this.directory, ...flags];
    return (await this.cloud.run([this.program, ...args])).trim();
  }

  /** `device show`, `remove`, `disable` … */
  async device(action: string, deviceId: string): Promise<string> {
    return this.cloud.run([this.program, 'device', action, deviceId, '--dir', this.directory]);
  }

  /** What the register has of a device. */
  async show(deviceId: string): Promise<DeviceRecord> {
    return JSON.parse(
      await this.cloud.run([this.program, 'device', 'show', deviceId, '--dir', this.directory, '--json']),
    );
  }

  /** A registered device's node, not up yet. */
  node(host: Host, deviceId: string, token: string): Node {
    return new Node(this, host, deviceId, token);
  }

  /** Registers a device and brings its node up on `host`. */
  async addNode(host: Host, deviceId: string = host.title, flags: readonly string[] = []): Promise<Node> {
    const node = this.node(host, deviceId, await this.addDevice(deviceId));
    await node.up(flags);
    return node;
  }
}

/** A service beside those of the cloud. */
export class Service {
  readonly host: Host;
  readonly #argv: readonly string[];
  program!: Program;

  constructor(host: Host, argv: readonly string[]) {
    this.host = host;
    this.#argv = argv;
  }

  async start(): Promise<void> {
    this.program = this.host.spawn(this.#argv);
    await this.program.output(/^ready/m);
  }
}

/** A device with its daemon. */
export class Node {
  readonly network: Network;
  readonly host: Host;
  readonly deviceId: string;
  readonly fqdn: string;
  readonly state: string;
  /** More of the daemon's environment. */
  environment: Readonly<Record<string, string>> = {};
  readonly #tokenFile: string;
  #daemon: Program | null = null;

  constructor(network: Network, host: Host, deviceId: string, token: string) {
    this.network = network;
    this.host = host;
    this.deviceId = deviceId;
    this.fqdn = `${deviceId}.${network.domain}`;
    const directory = join(network.lab.directory, `node-${deviceId}`);
    this.state = join(directory, 'state');
    this.#tokenFile = join(directory, 'token');
    mkdirSync(directory, { mode: 0o700, recursive: true });
    writeFileSync(this.#tokenFile, `${token}\n`, { mode: 0o600 });
    // A resolver file that is a mount of its own is one the daemon may write to.
    host.resolver('# no name server\n');
  }

  get daemon(): Program {
    if (this.#daemon === null) throw new Error(`${this.deviceId} was never up`);
    return this.#daemon;
  }

  /** Starts the daemon and waits until it serves. */
  async up(flags: readonly string[] = []): Promise<void> {
    this.start(flags);
    await this.daemon.output(/^ready/m, PATIENCE_MS);
  }

  start(flags: readonly string[] = []): void {
    this.launch(['node', 'up'], flags);
  }

  protected launch(command: readonly string[], flags: readonly string[]): void {
    const args = [...command, '--state', this.state, '--token-file', this.#tokenFile, ...flags];
    this.#daemon = this.host.spawn([this.network.program, ...args], { env: this.environment });
  }

  command(args: readonly string[]): Promise<Ended> {
    return this.network.command(this.host, [...args, '--state', this.state]);
  }

  async status(): Promise<NodeStatus> {
    return JSON.parse(await this.host.run([this.network.program, 'status', '--state', this.state, '--json']));
  }

  async peer(other: Node): Promise<PeerStatus | undefined> {
    return (await this.status()).peers.find((peer) => peer.fqdn === other.fqdn);
  }

  /** Pings within the overlay and tells each reply's path; no reply at all is no failure here. */
  async ping(target: string, flags: readonly string[] = []): Promise<PingResult> {
    const { code, stdout, stderr } = await this.command(['ping', target, '--json', ...flags]);
    if (code !== 0 && code !== 1) throw new Error(`ping ${target} ended with ${code}: ${stderr}`);
    return JSON.parse(stdout);
  }

  /** Waits until the peer is reached by a path of this kind; null: of any. */
  async reaches(other: Node, path: PeerStatus['path'], timeoutMs = 40_000): Promise<PeerStatus> {
    return until(
      async () => {
        const peer = await this.peer(other);
        return peer?.state === 'up' && (path === null || peer.path === path) ? peer : undefined;
      },
      { what: `${this.deviceId} to reach ${other.deviceId} by ${path}`, intervalMs: 200, timeoutMs },
    );
  }

  /** The system's own ping by name, through the node's resolver. Fails unless every packet came back. */
  async systemPing(target: string, flags: readonly string[] = []): Promise<void> {
    const output = await this.host.run(['ping', '-c', '1', '-W', '10', ...flags, target]);
    if (!/ 0% packet loss/.test(output)) throw new Error(output);
  }
}
