import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SleepWatch } from '../../../src/roles/member/sleep-watch.ts';
import { TrafficWatch } from '../../../src/roles/member/traffic-watch.ts';

const clock = vi.hoisted(() => ({ ms: 1e6, wall: 0 }));
vi.mock(import('../../../src/sys/clock.ts'), () => ({ readClock: () => ({ ...clock }) }));

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('traffic', () => {
  it('is looked at every quarter of a second until there is none, and again when it begins', () => {
    let packets = 0;
    const look = vi.fn(() => packets > 0);
    const watch = new TrafficWatch(look);
    vi.advanceTimersByTime(10_000);
    expect(look).not.toHaveBeenCalled();
    for (packets = 1; packets < 3; packets++) {
      look.mockClear();
      watch.begun();
      watch.begun();
      vi.advanceTimersByTime(1_000);
      expect(look).toHaveBeenCalledTimes(4);
      const before = packets;
      packets = 0;
      vi.advanceTimersByTime(10_000);
      packets = before;
      expect(look).toHaveBeenCalledTimes(5);
    }
    expect(vi.getTimerCount()).toBe(0);
  });

  it('is not looked at any more at the end, whatever comes late', () => {
    const look = vi.fn(() => true);
    const watch = new TrafficWatch(look);
    watch.begun();
    watch.close();
    watch.begun();
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('sleep', () => {
  const pass = (ms: number): void => {
    clock.ms += ms;
    vi.advanceTimersByTime(ms);
  };

  it('is noticed within a second of waking up, or when there is something to do', () => {
    const woke = vi.fn();
    const watch = new SleepWatch(woke);
    for (let i = 0; i < 60; i++) pass(1_000);
    // Late, as on a machine that is busy.
    clock.ms += 3_000;
    pass(1_000);
    expect(woke).not.toHaveBeenCalled();
    clock.ms += 7_000;
    pass(1_000);
    expect(woke).toHaveBeenCalledExactlyOnceWith(8_000);
    clock.ms += 60_000;
    watch.look();
    expect(woke).toHaveBeenLastCalledWith(60_000);
    pass(1_000);
    expect(woke).toHaveBeenCalledTimes(2);
    watch.close();
    expect(vi.getTimerCount()).toBe(0);
  });
});
