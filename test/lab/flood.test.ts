/** Floods from the Internet at every UDP port: whoever talks goes on talking. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it, onTestFailed } from 'vitest';
import { HeaderOffset } from '../../src/proto/header.ts';
import { messageTable } from '../../src/proto/messages.ts';
import { until } from './toolkit/command.ts';
import { type Host, Lab } from './toolkit/lab.ts';
import { Network, type Node } from './toolkit/network.ts';
import type { Program } from './toolkit/program.ts';
import { Pinger } from './toolkit/small.ts';
import { describeLab } from './toolkit/suite.ts';

const floodFile = fileURLToPath(new URL('./toolkit/flood.ts', import.meta.url));
/** What the two say to others of their own does not count. */
const CAPSULES = `udp port 7444 and udp[${8 + HeaderOffset.type}] = ${messageTable.capsule.type}`;
/** Octets of the headers of IPv4 and UDP. */
const IP_UDP = 28;
const FLOOD_S = 10;
const PING_INTERVAL_S = 0.05;
/** What the runtime's garbage may take for a while. */
const RSS_MARGIN_KB = 64 * 1024;

function residentKb(program: Program): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${program.pid}/status`, 'utf8'))?.[1]);
}

describeLab('a flood', () => {
  let lab: Lab;
  let network: Network;
  let nodes: readonly [Node, Node, Node];
  let outsider: Host;

  beforeAll(async () => {
    lab = new Lab('flood');
    const internet = lab.internet();
    network = await Network.start(lab, lab.host('cloud', internet, { v4: '198.51.100.10', v6: '2001:db8:ff::10' }));
    outsider = lab.host('outsider', internet, { v4: '203.0.113.66', v6: '2001:db8:66::1' });
    nodes = await Promise.all([
      network.addNode(lab.host('a', internet, { v4: '192.0.2.11' })),
      network.addNode(lab.host('b', internet, { v4: '192.0.2.12' })),
      network.addNode(lab.host('six', internet, { v6: '2001:db8:60::1' })),
    ]);
  });
  afterAll(() => lab?.close());

  const flood = async (kind: string, seconds: number, ids: readonly string[]): Promise<number> => {
    const targets = ['198.51.100.10:7441', '198.51.100.10:7442', '192.0.2.11:7444', '192.0.2.12:7444'];
    const argv = [process.execPath, floodFile, targets.join(','), String(seconds), kind, ...ids];
    return Number(await outsider.run(argv));
  };

  /** IDs of the paths over which this host talks at the moment, as anybody on the way sees them. */
  const pathIds = async ({ host }: Node): Promise<string[]> => {
    const dump = await host.run(['tcpdump', '-n', '-x', '-i', 'eth0', '-c', '8', CAPSULES]);
    // Each packet is a line about it and lines of `0x0010:  4500 003c …`.
    const packets = dump.split(/^(?=\S)/m).map((text) => text.replaceAll(/^\s+0x\w+:|^\S.*$|\s/gm, ''));
    const ids = packets.map((hex) => hex.slice(2 * (IP_UDP + HeaderOffset.id), 2 * (IP_UDP + HeaderOffset.id + 16)));
    return [...new Set(ids.filter((id) => /^[0-9a-f]{32}$/.test(id)))];
  };

  it.each([
    ['random', 'drop-version'],
    ['plausible', 'drop-tag'],
  ])('of %s datagrams loses no ping, takes no memory and is forgotten when it ends', async (kind, reason) => {
    onTestFailed(() => console.error(lab.report()));
    const [a, b, six] = nodes;
    await Promise.all([a.systemPing(b.fqdn), a.systemPing(six.fqdn)]);
    const statuses = await Promise.all(nodes.map((node) => node.status()));
    const pingers = [1, 2].map((i) => new Pinger(a.host, String(statuses[i]!.vip4), PING_INTERVAL_S));
    await until(() => pingers.every(({ answered }) => answered.length > 2), { what: 'pings' });
    const paths = await pathIds(a);
    expect(paths).toHaveLength(2);
    const ids = [...paths, ...statuses.flatMap(({ nodeId }) => (nodeId === null ? [] : [nodeId]))];
    const programs = { cloud: network.service, a: a.daemon, b: b.daemon };
    await flood(kind, 1, ids);
    const before = Object.entries(programs).map(([name, program]) => [name, residentKb(program)] as const);
    const sent = await flood(kind, FLOOD_S, ids);
    const after = new Map(Object.entries(programs).map(([name, program]) => [name, residentKb(program)]));
    const results = await Promise.all(pingers.map((pinger) => pinger.stop()));
    // What was on its way at the end is not lost.
    for (const result of results) expect(result.sent - result.received).toBeLessThanOrEqual(result.sent / 100 + 1);
    for (const [name, kb] of before) expect(after.get(name), name).toBeLessThan(kb + RSS_MARGIN_KB);

    // A pair that never talked.
    await (kind === 'random' ? b.systemPing(six.fqdn) : six.systemPing(b.fqdn, ['-c', '20', '-i', '0.05']));
    const { counters } = (await a.status()) as unknown as { counters: Record<string, number> };
    expect(counters[reason]).toBeGreaterThan(0);
    const dropped = Object.entries(counters).filter(([name]) => name.startsWith('drop-'));
    expect(dropped.reduce((sum, [, count]) => sum + count, 0)).toBeGreaterThan(sent / 100);
    expect(network.service.stderr + a.daemon.stderr).not.toMatch(/internal error/);
  });
});
