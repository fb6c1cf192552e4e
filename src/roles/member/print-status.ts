import type { Context } from '../context.ts';
import type { Status } from './status.ts';

type Colour = (text: string) => string;

function painter(context: Context): { readonly good: Colour; readonly bad: Colour; readonly dim: Colour } {
  const paint = (code: number): Colour => (context.colour ? (text) => `\x1b[${code}m${text}\x1b[0m` : (text) => text);
  return { good: paint(32), bad: paint(31), dim: paint(2) };
}

/** `status` for a person: who and where we are, then a line for each peer, and for each general node and its peers. */
export function printStatus(status: Status, context: Context): void {
  const { good, bad, dim } = painter(context);
  const state = status.state === 'online' ? good(status.state) : bad(status.state);
  context.print(
    `${status.fqdn ?? status.deviceId}  ${state}  ${[status.vip4, status.vip6].filter(Boolean).join('  ')}`,
  );
  const place = status.nat === null ? 'unknown' : status.nat ? 'behind NAT' : 'no NAT';
  const mapped = status.mapped.length > 0 ? `, seen as ${status.mapped.join(', ')}` : '';
  context.print(dim(`${status.interface ?? 'no interface'}, resolver ${status.resolver ?? 'none'}, ${place}${mapped}`));
  for (const service of status.services) {
    const rtt = service.rttMs === null ? '' : ` ${service.rttMs.toFixed(1)} ms`;
    const said = service.state === null ? dim('unknown') : service.state === 'up' ? good('up') : bad('down');
    const over = service.transport === 'tls' ? ' over TLS' : '';
    const age = service.lastContactMs === null ? '' : dim(`, heard ${formatAge(service.lastContactMs)} ago`);
    context.print(`${service.role} ${service.address} ${said}${over}${rtt}${age}`);
  }
  for (const warning of status.warnings) context.print(bad(warning));
  printPeers(status.peers, '', context, dim);
  for (const { fqdn, vip4, vip6, mac, state, peers } of status.generalNodes) {
    const addresses = [vip4, vip6].filter(Boolean).join('  ');
    const paint = state === 'active' ? good : state === 'refused' ? bad : dim;
    context.print(
      `general node ${fqdn ?? 'not registered'}  ${mac ?? 'no MAC address'}  ${paint(state)}  ${addresses}`.trimEnd(),
    );
    printPeers(peers, '  ', context, dim);
  }
}

function printPeers(peers: Status['peers'], indent: string, context: Context, dim: Colour): void {
  const width = Math.max(0, ...peers.map((peer) => peer.fqdn.length));
  for (const peer of peers) {
    const over = peer.transport === 'tls' ? ' over TLS' : '';
    const path = peer.path === null ? peer.state : `${peer.path} ${peer.endpoint}${over}`;
    const rtt = peer.rttMs === null ? '' : ` ${peer.rttMs.toFixed(1)} ms`;
    const traffic = `tx ${peer.tx.bytes} B rx ${peer.rx.bytes} B`;
    context.print(`${indent}${peer.fqdn.padEnd(width)}  ${peer.vip4 ?? peer.vip6}  ${path}${rtt}  ${dim(traffic)}`);
  }
}

function formatAge(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  return seconds < 7_200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3_600).toFixed(0)} h`;
}
