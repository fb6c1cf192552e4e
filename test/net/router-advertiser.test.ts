import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AdvertiserAction, RouterAdvertiser } from '../../src/net/router-advertiser.ts';
import { cameraMac, plcMac, strangerMac } from './support/link.ts';

const at = (ms: number) => ({ ms, wall: 0 });
const advertised = (actions: AdvertiserAction[]) => actions.filter((action) => action.do === 'advertise');
const wakeOf = (actions: AdvertiserAction[]): number => {
  const wake = actions.findLast((action) => action.do === 'wake');
  return wake?.do === 'wake' ? wake.at : Number.POSITIVE_INFINITY;
};
const to = (mac: string, final = false) => ({ do: 'advertise', to: mac, final });

describe('router advertisements', () => {
  it('come at once, quickly repeated, then at random intervals', () => {
    const advertiser = new RouterAdvertiser(() => 0.5);
    const times = [0];
    let actions = advertiser.admit(cameraMac, at(0));
    expect(advertised(actions)).toEqual([to(cameraMac)]);
    while (times.length < 5) {
      const next = wakeOf(actions);
      expect(advertised(advertiser.tick(at(next - 1)))).toEqual([]);
      actions = advertiser.tick(at(next));
      expect(advertised(actions)).toEqual([to(cameraMac)]);
      times.push(next);
    }
    expect(times).toEqual([0, 16_000, 32_000, 432_000, 832_000]);
  });

  it('answer a solicitation after a short delay, but not one after the other', () => {
    const advertiser = new RouterAdvertiser(() => 0.5);
    advertiser.admit(cameraMac, at(0));
    expect(wakeOf(advertiser.solicited(cameraMac, at(10_000)))).toBe(10_250);
    expect(advertised(advertiser.tick(at(10_250)))).toEqual([to(cameraMac)]);
    for (let ms = 10_251; ms < 10_300; ms++) expect(wakeOf(advertiser.solicited(cameraMac, at(ms)))).toBe(13_250);
  });

  it('are not put off by solicitations', () => {
    const advertiser = new RouterAdvertiser(() => 0.999);
    advertiser.admit(cameraMac, at(0));
    expect(wakeOf(advertiser.solicited(cameraMac, at(15_990)))).toBe(16_000);
  });

  it('go to admitted devices only', () => {
    const advertiser = new RouterAdvertiser(() => 0);
    expect(advertiser.solicited(strangerMac, at(0))).toEqual([]);
    advertiser.admit(cameraMac, at(0));
    advertiser.admit(plcMac, at(0));
    advertiser.dismiss(cameraMac, false);
    expect(advertised(advertiser.tick(at(16_000)))).toEqual([to(plcMac)]);
    expect(advertised(advertiser.admit(plcMac, at(16_001)))).toEqual([]);
  });

  it('withdraw the router from who is dismissed, or from all at the end', () => {
    const advertiser = new RouterAdvertiser(() => 0);
    advertiser.admit(cameraMac, at(0));
    advertiser.admit(plcMac, at(0));
    expect(advertiser.dismiss(cameraMac, true)).toEqual([to(cameraMac, true)]);
    expect(advertiser.dismiss(strangerMac, true)).toEqual([]);
    expect(advertiser.withdraw()).toEqual([to(plcMac, true)]);
    expect(advertiser.tick(at(1e9))).toEqual([]);
  });

  it('are never closer than 3 seconds, whatever is solicited when', () => {
    const steps = fc.array(fc.tuple(fc.nat(2000), fc.boolean()), { maxLength: 60 });
    fc.assert(
      fc.property(steps, fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 1 }), (list, dice) => {
        let die = 0;
        const advertiser = new RouterAdvertiser(() => dice[die++ % dice.length]!);
        const sent: number[] = [];
        const note = (actions: AdvertiserAction[], ms: number) => {
          for (const _ of advertised(actions)) sent.push(ms);
        };
        let ms = 0;
        note(advertiser.admit(cameraMac, at(0)), 0);
        for (const [wait, solicit] of list) {
          ms += wait;
          note(solicit ? advertiser.solicited(cameraMac, at(ms)) : advertiser.tick(at(ms)), ms);
        }
        for (let i = 1; i < sent.length; i++) expect(sent[i]! - sent[i - 1]!).toBeGreaterThanOrEqual(3000);
      }),
    );
  });
});
