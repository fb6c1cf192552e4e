import { describe, expect, it } from 'vitest';
import { kindOf, type Way, Ways } from '../../../src/core/node/ways.ts';
import type { Endpoint } from '../../../src/lib/ip.ts';

const host = { address: '10.0.0.3', port: 7444, kind: 'host' as const };
const mapped = { address: '203.0.113.4', port: 7444, kind: 'mapped' as const };
const relay: Endpoint = { address: '192.0.2.11', port: 7442 };
const stranger = (n: number): Endpoint => ({ address: '198.51.100.7', port: 1_000 + n });

function prove(way: Way, ms: number, rttMs: number | null = null): Way {
  way.provenAt = ms;
  way.rttMs = rttMs;
  return way;
}

describe('the ways to a peer', () => {
  it('are used only once proven, and no longer than a proof lasts unless in use', () => {
    const ways = new Ways([host, mapped]);
    expect(ways.best(0)).toBeNull();
    const way = prove(ways.find(mapped, false)!, 0);
    expect(ways.best(1_000)).toBe(way);
    expect(ways.best(60_000)).toBeNull();
    ways.chosen = way;
    expect(ways.best(60_000)).toBe(way);
  });

  it('rank: the LAN, then announced, then unannounced addresses, then the relay', () => {
    const ways = new Ways([mapped, host]);
    const order = [
      prove(ways.findOrAdd(relay, true), 0, 1),
      prove(ways.findOrAdd(stranger(1), false), 0, 2),
      prove(ways.find(mapped, false)!, 0, 30),
    ];
    for (const way of order.toReversed()) {
      expect(ways.best(0)).toBe(way);
      way.provenAt = null;
    }
    for (const way of order) prove(way, 0);
    expect(ways.best(0)).toBe(order[2]);
    const lan = prove(ways.find(host, false)!, 0);
    expect(ways.best(0)).toBe(lan);
    lan.doubted = true;
    expect(ways.best(0)).toBe(order[2]);
  });

  it('do not alternate for a small gain', () => {
    const ways = new Ways([mapped, { ...mapped, address: '203.0.113.5' }]);
    const [one, other] = ways.direct as [Way, Way];
    ways.chosen = prove(one, 0, 10);
    prove(other, 0, 9);
    expect(ways.best(0)).toBe(one);
    prove(other, 0, 5);
    expect(ways.best(0)).toBe(other);
  });

  it('that nobody announced are few, and never push out the one in use', () => {
    const ways = new Ways([mapped]);
    const used = prove(ways.findOrAdd(stranger(0), false), 0);
    ways.chosen = used;
    for (let i = 1; i < 100; i++) ways.findOrAdd(stranger(i), false);
    expect(ways.direct).toHaveLength(9);
    expect(ways.find(stranger(0), false)).toBe(used);
    expect(ways.find(stranger(99), false)).toBeDefined();
  });

  it('have the names that status shows', () => {
    const ways = new Ways([host, mapped]);
    expect(kindOf(ways.find(host, false)!, true)).toBe('lan');
    expect(kindOf(ways.find(host, false)!, false)).toBe('direct');
    expect(kindOf(ways.find(mapped, false)!, true)).toBe('direct');
    expect(kindOf(ways.findOrAdd(relay, true), true)).toBe('relay');
  });
});
