/** The overlay's names through systemd-resolved: our resolver for our zones on our link, nothing else. */

import { readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CyphonicError } from '../../lib/errors.ts';
import { formatEndpoint } from '../../lib/ip.ts';
import { firstLine, runTool, type ToolResult } from '../../sys/tool.ts';
import type { DnsAttempt, DnsHost, DnsPlan } from './dns-config.ts';
import { DNS_PORT } from './resolver.ts';
import { parseServers } from './resolver-file.ts';

/** systemd-resolved hears of a new link by netlink, a little later than we do. */
const TRIES = 10;
const TRY_AGAIN_MS = 100;

export async function linkToResolved(plan: DnsPlan, host: DnsHost): Promise<DnsAttempt> {
  try {
    if (!(await servesThisNamespace(host))) return 'systemd-resolved does not run in this network namespace';
    const failure = await configureLink(plan, host.path);
    if (failure !== null) return `systemd-resolved refuses the interface ${plan.interface}: ${failure}`;
  } catch (error) {
    if (error instanceof CyphonicError) return `systemd-resolved is not installed: ${error.message}`;
    throw error;
  }
  return {
    former: parseServers(readServers(host.resolvedServers)),
    restore: async () => {
      await runTool('resolvectl', ['revert', plan.interface], { path: host.path });
    },
  };
}

/**
 * A link's index means nothing in another network namespace, where resolved would take it for some other link: so its
 * process has to live in ours. The bus knows the process.
 */
async function servesThisNamespace({ path }: DnsHost): Promise<boolean> {
  const bus = ['org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus'];
  const question = ['--system', 'call', ...bus, 'GetConnectionUnixProcessID', 's', 'org.freedesktop.resolve1'];
  const { status, stdout } = await runTool('busctl', question, { path });
  const pid = /^u (\d+)/.exec(stdout)?.[1];
  if (status !== 0 || pid === undefined) return false;
  try {
    return readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync('/proc/self/ns/net');
  } catch {
    return false;
  }
}

/** Why resolved doesn't take the settings, or null. */
async function configureLink(
  { interface: name, server, domain, reverseZones }: DnsPlan,
  path: string,
): Promise<string | null> {
  const needed = [
    ['dns', name, server.port === DNS_PORT ? server.address : formatEndpoint(server)],
    ['domain', name, domain, ...reverseZones.map((zone) => `~${zone}`)],
    ['default-route', name, 'no'],
  ];
  for (const setting of needed) {
    const failure = await patiently(() => runTool('resolvectl', setting, { path }));
    if (failure !== null) return failure;
  }
  // Global settings must not ask of our resolver what it can't give, nor spread the names by multicast. A build
  // without such a feature refuses its setting, and needs none.
  for (const feature of ['dnssec', 'dnsovertls', 'llmnr', 'mdns']) {
    await runTool('resolvectl', [feature, name, 'no'], { path });
  }
  return null;
}

async function patiently(run: () => Promise<ToolResult>): Promise<string | null> {
  for (let tries = TRIES; ; tries--) {
    const { status, stderr } = await run();
    if (status === 0) return null;
    if (tries === 1) return firstLine(stderr) || `exit status ${status}`;
    await sleep(TRY_AGAIN_MS);
  }
}

function readServers(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // The overlay's own names don't need them.
    return '';
  }
}
