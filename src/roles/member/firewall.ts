/**
 * No way around the tunnel (protocol section 2.4): an nftables table of our own per interface. What is addressed to or
 * claims to be from the overlay enters this host through the TUN only, and what is addressed to or from the overlay
 * leaves through the TUN only. The table outlives a killed daemon, so that nothing leaves in clear meanwhile.
 */

import { familyOf, formatPrefix, type Prefix } from '../../lib/ip.ts';
import { requireTool, runTool } from '../../sys/tool.ts';

export type FirewallPlan = {
  readonly interface: string;
  /** The overlay's ranges. */
  readonly overlay: readonly Prefix[];
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

export function firewallRules({ interface: name, overlay }: FirewallPlan): string {
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
  // Loopback: a host reaches its own virtual addresses through lo.
  return `table inet ${tableName(name)} {
${counters.map((counter) => `  counter ${counter} {}`).join('\n')}
  chain inward {
    type filter hook prerouting priority raw; policy accept;
    iifname { "lo", "${name}" } accept
${rules('in')}
  }
  chain outward {
    type filter hook postrouting priority srcnat + 1; policy accept;
    oifname { "lo", "${name}" } accept
${rules('out')}
  }
}
`;
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
