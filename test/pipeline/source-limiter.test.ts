import { describe, expect, it } from 'vitest';
import { FrameLimiter, SourceLimiter } from '../../src/pipeline/source-limiter.ts';
import { encodeSockaddr } from '../../src/sys/sockaddr.ts';

const from = (address: string, port = 1): DataView => new DataView(encodeSockaddr({ address, port }).buffer);

function passed(limiter: SourceLimiter, source: DataView, count: number, now: number): number {
  let passes = 0;
  for (let i = 0; i < count; i++) if (limiter.admit(source, 0, now)) passes++;
  return passes;
}

describe('the limit per source', () => {
  it('lets a burst pass and then so many a second', () => {
    const limiter = new SourceLimiter({ perSecond: 100, burst: 20 });
    expect(passed(limiter, from('192.0.2.1'), 50, 0)).toBe(20);
    expect(passed(limiter, from('192.0.2.1'), 50, 50)).toBe(5);
    expect(passed(limiter, from('192.0.2.1'), 50, 55)).toBe(0);
    expect(passed(limiter, from('192.0.2.1'), 50, 60)).toBe(1);
    expect(passed(limiter, from('192.0.2.1'), 50, 100_000)).toBe(20);
  });

  it('counts all ports of an address, and all addresses of a /64, as one', () => {
    const limiter = new SourceLimiter({ perSecond: 1, burst: 3 });
    const same = [from('2001:db8::1'), from('2001:db8::1', 2), from('2001:db8::ffff'), from('2001:db8::2')];
    expect(same.map((source) => limiter.admit(source, 0, 0))).toEqual([true, true, true, false]);
    const ports = [1, 2, 3, 4].map((port) => limiter.admit(from('192.0.2.1', port), 0, 0));
    expect(ports).toEqual([true, true, true, false]);
  });

  it('leaves other sources what is theirs', () => {
    const limiter = new SourceLimiter({ perSecond: 1, burst: 4 });
    passed(limiter, from('192.0.2.1'), 10_000, 0);
    const others = Array.from({ length: 200 }, (_, i) => passed(limiter, from(`198.51.100.${i}`), 4, 0));
    // A few may share a bucket.
    expect(others.filter((passes) => passes === 4).length).toBeGreaterThan(160);
  });
});

it('a flood of MAC addresses leaves the devices of a link that are in their share', () => {
  const limiter = new FrameLimiter();
  let passes = 0;
  for (let i = 0; i < 20_000; i++) if (limiter.admit(0x0600, i, false, 0)) passes++;
  expect(passes).toBe(1_000);
  expect(limiter.admit(0x0200, 1, false, 0)).toBe(false);
  expect(limiter.admit(0x0200, 2, true, 0)).toBe(true);
});
