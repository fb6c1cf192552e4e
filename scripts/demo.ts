/**
 * npm start: a whole network on this machine, in network namespaces. A cloud on the public Internet, a and b each behind
 * a NAT of their own, c with IPv6 only, and an adapter with two devices that know nothing of it all: a camera, let in by its
 * MAC address, and a robot by 802.1X. Every pair talks by name; then it stays for a look around until Ctrl-C.
 */

import { fileURLToPath } from 'node:url';
import { Adapter, type Device } from '../test/lab/toolkit/adapter.ts';
import { succeeds } from '../test/lab/toolkit/command.ts';
import { Lab, whyNoLab } from '../test/lab/toolkit/lab.ts';
import { Network, type Node, type PingResult } from '../test/lab/toolkit/network.ts';
import { secretFile } from '../test/lab/toolkit/small.ts';
import { WpaSupplicant } from '../test/lab/toolkit/wpa-supplicant.ts';

type Row = readonly [pair: string, addresses: string, path: string, roundTrip: string];

const began = performance.now();

function progress(line: string): void {
  console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(5)} s  ${line}`);
}

type Demo = { readonly nodes: readonly Node[]; readonly devices: readonly Device[] };

async function build(lab: Lab): Promise<Demo> {
  progress('building the Internet, three NATs, five hosts and two devices');
  const internet = lab.internet();
  const site = (title: string, subnet4: string, v4: string) => {
    const lan = lab.lan(`${title}-lan`, { subnet4 });
    lab.router(`${title}-nat`, { outside: internet, inside: lan, nat: 'port-restricted', v4 });
    return lan;
  };
  const home = (title: string, subnet4: string, v4: string) => lab.host(title, site(title, subnet4, v4));
  const cloud = lab.host('cloud', internet, { v4: '198.51.100.10', v6: '2001:db8:ff::10' });
  const a = home('a', '10.20.0.0/24', '198.51.100.20');
  const b = home('b', '10.21.0.0/24', '203.0.113.21');
  const c = lab.host('c', internet, { v6: '2001:db8:c::10' });

  progress('cloud: making the network lab.example and serving it on 198.51.100.10 and 2001:db8:ff::10');
  const network = await Network.start(lab, cloud);
  const nodes: Node[] = [];
  for (const [host, where] of [
    [a, 'behind a NAT, IPv4 only'],
    [b, 'behind another NAT, IPv4 only'],
    [c, 'IPv6 only'],
  ] as const) {
    const from = performance.now();
    const node = await network.addNode(host);
    nodes.push(node);
    progress(`${node.fqdn}: online after ${Math.round(performance.now() - from)} ms, ${where}`);
  }
  const missing = ['udhcpc', 'wpa_supplicant'].filter((tool) => !succeeds(['sh', '-c', `command -v ${tool}`]));
  if (missing.length > 0) {
    progress(`no adapter, as its devices lack ${missing.join(' and ')}`);
    return { nodes, devices: [] };
  }
  const plant = site('plant', '10.22.0.0/24', '203.0.113.22');
  return { nodes, devices: await buildPlant(lab, await Adapter.add(lab, network, 'gateway', plant)) };
}

/** An adapter's devices: they have a DHCP client, and the robot a supplicant. */
async function buildPlant(lab: Lab, adapter: Adapter): Promise<readonly Device[]> {
  progress(`${adapter.fqdn}: an adapter behind a third NAT`);
  const [camera, robot] = [adapter.device('camera'), adapter.device('robot')];
  await adapter.register(camera);
  await camera.dhcp();
  const password = 'correct horse';
  await adapter.register(robot, [
    '--auth',
    'password',
    '--password-file',
    secretFile(lab, 'password', `${password}\n`),
  ]);
  const ca = await adapter.command(['adapter', 'ca', '--json']);
  const { name: server, certificate: root } = JSON.parse(ca.stdout) as { name: string; certificate: string };
  const supplication = { identity: robot.deviceId, root, server, password };
  await new WpaSupplicant(robot.host, lab.directory, supplication).saw('SUCCESS');
  await robot.dhcp();
  for (const [device, how] of [
    [camera, 'by its MAC address'],
    [robot, 'by 802.1X with a password'],
  ] as const) {
    const { vip4 } = await device.is('active');
    progress(`${device.fqdn}: let in ${how}, and given ${vip4} by DHCP`);
  }
  return [camera, robot];
}

/** `relay, then direct` for a pair that found a better way while it talked. */
function describePath(result: PingResult): string {
  const paths = result.replies.map((reply) => reply.path).filter((path, i, all) => path !== all[i - 1]);
  return `${paths.join(', then ')} (${result.replies.at(-1)?.endpoint})`;
}

/** One row of the table; null if the pair could not talk. */
async function talk(from: Node, to: Node): Promise<Row | null> {
  try {
    const result = await from.ping(to.fqdn, ['-c', '4']);
    await from.systemPing(to.fqdn);
    await to.systemPing(from.fqdn);
    if (result.received === 0) throw new Error('no reply');
    const [here, there] = await Promise.all([from.status(), to.status()]);
    const last = result.replies.at(-1)?.rttMs ?? 0;
    return [
      `${from.deviceId} - ${to.deviceId}`,
      `${here.vip4} - ${there.vip4}`,
      describePath(result),
      `${last.toFixed(2)} ms`,
    ];
  } catch (error) {
    progress(`${from.deviceId} and ${to.deviceId} do not talk: ${error instanceof Error ? error.message : error}`);
    return null;
  }
}

/** The same for a device, which has nothing but the system's ping. */
async function talkAs(device: Device, to: Node): Promise<Row | null> {
  try {
    const output = await device.host.run(['ping', '-4', '-c', '4', '-i', '0.3', '-W', '4', to.fqdn]);
    const { vip4, peers } = await device.is('active');
    const peer = peers.find(({ fqdn }) => fqdn === to.fqdn);
    const roundTrips = [...output.matchAll(/time=([\d.]+) ms/g)].map(([, time]) => Number(time));
    return [
      `${device.deviceId} - ${to.deviceId}`,
      `${vip4} - ${peer?.vip4}`,
      `${peer?.path} (${peer?.endpoint})`,
      `${Math.min(...roundTrips).toFixed(2)} ms`,
    ];
  } catch (error) {
    progress(`${device.deviceId} and ${to.deviceId} do not talk: ${error instanceof Error ? error.message : error}`);
    return null;
  }
}

function printTable(rows: readonly Row[]): void {
  const all: readonly Row[] = [['pair', 'virtual addresses', 'path', 'round trip'], ...rows];
  const widths = all[0]!.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  for (const row of all)
    console.log(`  ${row.map((cell, column) => cell.padEnd(widths[column]!)).join('   ')}`.trimEnd());
}

function explain(nodes: readonly Node[]): void {
  const [a, b] = nodes as readonly [Node, Node];
  const cyphonic = fileURLToPath(new URL('../bin/cyphonic', import.meta.url));
  // Without root the namespaces are in a user namespace of this process, to be entered first.
  const enter =
    process.env.CYPHONIC_USERNS === undefined ? '' : `nsenter --preserve-credentials -U -m -t ${process.pid} `;
  console.log(`
Look around from another terminal:
  ${cyphonic} status --state ${a.state}
  ${cyphonic} ping ${b.fqdn} --state ${a.state}
  ${enter}ip netns exec ${a.host.name} ping ${b.fqdn}
  ${enter}ip netns exec ${a.host.name} sh
Ctrl-C ends it all and leaves nothing behind.`);
}

async function main(args: readonly string[]): Promise<number> {
  if (args.some((arg) => arg !== '--once')) {
    console.error('usage: npm start [-- --once]');
    return 2;
  }
  const reason = whyNoLab();
  if (reason !== null) {
    console.error(`no network namespaces here: ${reason}; run as root, or allow unprivileged user namespaces`);
    return 1;
  }
  const lab = new Lab('demo');
  try {
    const { nodes, devices } = await build(lab);
    const [a, b, c] = nodes as readonly [Node, Node, Node];
    progress('every pair pings by name, both ways');
    const rows = await Promise.all([
      ...[talk(a, b), talk(a, c), talk(b, c)],
      ...devices.flatMap((device) => [talkAs(device, a), talkAs(device, c)]),
    ]);
    const talking = rows.filter((row) => row !== null);
    console.log();
    printTable(talking);
    if (talking.length < rows.length) {
      console.error(lab.report());
      return 1;
    }
    if (args.includes('--once')) return 0;
    explain(nodes);
    // The laboratory ends the process at a signal, which is no failure here.
    process.exitCode = 0;
    setInterval(() => {}, 1 << 30);
    return await new Promise<number>(() => {});
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${lab.report()}`);
    return 1;
  } finally {
    await lab.close();
  }
}

process.exitCode = await main(process.argv.slice(2));
