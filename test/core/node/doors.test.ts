/** Doors: channels for datagrams about stored paths that are not open. */

import { expect, it, vi } from 'vitest';
import type { NodeContext } from '../../../src/core/node/context.ts';
import type { Directory } from '../../../src/core/node/directory.ts';
import { MAX_CACHED, type PeerCache } from '../../../src/core/node/peer-cache.ts';
import type { Registrar } from '../../../src/core/node/registrar.ts';
import { Reopening } from '../../../src/core/node/reopening.ts';

it('are closed once their paths are not stored any more, however many there were', () => {
  const stored: string[] = [];
  let open = 0;
  const channel = () => {
    open += 1;
    return { close: () => (open -= 1) };
  };
  const cache = {
    has: (pathId: string) => stored.includes(pathId),
    path: (pathId: string) => ({ pathId, relays: [] }),
  };
  const reopening = new Reopening(
    { channel } as unknown as NodeContext,
    {} as Registrar,
    {} as Directory,
    cache as unknown as PeerCache,
    vi.fn(),
  );
  const arrival = { from: { address: '192.0.2.1', port: 7444 }, relayed: false };
  for (let i = 0; i < 4 * MAX_CACHED; i++) {
    stored.push(`${i}`);
    if (stored.length > MAX_CACHED) stored.shift();
    expect(reopening.door(`${i}`, arrival, { ms: i, wall: i })).not.toBeNull();
    expect(open).toBeLessThanOrEqual(MAX_CACHED);
  }
});
