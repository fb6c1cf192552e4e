import { describe, expect, it } from 'vitest';
import { libc } from '../../src/sys/libc.ts';
import { allocate, releaseUnused } from '../../src/sys/memory.ts';
import { setVector, vectorAddress, vectorLength } from '../../src/sys/vectors.ts';

describe('memory outside the heap', () => {
  it('is zero, where its address says, and not shared', () => {
    const [a, b] = [allocate(10_000), allocate(10_000)];
    expect(a.bytes.every((octet) => octet === 0)).toBe(true);
    a.bytes.fill(7);
    a.view.setUint8(9_999, 9);
    libc().memcpy(b.address, a.address + 1, 9_999);
    expect([b.bytes[0], b.bytes[9_998], b.bytes[9_999]]).toEqual([7, 9, 0]);
    expect(Math.abs(a.address - b.address)).toBeGreaterThanOrEqual(10_000);
  });

  it('keeps what it holds when unused pages are given back, which makes the program smaller', () => {
    const kept = allocate(1 << 20);
    kept.bytes.fill(5);
    const before = process.memoryUsage.rss();
    releaseUnused();
    expect(process.memoryUsage.rss()).toBeLessThan(before);
    expect(kept.bytes.every((octet) => octet === 5)).toBe(true);
    expect([...'still here'].toReversed().join('')).toBe('ereh llits');
  });

  it('is described by vectors at any address', () => {
    const list = allocate(64);
    for (const address of [0x1000, 0xffff_ffff, 0x7fff_1234_5678]) {
      setVector(list, 16, address, 65_535);
      expect([vectorAddress(list.view, 16), vectorLength(list.view, 16)]).toEqual([address, 65_535]);
    }
  });
});
