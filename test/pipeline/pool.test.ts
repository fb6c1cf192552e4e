import { describe, expect, it } from 'vitest';
import { silentLog } from '../../src/lib/log.ts';
import { Ip4 } from '../../src/net/packet.ts';
import { Opener, OpenField, Sealer, SealField } from '../../src/pipeline/handling.ts';
import { boardMemory, FIELDS, JobHands } from '../../src/pipeline/jobs.ts';
import { Pool } from '../../src/pipeline/pool.ts';
import { bestWorkers, trial } from '../../src/pipeline/trial.ts';
import { largeTcpPacket } from '../../src/pipeline/warmup.ts';
import { HEADER_LENGTH } from '../../src/proto/constants.ts';
import { VIRTIO_HEADER } from '../../src/sys/tun.ts';
import { connectedPair, datagrams, installKey, PATH } from './pair.ts';

/** A large write to a TCP socket, from node 1 to node 2. */
function overlayPacket(): Uint8Array {
  const packet = largeTcpPacket();
  packet.set([100, 80, 0, 1, 100, 80, 0, 2], VIRTIO_HEADER + Ip4.source);
  return packet;
}

describe('a pool', () => {
  it.each([1, 3])('of %i workers sends in the order of arrival', async (workers) => {
    const result = await trial({ workers, milliseconds: 200, log: silentLog });
    expect(result.reordered).toBe(0);
    expect(result.datagramsPerSecond).toBeGreaterThan(0);
  });

  it('replaces a worker that dies', async () => {
    const said: string[] = [];
    const pool = new Pool(2, { ...silentLog, error: (text) => void said.push(text) });
    await pool.ready;
    const begun = new Int32Array(pool.memory.work);
    const [first] = pool.threads;
    await first?.terminate();
    while (Atomics.load(begun, 2) < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(said).toEqual(['a worker died and is replaced']);
    await pool.stop();
  });

  it('keeps every packet of a job to what its path carries, and changes keys in between', async () => {
    const [sealers, openers] = [new Pool(2, silentLog), new Pool(2, silentLog)];
    await Promise.all([sealers.ready, openers.ready]);
    const { a, b } = connectedPair({}, [{ pool: sealers.memory }, { pool: openers.memory }]);
    const mtu = 600;
    a.command({ do: 'setMtu', pathId: PATH, mtu });
    const reads = Array.from({ length: 6 }, () => overlayPacket());
    for (let epoch = 2; epoch < 12; epoch++) {
      for (const [host, end] of [a, b].entries()) {
        installKey(end, host + 1, { epoch, suite: 1 + (epoch % 3) });
        end.command({ do: 'retireKey', pathId: PATH, epoch: epoch - 1 });
      }
      const runs = a.send(...reads);
      for (const { length } of datagrams(runs)) expect(length).toBeLessThan(HEADER_LENGTH + mtu + 64);
      expect(b.receive(runs).length).toBeGreaterThan(0);
    }
    expect([a.drops, b.drops]).toEqual([{}, {}]);
    expect(b.traffic.rxPackets).toBe(a.traffic.txPackets);
    await Promise.all([sealers.stop(), openers.stop()]);
  });

  it('ends when it is told to, also before it is up', async () => {
    await new Pool(2, silentLog).stop();
  });
});

describe('workers: auto', () => {
  it('takes none or as many as it tried', async () => {
    let tried = Number.NaN;
    const log = { ...silentLog, info: (_: string, fields?: object) => void ({ tried } = fields as { tried: number }) };
    const chosen = await bestWorkers(log);
    expect([0, tried]).toContain(chosen);
  });
});

it.each([SealField, OpenField])('every field of a job has a place of its own in its record: %o', (fields) => {
  const places = Object.values<number>(fields);
  expect(new Set(places).size).toBe(places.length);
  expect(Math.max(...places)).toBeLessThan(FIELDS);
});

it('handling finds nothing to do on an empty board', () => {
  const board = boardMemory(1);
  expect(new Sealer(board, 0).handle()).toBe(false);
  expect(new Opener(board, 0).handle()).toBe(false);
  expect(new JobHands(board, 0).take()).toBe(-1);
});
