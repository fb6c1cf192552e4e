import { describe, expect, it } from 'vitest';
import { boardMemory, JobBoard, JobHands, recordAt } from '../../src/pipeline/jobs.ts';
import { allocate } from '../../src/sys/memory.ts';
import fc from '../support/property.ts';

const WORKERS = 4;
const area = allocate(4096);
const everySlot = [...Array(boardMemory(WORKERS).slots).keys()];

function makeBoard(ordered = true) {
  const memory = boardMemory(WORKERS);
  const board = new JobBoard(memory, new SharedArrayBuffer(4), area, ordered);
  const hands = Array.from({ length: WORKERS }, (_, worker) => new JobHands(memory, worker));
  return { board, hands };
}

/** What may happen next: a job arrives, a worker takes one, finishes one, dies, or the I/O thread stages. */
const step = fc.oneof(
  fc.record({ kind: fc.constant('post' as const) }),
  fc.record({ kind: fc.constantFrom('take' as const, 'finish' as const, 'die' as const), worker: fc.nat(WORKERS - 1) }),
  fc.record({ kind: fc.constant('stage' as const) }),
);

describe('staging', () => {
  it('emits every job once and in order, whatever order they are done in and whoever dies', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const { board, hands } = makeBoard();
        const holding: number[][] = hands.map(() => []);
        const lost = new Set<number>();
        const staged: number[] = [];
        let arrived = 0;
        const stage = (): void => {
          for (let slot = board.settled(); slot >= 0; slot = board.settled()) {
            const number = board.records[recordAt(slot, 0)]!;
            expect(board.isLost(slot)).toBe(lost.has(number));
            staged.push(number);
            board.release(slot);
          }
        };
        for (const next of steps) {
          if (next.kind === 'post') {
            const slot = board.free();
            expect(slot < 0).toBe(board.outstanding === board.slots);
            if (slot < 0) continue;
            board.records[recordAt(slot, 0)] = arrived++;
            board.post(slot, 1);
          } else if (next.kind === 'stage') stage();
          else {
            const mine = holding[next.worker]!;
            const worker = hands[next.worker]!;
            if (next.kind === 'take') {
              const slot = worker.take();
              if (slot >= 0) mine.push(slot);
            } else if (next.kind === 'finish') {
              const slot = mine.shift();
              if (slot !== undefined) worker.finish(slot);
            } else {
              for (const slot of mine.splice(0)) lost.add(board.records[recordAt(slot, 0)]!);
              worker.lose();
            }
          }
        }
        // The others finish what is left.
        for (const [i, worker] of hands.entries()) for (const slot of holding[i]!) worker.finish(slot);
        for (let slot = hands[0]!.take(); slot >= 0; slot = hands[0]!.take()) hands[0]!.finish(slot);
        stage();
        expect(staged).toEqual(Array.from({ length: arrived }, (_, i) => i));
        expect(board.outstanding).toBe(0);
      }),
    );
  });

  it('emits every job once as they are done, if order does not matter', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(everySlot, { minLength: everySlot.length }), (order) => {
        const { board, hands } = makeBoard(false);
        for (let job = 0; job < board.slots; job++) board.post(board.free(), job + 1);
        const slots = order.map(() => hands[0]!.take());
        expect(slots.map((slot) => board.count(slot))).toEqual(order.map((_, i) => i + 1));
        const staged = order.map((i) => {
          hands[0]!.finish(slots[i]!);
          const slot = board.settled();
          board.release(slot);
          return slot;
        });
        expect(staged).toEqual(order.map((i) => slots[i]));
        expect(board.settled()).toBe(-1);
      }),
    );
  });

  it('takes a million jobs in order, over and over in the same slots', () => {
    const { board, hands } = makeBoard();
    let next = 0;
    for (let job = 0; job < 1_000_000; ) {
      for (let slot = board.free(); slot >= 0; slot = board.free()) {
        board.records[recordAt(slot, 0)] = job++;
        board.post(slot, 1);
      }
      const taken = hands.map((worker) => ({ worker, slot: worker.take() }));
      for (const { worker, slot } of taken.reverse()) worker.finish(slot);
      for (let slot = board.settled(); slot >= 0; slot = board.settled()) {
        if (board.records[recordAt(slot, 0)] !== next++) expect.fail(`job ${next - 1} is not in its turn`);
        board.release(slot);
      }
    }
    expect(next).toBeGreaterThanOrEqual(1_000_000);
  });
});
