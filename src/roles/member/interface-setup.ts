/**
 * The overlay on this host: virtual addresses and routes on the TUN, and the firewall around it. A record in the state
 * directory says what was set up before it is, so that `down` can undo it after the daemon was killed.
 */

import { readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { raise } from '../../lib/errors.ts';
import { type Address, familyOf, type Prefix } from '../../lib/ip.ts';
import type { VirtualAddresses } from '../../lib/path.ts';
import { hostPrefix, linkIndex, Netlink } from '../../sys/netlink.ts';
import { raiseFirewall, removeFirewall } from './firewall.ts';
import { writeAtomically } from './state.ts';

export type InterfacePlan = VirtualAddresses & {
  readonly stateDirectory: string;
  readonly interface: string;
  readonly overlay: readonly Prefix[];
  readonly mtu: number;
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
  const record: SetupRecord = { interface: plan.interface, namespace };
  writeAtomically(recordFile(plan.stateDirectory), JSON.stringify(record));
  await raiseFirewall(plan);
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

/** What was set up, and in which network namespace. */
type SetupRecord = { readonly interface: string; readonly namespace: string };

function recordFile(stateDirectory: string): string {
  return join(stateDirectory, 'interface.json');
}

function ownNamespace(): string {
  return readlinkSync('/proc/self/ns/net');
}

function readRecord(stateDirectory: string): SetupRecord | null {
  try {
    const record = JSON.parse(readFileSync(recordFile(stateDirectory), 'utf8')) as Partial<SetupRecord>;
    const { interface: name, namespace } = record;
    if (typeof name !== 'string' || typeof namespace !== 'string' || !INTERFACE_NAME.test(name)) return null;
    return { interface: name, namespace };
  } catch {
    // No record, nothing to undo; it is written in one piece, so that a damaged one is none of ours.
    return null;
  }
}
