/**
 * How this host comes to ask the overlay's resolver: systemd-resolved, which then asks it for the overlay's names only,
 * or the resolver file, where it is the only name server. Whatever is set up is undone by `restore`.
 */

import { readFileSync } from 'node:fs';
import { raise } from '../../lib/errors.ts';
import { type Endpoint, formatEndpoint } from '../../lib/ip.ts';
import { systemPath } from '../../sys/tool.ts';
import { linkToResolved } from './resolved-link.ts';
import { isOwnResolverFile, parseServers, restoreResolverFile, takeResolverFile } from './resolver-file.ts';

export const dnsModes = ['auto', 'resolved', 'file', 'none'] as const;
export type DnsMode = (typeof dnsModes)[number];

export type DnsPlan = {
  readonly mode: DnsMode;
  readonly stateDirectory: string;
  readonly interface: string;
  /** Our resolver. */
  readonly server: Endpoint;
  readonly domain: string;
  readonly reverseZones: readonly string[];
};

/** The host around us; tests make their own. */
export type DnsHost = {
  readonly resolverFile: string;
  /** Where systemd-resolved writes the servers it knows. */
  readonly resolvedServers: string;
  /** Where programs are looked for. */
  readonly path: string;
};

export const thisHost: DnsHost = {
  resolverFile: '/etc/resolv.conf',
  resolvedServers: '/run/systemd/resolve/resolv.conf',
  path: systemPath,
};

/** What a way of setting up returns: how to undo it, or why it can't be. */
export type DnsAttempt = { readonly former: readonly Endpoint[]; restore(): Promise<void> } | string;

export type DnsSetup = {
  readonly applied: Exclude<DnsMode, 'auto'>;
  /** One line that says why nothing was set up although it was wished for. */
  readonly warning: string | null;
  /** The servers this host asks for all other names. */
  readonly upstreams: readonly Endpoint[];
  restore(): Promise<void>;
};

export async function configureDns(plan: DnsPlan, host: DnsHost = thisHost): Promise<DnsSetup> {
  restoreResolverFile(plan.stateDirectory);
  const reasons: string[] = [];
  for (const mode of plan.mode === 'auto' ? (['resolved', 'file'] as const) : [plan.mode]) {
    if (mode === 'none') break;
    const attempt = mode === 'resolved' ? await linkToResolved(plan, host) : tryFile(plan, host);
    if (typeof attempt === 'object') {
      return { applied: mode, warning: null, upstreams: attempt.former, restore: attempt.restore };
    }
    if (plan.mode !== 'auto') raise('SYS_DNS', { mode, why: attempt });
    reasons.push(attempt);
  }
  const warning = `the system does not ask for the overlay's names (${reasons.join('; ')}); they are known to ${formatEndpoint(plan.server)}`;
  return {
    applied: 'none',
    warning: reasons.length === 0 ? null : warning,
    upstreams: parseServers(readOrNothing(host.resolverFile)),
    restore: async () => {},
  };
}

/** Undoes what a daemon of this state directory left; what systemd-resolved knew went with the interface. */
export function restoreDns(stateDirectory: string): void {
  restoreResolverFile(stateDirectory);
}

function tryFile(plan: DnsPlan, host: DnsHost): DnsAttempt {
  if (plan.mode === 'auto' && !isOwnResolverFile(host.resolverFile)) {
    return `${host.resolverFile} belongs to other network namespaces as well`;
  }
  return takeResolverFile(plan, host.resolverFile);
}

function readOrNothing(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // No resolver file, no servers: the C library would ask the loopback address, which we leave alone.
    return '';
  }
}
