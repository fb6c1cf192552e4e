import { describe, expect, it } from 'vitest';
import { FRAME_COST, QUANTUM, Turns } from '../../src/sys/turns.ts';
import fc from '../support/property.ts';

const LARGEST = 65_564;
const QUEUES = 16;
/** Between two queues that always have frames, however large: a turn's credit, and a frame that went beyond it, of each. */
const FAIR = 2 * (QUANTUM + LARGEST + FRAME_COST);

/** Queues that wait from the start; what each was served, in cost. */
function serve(frames: ReadonlyMap<number, readonly number[]>, rounds: number, look: (served: number[]) => void) {
  const turns = new Turns(QUEUES);
  for (const queue of frames.keys()) turns.wait(queue);
  const served = new Array<number>(QUEUES).fill(0);
  const taken = new Array<number>(QUEUES).fill(0);
  for (let i = 0; i < rounds; i++) {
    const queue = turns.next();
    const sizes = frames.get(queue)!;
    served[queue]! += turns.took(sizes[taken[queue]!++ % sizes.length]!);
    look(served);
  }
  return served;
}

const sizes = fc.array(fc.integer({ min: 14, max: LARGEST }), { minLength: 1, maxLength: 5 });
const backlogged = fc
  .uniqueArray(fc.tuple(fc.nat(QUEUES - 1), sizes), { selector: ([queue]) => queue, minLength: 2, maxLength: QUEUES })
  .map((queues) => new Map(queues));

describe('turns', () => {
  it('give queues that always wait the same time, whatever the sizes of their frames', () => {
    fc.assert(
      fc.property(backlogged, (frames) => {
        serve(frames, 2_000, (served) => {
          const each = [...frames.keys()].map((queue) => served[queue]!);
          if (Math.max(...each) - Math.min(...each) > FAIR) expect.fail(`one has more than its share: ${each}`);
        });
      }),
    );
  });

  it('are not by frames, which would give nearly everything to a device with large ones', () => {
    const [large, small] = serve(new Map([[LARGEST], [100]].entries()), 10_000, () => {});
    expect(Math.abs(large! - small!)).toBeLessThan(FAIR);
  });

  it('come for a thin queue among greedy ones within a round, at any time', () => {
    fc.assert(
      fc.property(backlogged, fc.nat(2_000), (frames, before) => {
        const thin = [...Array(QUEUES).keys()].find((queue) => !frames.has(queue));
        fc.pre(thin !== undefined);
        const turns = new Turns(QUEUES);
        for (const queue of frames.keys()) turns.wait(queue);
        const serveNext = (): number => {
          const queue = turns.next();
          const own = frames.get(queue);
          return own === undefined ? 0 : turns.took(own[before % own.length]!);
        };
        for (let i = 0; i < before; i++) serveNext();
        turns.wait(thin!);
        let waited = 0;
        for (let cost = serveNext(); cost > 0; cost = serveNext()) waited += cost;
        expect(turns.next()).toBe(thin);
        expect(waited).toBeLessThanOrEqual(frames.size * (QUANTUM + LARGEST + FRAME_COST));
      }),
    );
  });

  it('are not to be had by going away and coming back', () => {
    const turns = new Turns(2);
    const served = [0, 0];
    let hasFrame = false;
    for (let i = 0; i < 10_000; i++) {
      turns.wait(0);
      turns.wait(1);
      const queue = turns.next();
      if (queue === 0) hasFrame = !hasFrame;
      if (queue === 0 && !hasFrame) turns.leave();
      else served[queue]! += turns.took(queue === 0 ? LARGEST : 1_500);
    }
    expect(served[0]!).toBeGreaterThan(100 * LARGEST);
    expect(served[0]! - served[1]!).toBeLessThan(FAIR);
  });

  it('are nobody’s while nobody waits', () => {
    const turns = new Turns(QUEUES);
    expect(turns.next()).toBe(-1);
    turns.wait(3);
    expect(turns.next()).toBe(3);
    turns.leave();
    expect(turns.next()).toBe(-1);
    expect(turns.isIdle).toBe(true);
  });
});
