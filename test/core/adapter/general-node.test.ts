/** The life of one general node over days, which no laboratory waits for. */

import { beforeEach, describe, expect, it } from 'vitest';
import { GeneralNode, generalNodeTiming } from '../../../src/core/adapter/general-node.ts';
import type { RegisteredDevice } from '../../../src/core/adapter/types.ts';

const device: RegisteredDevice = {
  deviceId: 'camera',
  nodeId: '0'.repeat(32),
  fqdn: 'camera.lab.example',
  vip4: '100.80.0.9',
  vip6: null,
  mac: '02:00:00:00:00:01',
  auth: 'mac',
  mode: 'ipv4',
  state: 'enrolled',
};
const { idle, seek, longestRetry } = generalNodeTiming;

describe('a general node', () => {
  let said: string[];
  let ms: number;
  const now = () => ({ ms, wall: ms });
  const make = (granted: boolean, change: Partial<RegisteredDevice> = {}): GeneralNode =>
    new GeneralNode({ ...device, ...change }, granted, {
      authenticate: () => said.push('authenticate'),
      joined: () => said.push('joined'),
      left: () => said.push('left'),
      probe: () => said.push('probe'),
    });
  /** Lets time pass as its timers want; returns what was said. */
  const pass = (node: GeneralNode, duration: number): string[] => {
    said = [];
    const end = ms + duration;
    while (node.due <= end) {
      ms = Math.max(ms, node.due);
      node.tick(now());
    }
    ms = end;
    return said;
  };

  beforeEach(() => {
    said = [];
    ms = 0;
  });

  it('is looked for after a start, also if it never says anything by itself', () => {
    const node = make(true);
    expect(pass(node, 5_000)).toEqual(['probe', 'probe', 'probe']);
    expect(pass(node, 10 * seek).length).toBeGreaterThan(5);
    said = [];
    node.heard(now());
    expect(said).toEqual(['joined']);
  });

  it('has to log in where no login counts', () => {
    const node = make(false);
    node.heard(now());
    expect(said).toEqual(['authenticate']);
    expect(node.state).toBe('seen');
  });

  it('is asked after half an hour of silence, and let go without an answer', () => {
    const node = make(true);
    node.heard(now());
    ms = idle - 1;
    node.heard(now());
    expect(pass(node, idle - 1)).toEqual([]);
    expect(pass(node, 10_000)).toEqual(['probe', 'probe', 'probe', 'left']);
    expect(node.state).toBe('idle');
    said = [];
    node.heard(now());
    expect(said).toEqual(['joined']);
  });

  it('stays when it answers', () => {
    const node = make(true);
    node.heard(now());
    expect(pass(node, idle)).toEqual(['probe']);
    node.heard(now());
    expect(pass(node, idle - 1)).toEqual([]);
    expect(node.isActive).toBe(true);
  });

  it('is tried again ever more slowly while the network cannot be asked', () => {
    const node = make(false);
    node.heard(now());
    const waits: number[] = [];
    for (let attempt = 1; attempt < 10; attempt++) {
      node.began(attempt);
      node.ended(attempt, 'unreachable', now());
      waits.push(node.due - ms);
      ms = node.due;
      node.tick(now());
    }
    expect(waits.slice(0, 3)).toEqual([1_000, 2_000, 4_000]);
    expect(waits.at(-1)).toBe(longestRetry);
    expect(said).toHaveLength(10);
  });

  it('keeps what it has when a renewed login cannot be had, and loses it when it is refused', () => {
    const node = make(true);
    node.heard(now());
    node.began(1);
    node.ended(1, 'unreachable', now());
    expect(node.isActive).toBe(true);
    node.began(2);
    node.ended(2, 'refused', now());
    expect(node.state).toBe('refused');
    expect(said.at(-1)).toBe('left');
  });

  it('is left alone while it is disabled', () => {
    const node = make(true, { state: 'disabled' });
    node.heard(now());
    expect(pass(node, 10 * idle)).toEqual([]);
    expect(node.isActive).toBe(false);
  });
});
