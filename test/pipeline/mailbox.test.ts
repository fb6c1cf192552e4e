import { MessageChannel } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { Mailbox, MailboxSender } from '../../src/pipeline/mailbox.ts';
import { EventFd, Poller } from '../../src/sys/poll.ts';

describe('the mailbox of an I/O thread', () => {
  it('wakes it, keeps the order, and takes a bounded number at once', () => {
    const { port1, port2 } = new MessageChannel();
    const pending = new SharedArrayBuffer(4);
    const wake = new EventFd();
    const poller = new Poller([wake.fd]);
    const sender = new MailboxSender<number>((message) => port1.postMessage(message), pending, wake);
    const mailbox = new Mailbox<number>(port2, pending, wake);
    expect(mailbox.waiting).toBe(false);
    for (let i = 0; i < 1000; i++) sender.send(i);
    poller.wait(-1);
    const taken: number[] = [];
    let turns = 0;
    for (; mailbox.waiting; turns++) mailbox.take((message) => taken.push(message));
    expect(taken).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(turns).toBeGreaterThan(10);
    poller.wait(0);
    expect(poller.ready(0)).toBe(false);
    sender.send(1000);
    poller.wait(-1);
    expect([mailbox.waiting, poller.ready(0)]).toEqual([true, true]);
    port1.close();
    wake.close();
  });
});
