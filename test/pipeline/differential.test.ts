/** The fast path against the slow one (`reference.ts`): any traffic gives the same packets on the far side, whichever end is which. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentLog } from '../../src/lib/log.ts';
import { Pool } from '../../src/pipeline/pool.ts';
import type { Suite } from '../../src/proto/constants.ts';
import type { DatagramRun } from '../../src/sys/edges.ts';
import { encodeSockaddr } from '../../src/sys/sockaddr.ts';
import fc from '../support/property.ts';
import { mixedTraffic } from './mixed-traffic.ts';
import { connectedPair, datagrams, type End, keyOf, PATH, real } from './pair.ts';
import { packetsOf, ReferenceReceiver, ReferenceSender } from './reference.ts';

type Outer = { readonly datagram: Uint8Array; readonly tos: number };

/** Datagrams of one size one behind the other become one message, as the kernel's receive offload makes it. */
function together(sent: readonly Outer[]): DatagramRun[] {
  const groups: Outer[][] = [];
  for (const outer of sent) {
    const last = groups.at(-1);
    const [first] = last ?? [];
    const fits =
      last !== undefined &&
      first !== undefined &&
      first.tos === outer.tos &&
      last.at(-1)!.datagram.length === first.datagram.length &&
      outer.datagram.length <= first.datagram.length &&
      last.length < 64 &&
      (last.length + 1) * first.datagram.length <= 65_000;
    if (fits) last.push(outer);
    else groups.push([outer]);
  }
  return groups.map((group) => {
    const [{ datagram, tos }] = group as [Outer];
    const octets = new Uint8Array(group.reduce((sum, each) => sum + each.datagram.length, 0));
    for (const [i, each] of group.entries()) octets.set(each.datagram, i * datagram.length);
    return { octets, segment: datagram.length, address: encodeSockaddr(real(1)), tos };
  });
}

const outers = (runs: readonly DatagramRun[]): Outer[] =>
  runs.flatMap((run) => datagrams([run]).map((datagram) => ({ datagram, tos: run.tos ?? 0 })));
const singles = (sent: readonly Outer[]): DatagramRun[] => sent.map((outer) => together([outer])[0]!);

/** Packets by flow, in the order of each: the receiver may put flows behind each other, not packets of one. */
function byFlow(packets: readonly Uint8Array[]): Record<string, string[]> {
  const flows: Record<string, string[]> = {};
  for (const packet of packets) {
    const v4 = packet[0]! >> 4 === 4;
    const protocol = packet[v4 ? 9 : 6]!;
    const plain =
      (v4 ? packet[0] === 0x45 && (packet[6]! & 0x3f) === 0 && packet[7] === 0 : true) && packet.length >= 28;
    const key =
      plain && (protocol === 6 || protocol === 17)
        ? `${protocol} ${packet.slice(v4 ? 20 : 40, v4 ? 24 : 44).toHex()} ${v4}`
        : 'others';
    (flows[key] ??= []).push(packet.toHex());
  }
  return flows;
}

/** What was dropped, by reason. */
const counted = (answers: readonly unknown[]): Record<string, number> => {
  const words = answers.filter((answer) => typeof answer === 'string');
  return Object.fromEntries(words.map((word) => [word, words.filter((other) => other === word).length]));
};
const passed = <T extends object>(answers: readonly (T | string)[]): T[] =>
  answers.filter((answer) => typeof answer !== 'string');
const hex = ({ datagram, tos }: Outer): string => `${tos} ${datagram.toHex()}`;

/** New drops of an end since the last call. */
function dropsOf(end: End): () => Record<string, number> {
  let before: Record<string, number> = {};
  return () => {
    const now = end.drops;
    const fresh = Object.entries(now).map(([word, count]) => [word, count - (before[word] ?? 0)] as const);
    before = now;
    return Object.fromEntries(fresh.filter(([, count]) => count > 0));
  };
}

describe('the fast path and the slow one', () => {
  const pools: Pool[] = [];
  beforeAll(async () => {
    pools.push(new Pool(2, silentLog), new Pool(2, silentLog));
    for (const pool of pools) await pool.ready;
  });
  afterAll(async () => {
    for (const pool of pools) await pool.stop();
  });

  it.each([
    { suite: 2, partialChecksum: false, ecn: false, offload: true, workers: false },
    { suite: 2, partialChecksum: true, ecn: true, offload: true, workers: false },
    { suite: 3, partialChecksum: true, ecn: true, offload: false, workers: false },
    { suite: 1, partialChecksum: true, ecn: true, offload: true, workers: false },
    { suite: 2, partialChecksum: true, ecn: true, offload: true, workers: true },
  ] as const)('carry the same packets: %o', ({ suite, partialChecksum, ecn, offload, workers }) => {
    const receiving = { offload: { tcp: offload, udp: offload } };
    const [first, second] = pools.map((pool) => (workers ? { pool: pool.memory } : {}));
    const { a, b } = connectedPair({ suite, partialChecksum, ecn }, [first ?? {}, { ...receiving, ...second }]);
    // Its twin gets what the slow sender made: a capsule is taken once.
    const twin = connectedPair({ suite, partialChecksum, ecn }, [{}, receiving]).b;
    const common = { suite: suite as Suite, pathId: PATH, epoch: 1, key: keyOf(1, 1), partialChecksum, ecn };
    const slow = { sender: new ReferenceSender(common), receiver: new ReferenceReceiver(common) };
    const fresh = { a: dropsOf(a), b: dropsOf(b), twin: dropsOf(twin) };
    fc.assert(
      fc.property(mixedTraffic, fc.boolean(), fc.nat(0xffffff), (reads, whole, seed) => {
        // Out: the same datagrams, octet by octet, where the suite has no random IV.
        const made = outers(a.send(...reads));
        const answers = reads.map((read) => slow.sender.send(read));
        const twinMade = passed(answers).flat();
        expect(fresh.a()).toEqual(counted(answers));
        if (suite !== 1) expect(made.map(hex)).toEqual(twinMade.map(hex));
        else
          expect(made.map(({ datagram }) => datagram.length)).toEqual(twinMade.map(({ datagram }) => datagram.length));

        // On the way: routers mark congestion where they may, and less likely things happen to the field.
        const marked = (sent: readonly Outer[]): Outer[] =>
          sent.map((outer, i) => ({
            ...outer,
            tos: ecn && (seed >> (i % 20)) % 8 < 2 ? 3 - 2 * ((seed >> (i % 20)) % 8) : outer.tos,
          }));
        const runs = (sent: readonly Outer[]): DatagramRun[] => (whole ? together(sent) : singles(sent));

        // In: the same packets, whoever sealed and whoever opens, and the same ones refused.
        const received = marked(made).map((outer) => slow.receiver.receive(outer));
        const expected = byFlow(passed(received));
        const refused = counted(received);
        const split = (written: readonly Uint8Array[]) =>
          byFlow(written.flatMap((read) => packetsOf(read)!.map(({ packet }) => packet)));
        expect(split(b.receive(runs(marked(made))))).toEqual(expected);
        expect(fresh.b()).toEqual(refused);
        expect(split(twin.receive(runs(marked(twinMade))))).toEqual(expected);
        expect(fresh.twin()).toEqual(refused);

        // Nothing but the marks changed between the two devices.
        if (ecn) return;
        const sent = reads.flatMap((read, i) => (typeof answers[i] === 'string' ? [] : packetsOf(read)!));
        expect(expected).toEqual(byFlow(sent.map(({ packet }) => packet)));
      }),
      { numRuns: 40 },
    );
  });
});
