import { describe, expect, it } from 'vitest';
import { openTun } from '../../src/sys/tun.ts';

describe('opening a TUN device', () => {
  it('refuses a name the kernel could not take', () => {
    for (const name of ['', 'a b', 'far-too-long-a-name', 'x/y']) {
      expect(() => openTun({ name })).toThrow(/is no name for an interface/);
    }
  });
});
