/** What NMSs believe of the TRSs that announce themselves. */

import { expect, it, vi } from 'vitest';
import type { RelayReplica } from '../../src/core/nms/relays.ts';
import { announceRelay, watchRelays } from '../../src/roles/relay-presence.ts';
import { MemoryShared } from '../../src/store/shared-memory.ts';
import { eventually } from '../support/eventually.ts';

const replica: RelayReplica = {
  service: 'e0'.repeat(16),
  nodeId: 'a1'.repeat(16),
  address4: '192.0.2.1',
  address6: null,
  port: 7442,
  tlsPort: 443,
  draining: false,
};

it('takes those that can be spoken to, and no others', async () => {
  const shared = new MemoryShared();
  const { stop } = announceRelay(shared, () => replica);
  const wrong = [{ port: 70_000 }, { port: 0.5 }, { port: 0 }, { nodeId: 'somebody' }, { nodeId: 'A1'.repeat(16) }];
  for (const [i, difference] of wrong.entries()) {
    await shared.include('relays', `${i}`, 60_000);
    await shared.keep(`relay ${i}`, JSON.stringify({ ...replica, ...difference }), 60_000);
  }
  const tell = vi.fn();
  const unwatch = watchRelays(shared, tell);
  await eventually(() => expect(tell).toHaveBeenCalledWith([replica]));
  unwatch();
  stop();
});
