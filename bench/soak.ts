/**
 * `npm run soak [minutes]` (10): two nodes at full rate, TCP both ways and UDP. Fails if a node's memory keeps growing, if
 * its garbage collector or handles do, or if packets in and packets out and counted drops don't add up.
 */

import { Lab, whyNoLab } from '../test/lab/toolkit/lab.ts';
import type { Node, PeerStatus } from '../test/lab/toolkit/network.ts';
import { smallNetwork } from '../test/lab/toolkit/small.ts';
import { DATAGRAMS_A_BUFFER, socketDrops } from '../test/lab/toolkit/socket-drops.ts';
import { residentMiB } from './process-figures.ts';

const minutes = Number(process.argv[2] ?? 10);
/** Octets per stretch of traffic are looked at in this many steps; growth is judged after the first. */
const STRETCHES = 10;
const GROWTH_MIB = 24;

const resident = ({ daemon }: Node): number => residentMiB(daemon.pid);

async function flows(from: Node, to: Node, address: string, seconds: number): Promise<number> {
  const kinds = [[], ['-R', '-P', '4'], ['-u', '-b', '0', '-l', '64'], ['-u', '-b', '0', '-l', '1300']];
  let octets = 0;
  for (const flags of kinds) {
    const server = to.host.spawn(['iperf3', '-s', '-1', '-B', address, '--forceflush'], { input: '' });
    await server.output(/Server listening/);
    const argv = [
      'iperf3',
      '-J',
      '-c',
      address,
      '-t',
      String(Math.max(1, Math.round(seconds / kinds.length))),
      ...flags,
    ];
    const program = from.host.spawn(argv, { input: '' });
    await program.ended(1000 * seconds + 30_000);
    octets += JSON.parse(program.stdout).end.sum_received?.bytes ?? 0;
    await server.stop(500);
    for (const { host } of [from, to])
      host.programs.splice(0, host.programs.length, ...host.programs.filter((p) => p.exit === null));
  }
  return octets;
}

async function peerOf(node: Node, other: Node): Promise<PeerStatus> {
  const peer = await node.peer(other);
  if (peer === undefined) throw new Error(`${node.deviceId} has forgotten ${other.deviceId}`);
  return peer;
}

const reason = whyNoLab();
if (reason !== null) throw new Error(`no laboratory: ${reason}`);
const lab = new Lab('soak');
const complaints: string[] = [];
try {
  const { a, b } = (await smallNetwork(lab, ['a', 'b'])).nodes;
  await a.systemPing(b.fqdn);
  const address = String((await b.status()).vip4);
  const memory: number[][] = [];
  let octets = 0;
  for (let stretch = 1; stretch <= STRETCHES; stretch++) {
    octets += await flows(a, b, address, (minutes * 60) / STRETCHES);
    memory.push([a, b].map(resident));
    console.log(
      `${stretch}/${STRETCHES}: ${(octets / 2 ** 30).toFixed(1)} GiB, ${memory
        .at(-1)!
        .map((m) => m.toFixed(0))
        .join(' and ')} MiB`,
    );
  }
  for (const [i, name] of ['a', 'b'].entries()) {
    const grown = memory.at(-1)![i]! - memory[Math.min(2, STRETCHES - 2)]![i]!;
    if (grown > GROWTH_MIB) complaints.push(`${name} grew by ${grown.toFixed(0)} MiB`);
  }
  // What is under way arrives, and the daemons count again.
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    const sent = (await peerOf(from, to)).tx.packets;
    const { rx } = await peerOf(to, from);
    const counters = (await to.status()).counters;
    const socket = socketDrops(to.host);
    const missing = sent - rx.packets - rx.rejected - rx.replayed - (counters['drop-unknown-epoch'] ?? 0);
    console.log(
      `${from.deviceId} to ${to.deviceId}: ${sent} sent, ${rx.packets} received, ${rx.dropped} not written, ${rx.rejected} rejected, ${rx.replayed} replayed, ${socket} buffers dropped by the full socket`,
    );
    if (missing < socket || missing > DATAGRAMS_A_BUFFER * socket)
      complaints.push(`${missing} packets are not accounted for`);
  }
} finally {
  await lab.close();
}
for (const complaint of complaints) console.error(complaint);
process.exitCode = complaints.length === 0 ? 0 : 1;
