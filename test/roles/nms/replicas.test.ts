/** What a replica of an NMS does with the store: carried out on one in memory that can be made to fail. */

import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { ReplicaAction } from '../../../src/core/nms/actions.ts';
import type { NmsMachine } from '../../../src/core/nms/machine.ts';
import { Counters } from '../../../src/lib/counters.ts';
import type { Endpoint } from '../../../src/lib/ip.ts';
import { silentLog } from '../../../src/lib/log.ts';
import { type Input, Replica } from '../../../src/roles/nms/replicas.ts';
import { MemoryShared } from '../../../src/store/shared-memory.ts';
import { eventually } from '../../support/eventually.ts';

const from: Endpoint = { address: '2001:db8::7', port: 7444 };
const datagram = Uint8Array.of(1, 2, 255);

let shared: MemoryShared;
let counters: Counters;
let error: ReturnType<typeof vi.fn<() => void>>;
let info: ReturnType<typeof vi.fn<() => void>>;

beforeEach(() => {
  shared = new MemoryShared();
  counters = new Counters();
  error = vi.fn();
  info = vi.fn();
});

/** A replica with a machine that writes down what it is told. */
async function open() {
  const replica = new Replica(shared, 'e0'.repeat(16), counters, { ...silentLog, error, info });
  const machine = { passed: vi.fn(() => []), recalled: vi.fn(() => []), sharedEmptied: vi.fn(() => []) };
  const nms = machine as unknown as NmsMachine;
  const input: Input = (give) => void give({ ms: 0, wall: 0 });
  const send = vi.fn();
  const stop = await replica.listen(nms, input, send);
  return {
    ...machine,
    send,
    stop,
    get number() {
      return replica.number;
    },
    perform: (a: ReplicaAction) => replica.perform(a, nms, input),
  };
}

describe('a replica', () => {
  it('hands over what answers another, and sends what another says', async () => {
    const [a, b] = [await open(), await open()];
    a.perform({ do: 'pass', replica: b.number, datagram, from });
    await eventually(() => expect(b.passed).toHaveBeenCalledWith(datagram, from, expect.anything()));
    a.perform({ do: 'sendFrom', replica: b.number, to: from, datagram });
    await eventually(() => expect(b.send).toHaveBeenCalledExactlyOnceWith(from, datagram));
    expect(b.passed).toHaveBeenCalledTimes(1);
    for (const { stop } of [a, b]) stop();
  });

  it.each([
    ...['', '{', 'null', '{"address":"x","port":1,"datagram":"AA=="}', '{"address":"192.0.2.1","port":"1"}'],
    ...[0, 65_536, 0.5, -1].map((port) => `{"address":"192.0.2.1","port":${port},"datagram":"AA=="}`),
  ])('counts a message like %j and does nothing about it', async (message) => {
    const { number, passed, send, stop } = await open();
    await shared.publish(`nms ${'e0'.repeat(16)} replica ${number}`, message);
    await eventually(() => expect(counters.snapshot()).toEqual({ 'passed-unreadable': 1 }));
    expect(passed.mock.calls.length + send.mock.calls.length).toBe(0);
    stop();
  });

  it('brings back what was asked, null where it could not be, and says so once', async () => {
    const { perform, recalled, stop } = await open();
    perform({ do: 'keep', key: 'node 1', value: 'here', lifeMs: 60_000 });
    perform({ do: 'include', set: 'peers 1', member: '2', lifeMs: 60_000 });
    perform({ do: 'recall', ticket: 1, keys: ['node 1', 'node 2'] });
    perform({ do: 'take', ticket: 2, set: 'peers 1' });
    await eventually(() => expect(recalled).toHaveBeenCalledTimes(2));
    expect(recalled.mock.calls.map((call: unknown[]) => call.slice(0, 2))).toEqual([
      [1, ['here', null]],
      [2, ['2']],
    ]);
    const failing = vi.spyOn(shared, 'recall').mockRejectedValue(new RangeError('gone'));
    perform({ do: 'recall', ticket: 3, keys: ['node 1'] });
    perform({ do: 'recall', ticket: 4, keys: ['node 1'] });
    await eventually(() => expect(recalled).toHaveBeenLastCalledWith(4, null, expect.anything()));
    expect(error).toHaveBeenCalledExactlyOnceWith(expect.stringContaining('cannot be reached'), { why: 'gone' });
    failing.mockRestore();
    perform({ do: 'recall', ticket: 5, keys: ['node 1'] });
    await eventually(() => expect(info).toHaveBeenCalledExactlyOnceWith(expect.stringContaining('reached again')));
    stop();
  });

  it('has a number of its own, and another one where it lost that', async () => {
    const numberOf = (number: number) => `nms ${'e0'.repeat(16)} number ${number}`;
    for (let i = 0; i < 256; i++) if (i !== 77) await shared.keep(numberOf(i), 'somebody', 60_000);
    const replica = await open();
    expect(replica.number).toBe(77);
    // As it comes back to a store where others were meanwhile.
    await shared.keep(numberOf(77), 'somebody', 60_000);
    await shared.keep(numberOf(200), 'nobody', 0);
    await eventually(() => expect(replica.number).toBe(200));
    const other = await open();
    other.perform({ do: 'pass', replica: 200, datagram, from });
    await eventually(() => expect(replica.passed).toHaveBeenCalled());
    for (const { stop } of [replica, other]) stop();
  });

  it('notices that the store was emptied', async () => {
    const { sharedEmptied, stop } = await open();
    await shared.close();
    await eventually(() => expect(sharedEmptied).toHaveBeenCalledTimes(1));
    stop();
  });
});
