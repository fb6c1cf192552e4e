import { describe, expect, it } from 'vitest';
import { EventFd, Poller } from '../../src/sys/poll.ts';

describe('waiting', () => {
  it('ends when one of the descriptors is ready, and tells which', () => {
    const [first, second] = [new EventFd(), new EventFd()];
    const poller = new Poller([first.fd, -1, second.fd]);
    poller.wait(0);
    expect([0, 1, 2].map((i) => poller.ready(i))).toEqual([false, false, false]);
    second.signal();
    second.signal();
    poller.wait(-1);
    expect([0, 1, 2].map((i) => poller.ready(i))).toEqual([false, false, true]);
    second.drain();
    poller.wait(0);
    expect(poller.ready(2)).toBe(false);
    first.close();
    second.close();
  });
});
