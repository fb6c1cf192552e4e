/**
 * `npm run bench:adapter -- [--devices 5] [--least 1] [--workers 1,2,4,8] [--seconds 5] [--rounds 1] [--capture pcap] [--crowd 200]`: the thesis's experiment with general nodes.
 * One to five devices behind an adapter talk at the same time to a node behind another NAT, directly: total and each
 * device's throughput, fairness, round trip and jitter. Beside them, in the same run, a node at the adapter's place, also with
 * as many streams in its one path, which nothing of ours could treat differently: what TCP and the scheduler make of it. With
 * `--crowd 200` instead: so many devices plugged in at once, the time until all have an address and reach the node, the
 * adapter's memory, and what adapter and node take of a processor when all are idle.
 */

import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Adapter, type Device } from '../test/lab/toolkit/adapter.ts';
import { until } from '../test/lab/toolkit/command.ts';
import { type Host, Lab, whyNoLab } from '../test/lab/toolkit/lab.ts';
import type { Namespace } from '../test/lab/toolkit/namespace.ts';
import type { Node, PeerStatus } from '../test/lab/toolkit/network.ts';
import { smallNetwork } from '../test/lab/toolkit/small.ts';
import { cpuSeconds, residentMiB, threadFigures } from './process-figures.ts';

const { values: flags } = parseArgs({
  options: {
    devices: { type: 'string', default: '5' },
    least: { type: 'string', default: '1' },
    workers: { type: 'string', default: '1,2,4,8' },
    seconds: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '1' },
    capture: { type: 'string', default: 'packet' },
    crowd: { type: 'string' },
  },
});
const most = Number(flags.devices);
const least = Number(flags.least);
const seconds = Number(flags.seconds);
const rounds = Number(flags.rounds);
/** Thesis: 30 Mbit/s offered by each device. */
const OFFERED = '30M';
const FIRST_PORT = 5_201;
const QUIET_MS = 20_000;
const IDLE_MS = 60_000;

type Sum = { readonly bits_per_second: number; readonly jitter_ms?: number };

async function iperf(from: Namespace, to: Host, address: string, port: number, words: readonly string[]): Promise<Sum> {
  const server = to.spawn(['iperf3', '-s', '-1', '-p', String(port), '--forceflush'], { input: '' });
  try {
    await server.output(/Server listening/);
    // The first second, in which flows start one after the other, does not count.
    const client = ['iperf3', '-c', address, '-p', String(port), '-t', String(seconds), '-O', '1', '-J', ...words];
    const { end, error } = JSON.parse(await from.run(client));
    if (error !== undefined) throw new Error(error);
    return end.sum_received ?? end.sum;
  } finally {
    await server.stop(100);
  }
}

/** Average round trip in milliseconds. */
async function roundTrip(from: Namespace, address: string): Promise<number> {
  const said = await from.run(['ping', '-n', '-i', '0.02', '-c', String(seconds * 25), '-W', '2', address]);
  return Number(/= [\d.]+\/([\d.]+)\//.exec(said)?.[1]);
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]): number => sum(values) / values.length;
/** Jain's index: 1 = all alike. */
const fairness = (values: readonly number[]): number =>
  sum(values) ** 2 / (values.length * sum(values.map((value) => value ** 2)));
const megabits = ({ bits_per_second }: Sum): number => bits_per_second / 1e6;

function direct(peers: readonly PeerStatus[], peer: Node): boolean {
  const found = peers.find(({ fqdn }) => fqdn === peer.fqdn);
  return found?.state === 'up' && found.path === 'direct';
}

function atOnce(hosts: readonly Namespace[], peer: Node, address: string, words: readonly string[]): Promise<Sum[]> {
  return Promise.all(hosts.map((host, i) => iperf(host, peer.host, address, FIRST_PORT + i, words)));
}

/** TCP of all at once, several times: total, means of each, mean and range of the index, index of the means. */
async function share(hosts: readonly Namespace[], peer: Node, address: string): Promise<string[]> {
  const results: number[][] = [];
  for (let round = 0; round < rounds; round++) results.push((await atOnce(hosts, peer, address, [])).map(megabits));
  const each = hosts.map((_, i) => mean(results.map((values) => values[i]!)));
  const indices = results.map(fairness);
  const range = [Math.min(...indices), Math.max(...indices)].map((value) => value.toFixed(3)).join('–');
  return [
    sum(each).toFixed(0),
    each.map((value) => value.toFixed(0)).join(' '),
    rounds === 1 ? mean(indices).toFixed(3) : `${mean(indices).toFixed(3)} (${range})`,
    fairness(each).toFixed(3),
  ];
}

async function measure(devices: readonly Device[], peer: Node, address: string): Promise<string[]> {
  const hosts = devices.map(({ host }) => host);
  const idle = await roundTrip(hosts[0]!, address);
  const tcp = await share(hosts, peer, address);
  const [udp, loaded] = await Promise.all([
    atOnce(hosts, peer, address, ['-u', '-b', OFFERED, '-l', '1300']),
    roundTrip(hosts[0]!, address),
  ]);
  const jitter = mean(udp.map(({ jitter_ms = 0 }) => jitter_ms));
  return [
    ...tcp,
    udp.map((value) => megabits(value).toFixed(1)).join(' '),
    jitter.toFixed(2),
    idle.toFixed(2),
    loaded.toFixed(2),
  ];
}

/** A device gets an address and reaches the node; it asks again where its client gave up. */
async function join(device: Device, address: string): Promise<void> {
  for (let tries = 5; ; tries--) {
    try {
      await device.dhcp();
      await device.host.run(['ping', '-n', '-c', '1', '-w', '60', address]);
      return;
    } catch (error) {
      if (tries === 0) throw error;
    }
  }
}

async function crowd(adapter: Adapter, peer: Node, address: string, count: number): Promise<void> {
  const before = residentMiB(adapter.daemon.pid);
  const devices = Array.from({ length: count }, (_, i) => adapter.device(`device${i}`));
  for (const device of devices) await adapter.register(device);
  const began = performance.now();
  const waits: number[] = [];
  await Promise.all(
    devices.map(async (device) => {
      await join(device, address);
      waits.push((performance.now() - began) / 1_000);
    }),
  );
  waits.sort((a, b) => a - b);
  const half = waits[Math.floor(count / 2)]!;
  console.log(
    `${count} devices at once: half of them served in ${half.toFixed(1)} s, all in ${waits.at(-1)!.toFixed(1)} s`,
  );
  const { generalNodes } = await adapter.status();
  console.log(`active: ${generalNodes.filter(({ state }) => state === 'active').length}`);
  console.log(
    `memory of the adapter, MiB: ${before.toFixed(0)} before, ${residentMiB(adapter.daemon.pid).toFixed(0)} with all`,
  );
  // Streams of probes after the last packet have ended by then.
  await setTimeout(QUIET_MS);
  const both = Object.entries({ 'the node they all talked to': peer, 'the adapter': adapter });
  const spent = await Promise.all(both.map(([, { daemon }]) => idle(daemon.pid)));
  both.forEach(([name], i) => {
    console.log(`idle, with paths for ${count} devices, ${name} takes ${spent[i]}`);
  });
}

/** What a process takes while nothing is asked of it, and each of its threads that does anything. */
async function idle(pid: number): Promise<string> {
  const [cpu, before] = [cpuSeconds([pid]), threadFigures(pid)];
  await setTimeout(IDLE_MS);
  const share = (spent: number): string => `${((100_000 * spent) / IDLE_MS).toFixed(2)} %`;
  const threads = [...threadFigures(pid)].map(([id, now]) => {
    const then = before.get(id) ?? { cpuSeconds: 0, sleeps: 0 };
    const wakings = ((1_000 * (now.sleeps - then.sleeps)) / IDLE_MS).toFixed(1);
    return `${now.name} ${share(now.cpuSeconds - then.cpuSeconds)}, woken ${wakings} times a second`;
  });
  return `${share(cpuSeconds([pid]) - cpu)} of a processor (${threads.join('; ')})`;
}

async function main(lab: Lab): Promise<void> {
  const { internet, network } = await smallNetwork(lab, []);
  const home = lab.lan('home', { subnet4: '10.20.0.0/24' });
  lab.router('home-nat', { outside: internet, inside: home, nat: 'port-restricted', v4: '203.0.113.1' });
  const office = lab.lan('office', { subnet4: '10.30.0.0/24' });
  lab.router('office-nat', { outside: internet, inside: office, nat: 'port-restricted', v4: '203.0.113.2' });
  const peer = await network.addNode(lab.host('peer', home));
  const node = await network.addNode(lab.host('node', office));
  const address = String((await peer.status()).vip4);
  await node.systemPing(address);
  await node.reaches(peer, 'direct');
  const whole = megabits(await iperf(node.host, peer.host, address, FIRST_PORT, []));
  console.log(`node to node, TCP: ${whole.toFixed(0)} Mbit/s`);
  if (flags.crowd === undefined) {
    console.log('| streams of the node | TCP in all, Mbit/s | each | fairness | of the means |');
    console.log('| --- | --- | --- | --- | --- |');
    for (let count = Math.max(2, least); count <= most; count++) {
      const cells = await share(new Array<Host>(count).fill(node.host), peer, address);
      console.log(`| ${[count, ...cells].join(' | ')} |`);
    }
  }
  await node.daemon.stop();

  const adapter = await Adapter.add(lab, network, 'adapter', office);
  if (flags.crowd !== undefined) return crowd(adapter, peer, address, Number(flags.crowd));
  const devices: Device[] = [];
  for (let i = 0; i < most; i++) {
    const device = adapter.device(`device${i}`);
    await adapter.register(device);
    await device.dhcp();
    devices.push(device);
  }
  console.log(
    '| workers | devices | TCP in all, Mbit/s | each | fairness | of the means | UDP at 30 Mbit/s each | jitter, ms | round trip idle, ms | under load |',
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |');
  for (const workers of flags.workers.split(',')) {
    await adapter.daemon.stop();
    await adapter.up(['--workers', workers, '--capture', flags.capture]);
    for (const device of devices) {
      // What a device sends before it is let in again is not kept.
      await device.host.run(['ping', '-n', '-c', '1', '-w', '20', address]);
      await until(async () => direct((await device.status())?.peers ?? [], peer), {
        what: `a direct path from ${device.deviceId}`,
        intervalMs: 200,
      });
    }
    for (let count = least; count <= devices.length; count++) {
      const cells = await measure(devices.slice(0, count), peer, address);
      console.log(`| ${[workers, count, ...cells].join(' | ')} |`);
    }
  }
}

const reason = whyNoLab();
if (reason !== null) throw new Error(`no laboratory: ${reason}`);
const lab = new Lab('adapter-bench');
try {
  await main(lab);
} finally {
  await lab.close();
}
