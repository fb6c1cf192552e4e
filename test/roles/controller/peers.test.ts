/** Whom devices have paths with, as the controller tells it. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { peersOf } from '../../../src/core/nms/replicas.ts';
import { listPeers } from '../../../src/roles/controller/peers.ts';
import { nmsRecords } from '../../../src/roles/nms-records.ts';
import { MemoryShared } from '../../../src/store/shared-memory.ts';
import { useNetworks } from '../cloud/run.ts';
import { type Bench, type Reply, startBench } from './bench.ts';

const { initNetwork } = useNetworks();
let bench: Bench;

beforeEach(async () => {
  bench = await startBench(initNetwork);
});
afterEach(() => bench.stop());

const add = (deviceId: string): Promise<Reply> => bench.ask('/v1/devices', { method: 'POST', body: { deviceId } });
const ids = ({ body }: Reply): string[] => body.items.map(({ deviceId }: { deviceId: string }) => deviceId);

describe('devices', () => {
  it('say whom they have paths with, as the NMSs share it', async () => {
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map(async (name) => (await add(name)).body.nodeId as string));
    expect((await bench.ask('/v1/devices/a/peers')).body).toEqual({ items: [], next: null });
    const services = await bench.register.query({ get: 'services' });
    const nms = services.got === 'services' ? services.services.find(({ role }) => role === 'nms')! : null;
    // One of them was removed since.
    for (const peer of [b!, c!, 'f'.repeat(32)]) {
      await bench.shared.include(nmsRecords(nms!.nodeId) + peersOf(a!), peer, 60_000);
    }
    const all = await bench.ask('/v1/devices/a/peers');
    expect(ids(all).sort()).toEqual(['b', 'c']);
    const first = await bench.ask('/v1/devices/a/peers?limit=1');
    const rest = await bench.ask(`/v1/devices/a/peers?after=${first.body.next}`);
    expect([...ids(first), ...ids(rest)].sort()).toEqual(['b', 'c']);
    expect(await bench.ask('/v1/devices/nobody/peers')).toMatchObject({ status: 404 });
  });

  it('say so where paths are not known', async () => {
    const { nodeId } = (await add('a')).body;
    const page = { after: null, limit: 10 };
    const lost = Object.assign(new MemoryShared(), { members: () => Promise.reject(new Error('gone')) });
    for (const shared of [null, lost]) {
      await expect(listPeers(bench.register, shared, nodeId, page)).rejects.toMatchObject({
        code: 'SYS_PATHS_UNKNOWN',
      });
    }
  });
});
