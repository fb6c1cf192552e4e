/**
 * The overlay on this host: virtual addresses and routes on the TUN, and the firewall around it. A record in the state
 * directory says what was set up before it is, so that `down` can undo it after the daemon was killed.
 */

import { existsSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { raise } from '../../lib/errors.ts';
import { type Address, familyOf, type Prefix } from '../../lib/ip.ts';
import type { VirtualAddresses } from '../../lib/path.ts';
import { mergesReceived, setMergesReceived } from '../../sys/ethtool.ts';
import type { Capture } from '../../sys/frame-port.ts';
import { hostPrefix, linkIndex, Netlink } from '../../sys/netlink.ts';
import { runTool } from '../../sys/tool.ts';
import { raiseFirewall, removeFirewall } from './firewall.ts';
import { writeAtomically } from './state.ts';

export type InterfacePlan = VirtualAddresses & {
  readonly stateDirectory: string;
  readonly interface: string;
  readonly overlay: readonly Prefix[];
  readonly mtu: number;
  /** An adapter's other side. */
  readonly inner?: InnerPlan | null;
};

export type InnerPlan = {
  readonly inner: string;
  readonly outer: string;
  readonly internet: boolean;
  readonly capture: Capture;
  /** Interfaces that shall merge nothing of what they receive. */
  readonly unmerged: readonly string[];
  /** The adapter's own addresses on the inner link. */
  readonly gateways: readonly Address[];
  /** Of the kernel: file and value. */
  readonly settings: readonly (readonly [file: string, value: string])[];
};

/** Packets the kernel queues for us while the data plane is busy: a TUN drops what doesn't fit. */
const TX_QUEUE_LENGTH = 5000;
/** Interface names as the kernel and nftables both take them. */
const INTERFACE_NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,14}$/;

/** Brings the interface up; on return packets to the overlay go into it and nowhere else. Returns warnings, one line each. */
export async function bringInterfaceUp(plan: InterfacePlan): Promise<string[]> {
  if (!INTERFACE_NAME.test(plan.interface)) raise('BUG_ARGUMENT', { what: `interface name ${plan.interface}` });
  const namespace = ownNamespace();
  const former = readRecord(plan.stateDirectory);
  if (former?.namespace === namespace && former.interface !== plan.interface) await removeFirewall(former.interface);
  const inner = plan.inner ?? null;
  // Of a killed daemon too: what it found is what `down` puts back.
  const found = former?.namespace === namespace ? former : null;
  const settings = { ...found?.settings };
  for (const [file] of inner?.settings ?? []) settings[file] ??= readSetting(file);
  const merging = { ...found?.merging };
  for (const name of inner?.unmerged ?? []) merging[name] ??= mergesReceived(name);
  const gateways = inner === null ? null : { interface: inner.inner, addresses: inner.gateways };
  const outer = inner?.internet ? inner.outer : null;
  const record: SetupRecord = { interface: plan.interface, namespace, settings, merging, gateways, outer };
  writeAtomically(recordFile(plan.stateDirectory), JSON.stringify(record));
  await raiseFirewall(plan);
  for (const [file, value] of inner?.settings ?? []) writeSetting(file, value);
  for (const name of inner?.unmerged ?? []) setMergesReceived(name, false);
  if (gateways !== null) configureGateways(gateways, true);
  if (outer !== null) await routeInward(outer, true);
  return configureLink(plan);
}

/**
 * Undoes `bringInterfaceUp` of the daemon of this state directory, running or not; the TUN itself goes with its daemon.
 * False: there was nothing to undo. Rules live in a network namespace: in another one those of the same name are not ours.
 */
export async function takeInterfaceDown(stateDirectory: string): Promise<boolean> {
  const record = readRecord(stateDirectory);
  if (record === null) return false;
  if (record.namespace !== ownNamespace()) raise('USAGE_OTHER_NAMESPACE', { file: recordFile(stateDirectory) });
  await removeFirewall(record.interface);
  for (const [file, value] of Object.entries(record.settings)) if (existsSync(file)) writeSetting(file, value);
  for (const [name, on] of Object.entries(record.merging)) {
    if (existsSync(`/sys/class/net/${name}`)) setMergesReceived(name, on);
  }
  if (record.gateways !== null) configureGateways(record.gateways, false);
  if (record.outer !== null) await routeInward(record.outer, false);
  rmSync(recordFile(stateDirectory), { force: true });
  return true;
}

function configureLink(plan: InterfacePlan): string[] {
  const netlink = new Netlink();
  try {
    const index = linkIndex(netlink, plan.interface);
    const warnings = plan.vip6 === null ? [] : enableIpv6(plan.interface);
    const usable = [plan.vip4, warnings.length === 0 ? plan.vip6 : null].filter((vip): vip is Address => vip !== null);
    netlink.setLink(index, { mtu: plan.mtu, txQueueLength: TX_QUEUE_LENGTH });
    // The kernel's own link-local address would only send router solicitations into the overlay.
    if (warnings.length === 0 && plan.vip6 !== null) netlink.setLink(index, { linkLocal: false });
    for (const vip of usable) netlink.addAddress(index, hostPrefix(vip));
    netlink.setLink(index, { up: true });
    for (const destination of plan.overlay) {
      const source = usable.find((vip) => familyOf(vip) === familyOf(destination.address));
      if (source !== undefined) netlink.addRoute({ destination, index, source });
    }
    return warnings;
  } finally {
    netlink.close();
  }
}

/** Containers and cautious administrators disable IPv6 on new interfaces; on ours it belongs. */
function enableIpv6(interfaceName: string): string[] {
  const setting = `/proc/sys/net/ipv6/conf/${interfaceName}/disable_ipv6`;
  try {
    if (readFileSync(setting, 'latin1').trim() !== '0') writeFileSync(setting, '0');
    return [];
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code;
    return [`no virtual IPv6 address: IPv6 cannot be enabled on ${interfaceName} (${setting}: ${why})`];
  }
}

type GatewayRecord = { readonly interface: string; readonly addresses: readonly Address[] };

/** As single hosts: no connected route appears beside the TUN's. */
function configureGateways({ interface: name, addresses }: GatewayRecord, present: boolean): void {
  const netlink = new Netlink();
  try {
    const link = netlink.link(name);
    if (link === null) return;
    if (present) netlink.setLink(link.index, { up: true });
    for (const address of addresses) {
      if (present) netlink.addAddress(link.index, hostPrefix(address));
      else netlink.removeAddress(link.index, hostPrefix(address));
    }
  } finally {
    netlink.close();
  }
}

/**
 * Ways to general nodes that only answers from outside take (`--internet`): what this host itself sends to them goes into
 * the overlay as anything else.
 */
export const INWARD_TABLE = 7444;

async function routeInward(outer: string, present: boolean): Promise<void> {
  const lines = [
    // First the one that a killed daemon may have left.
    `rule del iif ${outer} lookup ${INWARD_TABLE}`,
    `route flush table ${INWARD_TABLE}`,
    ...(present ? [`rule add iif ${outer} lookup ${INWARD_TABLE}`] : []),
  ];
  const input = `${lines.join('\n')}\n`;
  for (const family of ['-4', '-6']) await runTool('ip', [family, '-force', '-batch', '-'], { input });
}

function readSetting(file: string): string {
  try {
    return readFileSync(file, 'latin1').trim();
  } catch (cause) {
    return raise('SYS_SETTING', { file, why: (cause as NodeJS.ErrnoException).code }, cause);
  }
}

function writeSetting(file: string, value: string): void {
  if (readSetting(file) === value) return;
  try {
    writeFileSync(file, value);
  } catch (cause) {
    raise('SYS_SETTING', { file, why: (cause as NodeJS.ErrnoException).code }, cause);
  }
}

/** What was set up, in which network namespace, and what was there before. */
type SetupRecord = {
  readonly interface: string;
  readonly namespace: string;
  readonly settings: Readonly<Record<string, string>>;
  /** By interface. */
  readonly merging: Readonly<Record<string, boolean>>;
  readonly gateways: GatewayRecord | null;
  /** From where general nodes are routed to; null = they are not. */
  readonly outer: string | null;
};

function recordFile(stateDirectory: string): string {
  return join(stateDirectory, 'interface.json');
}

function ownNamespace(): string {
  return readlinkSync('/proc/self/ns/net');
}

function readRecord(stateDirectory: string): SetupRecord | null {
  try {
    const record = JSON.parse(readFileSync(recordFile(stateDirectory), 'utf8')) as Partial<SetupRecord>;
    const { interface: name, namespace, settings = {}, merging = {}, gateways = null, outer = null } = record;
    if (typeof name !== 'string' || typeof namespace !== 'string' || !INTERFACE_NAME.test(name)) return null;
    return { interface: name, namespace, settings, merging, gateways, outer };
  } catch {
    // No record, nothing to undo; it is written in one piece, so that a damaged one is none of ours.
    return null;
  }
}
