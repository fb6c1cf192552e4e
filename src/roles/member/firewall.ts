/**
 * No way around the tunnel (protocol section 2.4): an nftables table of our own per interface. What is addressed to or
 * claims to be from the overlay enters this host through the TUN only, and what is addressed to or from the overlay
 * leaves through the TUN only. The table outlives a killed daemon, so that nothing leaves in clear meanwhile.
 */

import { familyOf, formatPrefix, type Prefix } from '../../lib/ip.ts';
import type { Mac } from '../../lib/mac.ts';
import type { VirtualAddresses } from '../../lib/path.ts';
import { requireTool, runTool } from '../../sys/tool.ts';

export type FirewallPlan = {
  readonly interface: string;
  /** The overlay's ranges. */
  readonly overlay: readonly Prefix[];
  /** An adapter's other side; with `internet` the kernel routes general nodes from one interface to the other. */
  readonly inner?: { readonly inner: string; readonly outer: string; readonly internet: boolean } | null;
};

const counters = [
  'overlay_destination_in',
  'overlay_source_in',
  'overlay_destination_out',
  'overlay_source_out',
] as const;

/** Packets dropped by each rule since the table was made. */
export type FirewallCounters = Readonly<Record<(typeof counters)[number], number>>;

export function tableName(interfaceName: string): string {
  return `cyphonic_${interfaceName}`;
}

export function firewallRules({ interface: name, overlay, inner: link = null }: FirewallPlan): string {
  const internet = link?.internet ? link : null;
  const rules = (direction: 'in' | 'out'): string =>
    (['destination', 'source'] as const)
      .flatMap((end) =>
        overlay.map((range) => {
          const field = `${familyOf(range.address) === 4 ? 'ip' : 'ip6'} ${end === 'source' ? 'saddr' : 'daddr'}`;
          return `    ${field} ${formatPrefix(range)} counter name overlay_${end}_${direction} drop`;
        }),
      )
      .join('\n');
  // In: before any address translation can hide the destination. Out: after it, so that masqueraded traffic may pass.
  // Loopback: a host reaches its own virtual addresses through lo. On the inner link the adapter itself speaks, and the
  // kernel with nobody: its link-local address would open what listens on this host to whoever is plugged in.
  return `table inet ${tableName(name)} {
${counters.map((counter) => `  counter ${counter} {}`).join('\n')}
${internet === null ? '' : hostSets}  chain inward {
    type filter hook prerouting priority raw; policy accept;
    iifname { "lo", "${name}" } accept
${internet === null ? '' : ways(overlay, (field, range, set) => `iifname "${internet.inner}" ${field} daddr != ${range} ether saddr . ${field} saddr @${set} accept`)}${rules('in')}
${link === null ? '' : `    iifname "${link.inner}" drop\n`}  }
  chain outward {
    type filter hook postrouting priority srcnat + 1; policy accept;
    oifname { "lo", "${name}" } accept
${internet === null ? '' : `    oifname "${internet.inner}" ct state { established, related } accept\n`}${rules('out')}
${link === null ? '' : silence(link.inner)}  }
${internet === null ? '' : routing(internet, overlay)}}
`;
}

/**
 * What this host says by itself on the inner link (mDNS, solicitations, its link-local address) is nothing to general nodes.
 * Only a switch that snoops must hear what the adapter listens to. Its own frames pass no netfilter.
 */
function silence(inner: string): string {
  return `    oifname "${inner}" icmpv6 type { mld-listener-report, mld-listener-reduction, mld2-listener-report } accept
    oifname "${inner}" drop
`;
}

/** Which general node has which MAC address: what says otherwise is not routed. */
const hostSets = `  set hosts4 { type ether_addr . ipv4_addr; }
  set hosts6 { type ether_addr . ipv6_addr; }
`;

/** One rule for each range. */
function ways(
  overlay: readonly Prefix[],
  rule: (field: 'ip' | 'ip6', range: string, set: 'hosts4' | 'hosts6') => string,
): string {
  return overlay
    .map((range) => {
      const four = familyOf(range.address) === 4;
      return `    ${rule(four ? 'ip' : 'ip6', formatPrefix(range), four ? 'hosts4' : 'hosts6')}\n`;
    })
    .join('');
}

/** General nodes reach what is beyond the outer interface, behind its address; nothing there reaches them by itself. */
function routing({ inner, outer }: NonNullable<FirewallPlan['inner']>, overlay: readonly Prefix[]): string {
  return `  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "${inner}" oifname != "${outer}" drop
    oifname "${inner}" iifname != "${outer}" drop
    oifname "${inner}" ct state != { established, related } drop
  }
  chain input {
    type filter hook input priority filter; policy accept;
${ways(overlay, (field, range) => `iifname "${inner}" ${field} saddr ${range} drop`)}  }
  chain translate {
    type nat hook postrouting priority srcnat; policy accept;
${ways(overlay, (field, range) => `${field} saddr ${range} oifname "${outer}" masquerade`)}  }
`;
}

/** Replaces the general nodes that are routed; nothing happens without the table. */
export async function setRoutedHosts(
  interfaceName: string,
  hosts: readonly (VirtualAddresses & { readonly mac: Mac })[],
): Promise<void> {
  const table = tableName(interfaceName);
  const fill = (set: string, key: 'vip4' | 'vip6'): string => {
    const elements = hosts.flatMap((host) => (host[key] === null ? [] : [`${host.mac} . ${host[key]}`]));
    const add = elements.length === 0 ? '' : `add element inet ${table} ${set} { ${elements.join(', ')} }\n`;
    return `flush set inet ${table} ${set}\n${add}`;
  };
  await requireTool('nft', ['-f', '-'], fill('hosts4', 'vip4') + fill('hosts6', 'vip6'));
}

/** Sets the table, in place of an older one, in one transaction. */
export async function raiseFirewall(plan: FirewallPlan): Promise<void> {
  await requireTool('nft', ['-f', '-'], `${replaceTable(plan.interface)}${firewallRules(plan)}`);
}

/** Removes the table if it is there. */
export async function removeFirewall(interfaceName: string): Promise<void> {
  await requireTool('nft', ['-f', '-'], replaceTable(interfaceName));
}

// `delete` fails where there is nothing to delete; declaring the table first makes sure there is.
function replaceTable(interfaceName: string): string {
  const table = tableName(interfaceName);
  return `table inet ${table}\ndelete table inet ${table}\n`;
}

/** Null if the table isn't there. */
export async function readFirewall(interfaceName: string): Promise<FirewallCounters | null> {
  const { status, stdout } = await runTool('nft', [
    '-j',
    'list',
    'counters',
    'table',
    'inet',
    tableName(interfaceName),
  ]);
  if (status !== 0) return null;
  const listed = (JSON.parse(stdout) as { nftables: { counter?: { name: string; packets: number } }[] }).nftables;
  const packets = new Map(
    listed.flatMap(({ counter }) => (counter === undefined ? [] : [[counter.name, counter.packets]])),
  );
  return Object.fromEntries(counters.map((name) => [name, packets.get(name) ?? 0])) as FirewallCounters;
}
