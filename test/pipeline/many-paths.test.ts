/** More paths than a thread has contexts for keys: each packet is sealed and opened with its own path's, whoever came before. */

import { afterEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../src/lib/log.ts';
import { Ip4 } from '../../src/net/packet.ts';
import { Pool } from '../../src/pipeline/pool.ts';
import { Suite } from '../../src/proto/constants.ts';
import { MOST_CONTEXTS } from '../../src/sys/contexts.ts';
import type { DatagramRun } from '../../src/sys/edges.ts';
import { VIRTIO_HEADER } from '../../src/sys/tun.ts';
import { bare, buildPacket, ordinaryFlow } from './packets.ts';
import { datagrams, End, real } from './pair.ts';
import { ReferenceSender } from './reference.ts';

const pools: Pool[] = [];
afterEach(async () => {
  for (const pool of pools.splice(0)) await pool.stop();
});

const here = { vip4: '100.80.0.1', vip6: null };
const octetsOf = (n: number): number[] => [100, 80, 1 + (n >> 8), n & 255];
const virtualOf = (n: number) => ({ vip4: octetsOf(n).join('.'), vip6: null });
const idOf = (n: number): string => (n + 1).toString(16).padStart(8, '0').padStart(32, 'b');
const keyOf = (n: number, epoch: number): Uint8Array =>
  new Uint8Array(32).map((_, i) => [n & 255, n >> 8, epoch, i][i % 4]!);
/** Both without a random IV, so that what is sealed can be foretold. */
const suiteOf = (n: number) => (n % 2 === 0 ? Suite.aes256Gcm : Suite.chacha20Poly1305);

const flow = { ...ordinaryFlow, udp: true, dontFragment: false };

function packetTo(n: number, number: number): Uint8Array {
  const read = bare(
    buildPacket(flow, { id: number, sequence: 0, flags: 0, payload: Uint8Array.of(n, n >> 8, number) }),
  );
  read.set(octetsOf(n), VIRTIO_HEADER + Ip4.destination);
  return read;
}

/** One node with paths to many, and all of those in one. */
class Star {
  readonly hub: End;
  readonly rim: End;
  readonly #slow = new Map<number, ReferenceSender>();

  constructor(paths: number, [first, second]: readonly Pool[] = []) {
    this.hub = new End(1, first === undefined ? {} : { pool: first.memory });
    this.rim = new End(2, second === undefined ? {} : { pool: second.memory });
    for (let n = 0; n < paths; n++) {
      const pathId = idOf(n);
      const there = virtualOf(n);
      this.hub.command({ do: 'installPath', pathId, local: here, peer: there });
      this.rim.command({ do: 'installPath', pathId, local: there, peer: here });
      this.rekey(n, 1);
      this.hub.command({ do: 'setEndpoint', pathId, endpoint: real(2), relayed: false });
      this.hub.command({ do: 'route', local: here, peer: there, pathId });
    }
  }

  rekey(n: number, epoch: number): void {
    const [pathId, suite, key] = [idOf(n), suiteOf(n), keyOf(n, epoch)];
    const keys = { epoch, suite, sendKey: key, receiveKey: key, activate: true };
    for (const end of [this.hub, this.rim]) {
      end.command({ do: 'installKey', pathId, ...keys });
      end.command({ do: 'retireKey', pathId, epoch: epoch - 1 });
    }
    this.#slow.set(n, new ReferenceSender({ suite, pathId, epoch, key, partialChecksum: false, ecn: false }));
  }

  remove(n: number): void {
    for (const end of [this.hub, this.rim]) end.command({ do: 'removePath', pathId: idOf(n) });
    this.#slow.delete(n);
  }

  /** A packet to each: the datagrams are those foretold, and what arrives is what was sent. */
  exchange(targets: readonly number[], number: number): DatagramRun[] {
    const reads = targets.map((n) => packetTo(n, number));
    const runs = this.hub.send(...reads);
    const foretold = targets.flatMap((n, i) => {
      const made = this.#slow.get(n)?.send(reads[i]!) ?? [];
      return typeof made === 'string' ? [] : made.map(({ datagram }) => datagram.toHex());
    });
    expect(datagrams(runs).map((octets) => octets.toHex())).toEqual(foretold);
    const packets = reads
      .filter((_, i) => this.#slow.has(targets[i]!))
      .map((read) => read.subarray(VIRTIO_HEADER).toHex());
    const written = this.rim.receive(runs).map((packet) => packet.subarray(VIRTIO_HEADER).toHex());
    expect(written.toSorted()).toEqual(packets.toSorted());
    return runs;
  }
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

describe('many paths', () => {
  it('10,000 of them send in turn, each with its own key', () => {
    const all = upTo(10_000);
    const star = new Star(all.length);
    star.exchange(all, 1);
    // Neighbours now stand far apart, so that keys without a context come between keys that have one.
    star.exchange(
      all.map((n) => (n * 4_001) % all.length),
      2,
    );
    expect([star.hub.drops, star.rim.drops]).toEqual([{}, {}]);
  });

  it.each([false, true])(
    'end and change keys while their context is another’s, or still theirs; workers: %o',
    async (workers) => {
      if (workers) {
        pools.push(new Pool(2, silentLog), new Pool(2, silentLog));
        for (const pool of pools) await pool.ready;
      }
      const all = upTo(2 * MOST_CONTEXTS + 100);
      const star = new Star(all.length, pools);
      const runs = star.exchange(all, 1);
      // The first have lost their contexts to the last, which have them.
      const [removed, rekeyed] = [(n: number) => n % 7 === 0, (n: number) => n % 5 === 1];
      for (const n of all) {
        if (removed(n)) star.remove(n);
        else if (rekeyed(n)) star.rekey(n, 2);
      }
      star.exchange(all.toReversed(), 2);
      star.exchange(all, 3);
      const gone = all.filter(removed).length;
      const stale = all.filter((n) => !removed(n) && rekeyed(n)).length;
      expect(star.rim.drops).toEqual({});
      // What was sealed before: nothing of it gets through again.
      expect(star.rim.receive(runs)).toEqual([]);
      expect(star.rim.drops).toEqual({
        'unknown-path': gone,
        'unknown-epoch': stale,
        replayed: all.length - gone - stale,
      });
      // And the paths can come back.
      for (const n of all.filter(removed)) {
        const there = virtualOf(n);
        star.hub.command({ do: 'installPath', pathId: idOf(n), local: here, peer: there });
        star.rim.command({ do: 'installPath', pathId: idOf(n), local: there, peer: here });
        star.rekey(n, 3);
        star.hub.command({ do: 'setEndpoint', pathId: idOf(n), endpoint: real(2), relayed: false });
        star.hub.command({ do: 'route', local: here, peer: there, pathId: idOf(n) });
      }
      star.exchange(all, 4);
    },
  );
});
