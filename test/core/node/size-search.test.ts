/** The search for a path's MTU against ways of any size, loss and delay, in simulated time. */

import { describe, expect, it } from 'vitest';
import { type SizeProbe, SizeSearch } from '../../../src/core/node/size-search.ts';
import { Random } from '../../sim/random.ts';
import fc from '../../support/property.ts';

const BASE = 1_252;
const FULL = 1_472;

/** A way that loses datagrams above `carries` octets, and others at random. */
class Path {
  readonly search = new SizeSearch();
  carries: number;
  /** Of each direction. */
  loss = 0;
  rttMs: number;
  ms = 0;
  probes = 0;
  octets = 0;
  readonly #random: Random;
  #answers: { readonly at: number; readonly probe: SizeProbe }[] = [];

  constructor(carries: number, { rttMs = 20, loss = 0, seed = 1, assumed = FULL, max = FULL } = {}) {
    this.carries = carries;
    this.rttMs = rttMs;
    this.loss = loss;
    this.#random = new Random(seed);
    this.search.begin(BASE, max, assumed, rttMs, 0);
  }

  /** Runs until `ms`, or until the search has nothing to do; large datagrams go out if `sending`. */
  run(ms: number, sending = false): void {
    const { search } = this;
    const until = this.ms + ms;
    for (;;) {
      if (sending) search.sending(this.ms);
      const answer = this.#answers[0]?.at ?? Number.POSITIVE_INFINITY;
      const step = sending ? this.ms + 250 : Number.POSITIVE_INFINITY;
      this.ms = Math.max(this.ms, Math.min(until, answer, search.next, step));
      if (this.ms >= until) return;
      while ((this.#answers[0]?.at ?? Number.POSITIVE_INFINITY) <= this.ms) {
        search.answered(this.#answers.shift()!.probe, this.ms);
      }
      for (const probe of search.tick(this.ms)) this.#send(probe);
    }
  }

  #send(probe: SizeProbe): void {
    this.probes++;
    this.octets += probe.size;
    const lost = this.#random.chance(this.loss) || this.#random.chance(this.loss);
    if (probe.size > this.carries || lost) return;
    this.#answers.push({ at: this.ms + this.rttMs, probe });
  }
}

/** Of the worst case: every size but the last is too large, each with a pair per gap until so many controls came back. */
const mostProbes = (range: number, rttMs: number): number =>
  (3 + Math.ceil(Math.log2(range + 1))) * 2 * (5 + Math.ceil(rttMs / Math.max(100, rttMs)));

describe('the search for the size of a path', () => {
  it('takes the largest for granted, and proves it by one pair', () => {
    const path = new Path(FULL);
    expect(path.search.size).toBe(FULL);
    path.run(60_000);
    expect(path.search.size).toBe(FULL);
    expect(path.probes).toBe(2);
  });

  it('finds any size in range, to the octet, within so many probes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: BASE, max: FULL }),
        fc.integer({ min: 0, max: 700 }),
        fc.integer({ min: BASE, max: FULL }),
        (carries, rttMs, assumed) => {
          const path = new Path(carries, { rttMs, assumed });
          path.run(30_000);
          expect(path.search.size).toBe(carries);
          expect(path.probes).toBeLessThanOrEqual(mostProbes(FULL - BASE, rttMs));
        },
      ),
    );
  });

  it('finds the sizes of jumbo frames', () => {
    for (const carries of [1_500, 4_000, 8_972, 9_000]) {
      const path = new Path(carries, { max: 8_972, assumed: 8_972 });
      path.run(30_000);
      expect(path.search.size).toBe(Math.min(carries, 8_972));
    }
  });

  it('leaves the size taken for granted before anything large is lost for a second', () => {
    const path = new Path(1_300);
    path.run(1_000);
    expect(path.search.size).toBeLessThanOrEqual(1_300);
  });

  it('never goes beyond what was proven once it was refuted', () => {
    fc.assert(
      fc.property(fc.integer({ min: BASE, max: FULL - 1 }), (carries) => {
        const path = new Path(carries);
        path.run(700);
        for (let i = 0; i < 100; i++) {
          path.run(50);
          expect(path.search.size).toBeLessThanOrEqual(carries);
        }
      }),
    );
  });

  it('notices a black hole within 3 s while something large is sent, whatever the way carries then', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: BASE, max: FULL - 1 }),
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 0, max: 3_000 }),
        (carries, rttMs, at) => {
          const path = new Path(FULL, { rttMs });
          path.run(5_000 + at, true);
          path.carries = carries;
          path.run(3_000, true);
          expect(path.search.size).toBeLessThanOrEqual(carries);
          expect(path.search.blackHoles).toBe(1);
          path.run(20_000, true);
          expect(path.search.size).toBe(carries);
        },
      ),
    );
  });

  it('asks at once when what was sent brought nothing back', () => {
    const path = new Path(FULL);
    path.run(5_000, true);
    path.carries = 1_300;
    path.search.silent(path.ms);
    path.run(600);
    expect(path.search.size).toBeLessThanOrEqual(1_300);
  });

  it('spends a pair a second while something large is sent, and nothing while not', () => {
    const path = new Path(FULL);
    path.run(10_000, true);
    expect(path.probes).toBeLessThanOrEqual(2 * 11);
    const before = path.probes;
    path.run(300_000);
    expect(path.probes - before).toBeLessThanOrEqual(2);
  });

  it('is not misled by loss', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const path = new Path(FULL, { loss: 0.02, seed });
      path.run(120_000, true);
      expect(path.search.size, `seed ${seed}`).toBe(FULL);
      expect(path.search.blackHoles, `seed ${seed}`).toBe(0);
    }
  });

  it('finds the size through heavy loss as well', () => {
    let found = 0;
    for (let seed = 1; seed <= 200; seed++) {
      const path = new Path(1_400, { loss: 0.15, seed });
      path.run(60_000);
      expect(path.search.size, `seed ${seed}`).toBeLessThanOrEqual(1_400);
      if (path.search.size === 1_400) found++;
    }
    expect(found).toBeGreaterThan(180);
  });

  it('says nothing about a way that is silent, and asks again later', () => {
    const path = new Path(FULL);
    path.run(5_000, true);
    path.loss = 1;
    path.run(10_000, true);
    expect(path.search.size).toBe(FULL);
    expect(path.search.blackHoles).toBe(0);
    const silent = new Path(1_300, { loss: 1 });
    silent.run(30_000);
    expect(silent.search.size).toBe(FULL);
    expect(silent.probes).toBeLessThanOrEqual(48);
    silent.loss = 0;
    silent.run(60_000);
    expect(silent.search.size).toBe(1_300);
  });

  it('tries more after ten minutes', () => {
    const path = new Path(1_300);
    path.run(30_000);
    path.carries = FULL;
    path.run(500_000);
    expect(path.search.size).toBe(1_300);
    path.run(120_000);
    expect(path.search.size).toBe(FULL);
  });

  it('heeds no answer to what it no longer asks', () => {
    const path = new Path(1_300);
    path.run(20_000);
    path.search.answered({ trial: 1, size: FULL }, path.ms);
    expect(path.search.size).toBe(1_300);
    path.search.stop();
    path.run(2_000_000);
    expect(path.search.size).toBe(1_300);
  });
});
