import { describe, expect, it } from 'vitest';
import { decodeIp } from '../../src/net/datagram.ts';
import { ALL_NODES, decodeNdp, encodeNdp } from '../../src/net/ndp.ts';
import { type AdvertiserAction, advertisement, RouterAdvertiser } from '../../src/net/router-advertiser.ts';
import fc from '../support/property.ts';
import { adapterMac, cameraMac, decoded, gateway6, plcMac, range6, strangerMac } from './support/link.ts';

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

describe('an advertisement', () => {
  const settings = { mac: adapterMac, gateway: gateway6, range: range6, domain: 'lab.example', mtu: 1400 };
  const sent = (final: boolean) =>
    decoded(decodeNdp(decoded(decodeIp(encodeNdp(advertisement(settings, final), 'fe80::fe', ALL_NODES)))));

  it('makes peers on-link, and addresses a matter of DHCPv6', () => {
    expect(sent(false)).toMatchObject({
      managed: true,
      otherConfiguration: true,
      lifetime: 1800,
      options: {
        sourceMac: adapterMac,
        mtu: 1400,
        prefixes: [{ prefix: range6, onLink: true, autonomous: false, validLifetime: 1800, preferredLifetime: 1800 }],
        dnsServers: [{ lifetime: 1800, servers: [gateway6] }],
        searchLists: [{ lifetime: 1800, domains: ['lab.example'] }],
      },
    });
  });

  it('takes router and name server back in the end', () => {
    expect(sent(true)).toMatchObject({
      lifetime: 0,
      options: { dnsServers: [{ lifetime: 0 }], searchLists: [{ lifetime: 0 }], prefixes: [{ validLifetime: 1800 }] },
    });
  });
});
