import type { Context } from '../context.ts';
import { requestControl } from './control-socket.ts';
import type { NetcheckReport } from './nat-watch.ts';
import { printJson } from './print-json.ts';

/** What the network around the daemon lets through. */
export async function runNetcheck(
  { state, json }: { readonly state: string; readonly json?: boolean },
  context: Context,
): Promise<void> {
  const report = (await requestControl(state, { method: 'netcheck', params: null })) as NetcheckReport;
  if (json) {
    printJson(report, context);
    return;
  }
  const yes = (value: boolean): string => (value ? 'yes' : 'no');
  const blocked = report.tls.length > 0 ? ` (blocked: over TLS at ${report.tls.join(', ')})` : '';
  context.print(`UDP ${yes(report.udp)}${blocked}, IPv4 ${yes(report.ipv4)}, IPv6 ${yes(report.ipv6)}`);
  context.print(
    `NAT mapping ${report.natType?.mapping ?? 'unknown'}, filtering ${report.natType?.filtering ?? 'unknown'}`,
  );
  context.print(`seen as ${report.mapped.join(', ') || 'nothing'}`);
  context.print(`port mapping ${report.portMapping ?? 'none'}, NAT64 prefix ${report.nat64Prefix ?? 'none'}`);
  for (const { name, address, rttMs } of report.relays) {
    const time = rttMs === null ? 'silent' : `${rttMs.toFixed(1)} ms`;
    context.print(`relay ${name} ${address} ${time}${name === report.preferredRelay ? ', preferred' : ''}`);
  }
}
