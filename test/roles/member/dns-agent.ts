/** The DNS configuration by remote control, for the namespace the process is in. */

import {
  configureDns,
  type DnsHost,
  type DnsPlan,
  type DnsSetup,
  restoreDns,
  thisHost,
} from '../../../src/roles/member/dns-config.ts';

let setup: DnsSetup | undefined;

export async function configure(plan: DnsPlan, host: Partial<DnsHost> = {}): Promise<Omit<DnsSetup, 'restore'>> {
  setup = await configureDns(plan, { ...thisHost, ...host });
  const { applied, warning, upstreams } = setup;
  return { applied, warning, upstreams };
}

export const restore = (): Promise<void> | undefined => setup?.restore();
export { restoreDns };
