import { describe, expect, it } from 'vitest';
import { kindOf, lossOf, noteOutcome, type Way, Ways } from '../../../src/core/node/ways.ts';
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

  it('rank: the LAN, then direct ones by round trip, then the relay; one in doubt behind them all', () => {
    const ways = new Ways([mapped, host]);
    const order = [
      prove(ways.findOrAdd(relay, true), 0, 1),
      prove(ways.find(mapped, false)!, 0, 30),
      prove(ways.findOrAdd(stranger(1), false), 0, 2),
      prove(ways.find(host, false)!, 0, 50),
    ];
    for (const way of order.toReversed()) {
      expect(ways.best(0)).toBe(way);
      way.doubted = true;
    }
    expect(ways.best(0)).toBe(order[3]);
  });

  it.each([
    [10, 1, false],
    [30, 21, false],
    [30, 19, true],
    [200, 165, false],
    [200, 155, true],
  ])('move packets from %i ms to %i ms only for a gain: %s', (usedMs, otherMs, moves) => {
    const ways = new Ways([mapped, { ...mapped, address: '203.0.113.5' }]);
    const [one, other] = ways.direct as [Way, Way];
    ways.chosen = prove(one, 0, usedMs);
    prove(other, 0, otherMs);
    expect(ways.best(0)).toBe(moves ? other : one);
  });

  it('prefer IPv6 to IPv4 that is not clearly faster, and do not alternate', () => {
    const ways = new Ways([mapped, { ...mapped, address: '2001:db8::5' }]);
    const [four, six] = ways.direct as [Way, Way];
    prove(four, 0, 10);
    prove(six, 0, 15);
    ways.chosen = four;
    expect(ways.best(0)).toBe(six);
    ways.chosen = six;
    expect(ways.best(0)).toBe(six);
    prove(six, 0, 25);
    expect(ways.best(0)).toBe(four);
    ways.chosen = four;
    expect(ways.best(0)).toBe(four);
  });

  it('follow what the peer announces, but keep the one in use and those it was seen at', () => {
    const ways = new Ways([mapped, host]);
    ways.chosen = prove(ways.find(mapped, false)!, 0);
    ways.findOrAdd(stranger(1), false);
    const moved = { ...host, address: '10.0.0.4' };
    expect(ways.announce([moved])).toMatchObject({
      added: [{ endpoint: { address: '10.0.0.4' }, provenAt: null }],
      withdrawn: [{ endpoint: { address: host.address } }],
    });
    expect(ways.direct.map(({ endpoint }) => endpoint)).toEqual([
      { address: mapped.address, port: mapped.port },
      stranger(1),
      { address: moved.address, port: moved.port },
    ]);
    expect(ways.isAnnounced([moved])).toBe(true);
    expect(ways.isAnnounced([])).toBe(false);
    expect(ways.announce([])).toMatchObject({ added: [], withdrawn: [{ endpoint: { address: '10.0.0.4' } }] });
  });

  it('lose their proofs where the move makes them impossible', () => {
    const ways = new Ways([mapped, { ...mapped, address: '2001:db8::5' }]);
    const [four, six] = ways.direct as [Way, Way];
    prove(four, 0);
    prove(six, 0);
    ways.doubtAll(({ address }) => address.includes(':'));
    expect(ways.best(0)).toBe(six);
    expect(four.provenAt).toBeNull();
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

describe('loss', () => {
  const lose = (way: Way, lost: number, of: number): void => {
    for (let i = 0; i < of; i++) noteOutcome(way, i < lost);
  };
  const two = (): [Ways, Way, Way] => {
    const ways = new Ways([mapped, { ...mapped, address: '203.0.113.5' }]);
    const [one, other] = ways.direct as [Way, Way];
    ways.chosen = prove(one, 0, 20);
    prove(other, 0, 20);
    return [ways, one, other];
  };

  it('is the share of the latest round trips, once there are some', () => {
    const [, way] = two();
    expect(lossOf(way)).toBe(0);
    lose(way, 4, 4);
    expect(lossOf(way)).toBe(0);
    lose(way, 4, 12);
    expect(lossOf(way)).toBe(0.5);
    lose(way, 0, 32);
    expect(lossOf(way)).toBe(0);
    lose(way, 1, 1);
    expect(lossOf(way)).toBe(0);
  });

  it.each([
    ['5 % for a way that loses nothing', 2, 40, 0, true],
    ['none, as a single one says nothing', 1, 32, 0, false],
    ['10 % for a way that loses as much', 3, 30, 3, false],
  ])('moves packets from a way that loses %s', (_, lost, of, others, moves) => {
    const [ways, one, other] = two();
    lose(other, others, 30);
    lose(one, 0, of - lost);
    lose(one, lost, lost);
    expect(ways.best(0)).toBe(moves ? other : one);
  });

  it('moves nothing to a way of which less is known, nor to the relay', () => {
    const [ways, one, other] = two();
    lose(one, 16, 32);
    lose(other, 0, 7);
    prove(ways.findOrAdd(relay, true), 0, 1);
    expect(ways.best(0)).toBe(one);
    lose(other, 0, 1);
    expect(ways.best(0)).toBe(other);
  });
});
