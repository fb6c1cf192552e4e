/** An adapter in the laboratory, with a switch on its inner interface and devices that know nothing of the overlay. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from './command.ts';
import type { Lab } from './lab.ts';
import type { Namespace, Segment, Wish } from './namespace.ts';
import { type Network, Node, type NodeStatus, type PeerStatus } from './network.ts';

const LEASE_SCRIPT = `#!/bin/sh
case $1 in bound|renew)
  ip address replace $ip/$mask dev $interface; ip route replace default via $router
  printf 'search %s\\n' "$search$domain" >/etc/resolv.conf
  for server in $dns; do echo nameserver $server; done >>/etc/resolv.conf;; esac
`;

export type GeneralNodeStatus = {
  readonly deviceId: string | null;
  readonly nodeId: string | null;
  readonly mac: string | null;
  readonly auth: string | null;
  readonly fqdn: string | null;
  readonly vip4: string | null;
  readonly vip6: string | null;
  readonly state: string;
  readonly peers: readonly PeerStatus[];
};

export type AdapterStatus = NodeStatus & {
  readonly inner: string | null;
  readonly gateway4: string | null;
  readonly gateway6: string | null;
  readonly generalNodes: readonly GeneralNodeStatus[];
};

/** A device on the inner link: one interface, no address. */
export class Device {
  readonly adapter: Adapter;
  readonly host: Namespace;
  readonly deviceId: string;
  readonly mac: string;

  constructor(adapter: Adapter, host: Namespace, deviceId: string, mac: string) {
    this.adapter = adapter;
    this.host = host;
    this.deviceId = deviceId;
    this.mac = mac;
  }

  get fqdn(): string {
    return `${this.deviceId}.${this.adapter.network.domain}`;
  }

  /** What the adapter says of it. */
  async status(): Promise<GeneralNodeStatus | undefined> {
    return (await this.adapter.status()).generalNodes.find(({ mac }) => mac === this.mac);
  }

  is(state: string, timeoutMs = 40_000): Promise<GeneralNodeStatus> {
    return until(
      async () => {
        const status = await this.status();
        return status?.state === state ? status : undefined;
      },
      { what: `${this.deviceId} to be ${state}`, intervalMs: 200, timeoutMs },
    );
  }

  /** An address by DHCPv4, and the resolver that comes with it. */
  async dhcp(): Promise<void> {
    this.host.resolver('');
    await this.host.run([
      'udhcpc',
      '-i',
      'eth0',
      '-s',
      this.adapter.leaseScript,
      '-n',
      '-q',
      '-f',
      '-t',
      '30',
      '-T',
      '1',
    ]);
  }
}

export class Adapter extends Node {
  readonly lab: Lab;
  readonly link: Namespace;
  /** What udhcpc calls with a lease. */
  readonly leaseScript: string;
  inner = 'eth1';
  #ports = 0;

  constructor(lab: Lab, network: Network, title: string, segment: Segment, token: string, wish: Wish = {}) {
    const host = lab.host(title, segment, wish);
    super(network, host, title, token);
    this.lab = lab;
    this.leaseScript = join(lab.directory, `${title}-lease`);
    writeFileSync(this.leaseScript, LEASE_SCRIPT, { mode: 0o755 });
    this.link = lab.namespace(`${title}-link`);
    this.link.sh(
      'ip link add bridge type bridge; echo 8 >/sys/class/net/bridge/bridge/group_fwd_mask; ip link set bridge up',
    );
    this.#plug(host, 'eth1');
  }

  static async add(
    lab: Lab,
    network: Network,
    title: string,
    segment: Segment,
    wish: Wish = {},
    flags: readonly string[] = [],
  ): Promise<Adapter> {
    const adapter = new Adapter(lab, network, title, segment, await network.addDevice(title), wish);
    await adapter.up(flags);
    return adapter;
  }

  override start(flags: readonly string[] = []): void {
    this.launch(['adapter', 'up', '--inner', this.inner, '--outer', 'eth0'], flags);
  }

  override async status(): Promise<AdapterStatus> {
    return (await super.status()) as AdapterStatus;
  }

  #plug(namespace: Namespace, interfaceName: string): void {
    const port = `port${++this.#ports}`;
    this.link.sh(
      `ip link add ${port} type veth peer name ${interfaceName} netns ${namespace.name}; ip link set ${port} up master bridge`,
    );
    namespace.sh(`ip link set ${interfaceName} up`);
  }

  /** Plugs a device in that is not registered yet. */
  device(deviceId: string): Device {
    const host = this.lab.namespace(deviceId);
    this.#plug(host, 'eth0');
    const mac = host.sh('cat /sys/class/net/eth0/address').trim();
    return new Device(this, host, deviceId, mac);
  }

  /** Registers a device as a general node of this adapter. */
  async register(device: Device, flags: readonly string[] = []): Promise<void> {
    await this.network.addDevice(device.deviceId, ['--adapter', this.deviceId, '--mac', device.mac, ...flags]);
  }
}
