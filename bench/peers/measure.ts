/** One tunnel, measured with the tools everybody has: iperf3 and ping. */

import { until } from '../../test/lab/toolkit/command.ts';
import type { Host } from '../../test/lab/toolkit/lab.ts';
import type { Program } from '../../test/lab/toolkit/program.ts';
import { cpuSeconds, residentMiB } from '../process-figures.ts';
import type { Site, Tunnel } from './peer.ts';

export type Measure = {
  readonly key: string;
  readonly title: string;
  readonly unit: string;
  /** Whether more is better. */
  readonly more: boolean;
  readonly digits: number;
};

export const measures = [
  { key: 'tcp1', title: 'TCP, 1 stream', unit: 'Mbit/s', more: true, digits: 0 },
  { key: 'tcp1Reverse', title: 'TCP, 1 stream, reverse', unit: 'Mbit/s', more: true, digits: 0 },
  { key: 'tcp4', title: 'TCP, 4 streams', unit: 'Mbit/s', more: true, digits: 0 },
  { key: 'tcp4Reverse', title: 'TCP, 4 streams, reverse', unit: 'Mbit/s', more: true, digits: 0 },
  { key: 'udp64', title: 'UDP, 64 octets, received', unit: '1/s', more: true, digits: 0 },
  { key: 'udp1300', title: 'UDP, 1,300 octets, received', unit: '1/s', more: true, digits: 0 },
  { key: 'ping', title: 'ping, idle, average', unit: 'ms', more: false, digits: 3 },
  { key: 'pingP99', title: 'ping, idle, 99th percentile', unit: 'ms', more: false, digits: 3 },
  { key: 'loadedPing', title: 'ping under TCP load, average', unit: 'ms', more: false, digits: 2 },
  { key: 'loadedPingP99', title: 'ping under TCP load, 99th percentile', unit: 'ms', more: false, digits: 2 },
  { key: 'cpuPerGigabyte', title: 'CPU of all daemons per gigabyte of TCP', unit: 's', more: false, digits: 2 },
  { key: 'memory', title: 'resident memory of the first daemon', unit: 'MiB', more: false, digits: 0 },
] as const satisfies readonly Measure[];

export type MeasureKey = (typeof measures)[number]['key'];
export type Values = Partial<Record<MeasureKey, number>>;

/** What is run in one go; the table's rows come from them. */
export const trials = {
  tcp1: (on) => tcp(on, [], { cpu: true }),
  tcp1Reverse: async (on) => ({ tcp1Reverse: (await tcp(on, ['-R'])).tcp1 }),
  tcp4: async (on) => ({ tcp4: (await tcp(on, ['-P', '4'])).tcp1 }),
  tcp4Reverse: async (on) => ({ tcp4Reverse: (await tcp(on, ['-P', '4', '-R'])).tcp1 }),
  udp64: async (on) => ({ udp64: await udp(on, 64) }),
  udp1300: async (on) => ({ udp1300: await udp(on, 1300) }),
  ping: async (on) => {
    const [average, p99] = await ping(on, 0.005);
    return { ping: average, pingP99: p99, memory: residentOf(on.tunnel) };
  },
  loadedPing: async (on) => {
    const load = tcp({ ...on, seconds: on.seconds + 1 }, []);
    const [average, p99] = await ping(on, 0.01);
    await load;
    return { loadedPing: average, loadedPingP99: p99 };
  },
} as const satisfies Record<string, (on: Trial) => Promise<Values>>;

export type Trial = { readonly site: Site; readonly tunnel: Tunnel; readonly seconds: number };

type Sum = { bits_per_second: number; bytes: number; packets: number; lost_packets: number; seconds: number };
type Report = { readonly error?: string; readonly end: { readonly sum_received?: Sum; readonly sum?: Sum } };

async function iperf({ site, tunnel, seconds }: Trial, flags: readonly string[]): Promise<Sum> {
  const [client, server] = site.hosts;
  const { address } = tunnel;
  const listener = server.spawn(['iperf3', '-s', '-1', '-B', address, '--forceflush'], { input: '' });
  try {
    await listener.output(/Server listening/);
    const program = client.spawn(['iperf3', '-c', address, '-t', String(seconds), '-J', ...flags], { input: '' });
    await program.ended(1000 * seconds + 20_000);
    const report = JSON.parse(program.stdout) as Report;
    const sum = report.end.sum_received ?? report.end.sum;
    if (report.error !== undefined || sum === undefined) throw new Error(report.error ?? 'iperf3 told no sum');
    return sum;
  } finally {
    await listener.stop(100);
    forget(server, listener);
  }
}

/** A finished program's output is not wanted any more. */
function forget(host: Host, program: Program): void {
  host.programs.splice(host.programs.indexOf(program), 1);
}

async function tcp(on: Trial, flags: readonly string[], { cpu = false } = {}): Promise<{ tcp1: number } & Values> {
  const before = cpuSeconds(on.tunnel.daemons);
  const sum = await iperf(on, flags);
  const spent = cpuSeconds(on.tunnel.daemons) - before;
  return { tcp1: sum.bits_per_second / 1e6, ...(cpu ? { cpuPerGigabyte: spent / (sum.bytes / 1e9) } : {}) };
}

async function udp(on: Trial, octets: number): Promise<number> {
  const sum = await iperf(on, ['-u', '-b', '0', '-l', String(octets)]);
  return (sum.packets - sum.lost_packets) / sum.seconds;
}

/** Average and 99th percentile in milliseconds. */
async function ping({ site, tunnel, seconds }: Trial, intervalS: number): Promise<[number, number]> {
  const count = Math.ceil(seconds / intervalS);
  const argv = ['ping', '-n', '-c', String(count), '-i', String(intervalS), '-W', '1', tunnel.address];
  const program = site.hosts[0].spawn(argv, { input: '' });
  await program.ended(1000 * seconds + 20_000);
  const times = [...program.stdout.matchAll(/time=([\d.]+) ms/g)].map(([, ms]) => Number(ms)).sort((a, b) => a - b);
  forget(site.hosts[0], program);
  if (times.length < count / 2) throw new Error(`${times.length} of ${count} pings were answered`);
  const average = times.reduce((sum, ms) => sum + ms, 0) / times.length;
  return [average, times[Math.floor(0.99 * times.length)] ?? average];
}

/** Of the first daemon; the bare link has none. */
function residentOf({ daemons: [first] }: Tunnel): number {
  return first === undefined ? 0 : residentMiB(first);
}

/** Waits until the tunnel carries packets. */
export async function answers({ hosts }: Site, address: string): Promise<void> {
  await until(
    async () => {
      const program = hosts[0].spawn(['ping', '-n', '-c', '1', '-W', '1', address], { input: '' });
      const { code } = await program.ended();
      forget(hosts[0], program);
      return code === 0;
    },
    // fastd tries again after 20 s when both ends began at once.
    { what: `an answer from ${address}`, intervalMs: 200, timeoutMs: 60_000 },
  );
}
