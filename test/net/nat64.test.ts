import { describe, expect, it } from 'vitest';
import { type Endpoint, parsePrefix } from '../../src/lib/ip.ts';
import { AdvertisedNat64, findNat64Prefix, intoNat64, outOfNat64 } from '../../src/net/nat64.ts';

describe('the prefix of a NAT64', () => {
  // The examples of RFC 6052 section 2.4, with 192.0.0.170 in the place of 192.0.2.33.
  it.each([
    ['2001:db8:c000:aa::', '2001:db8::', 32],
    ['2001:db8:1c0:0:aa::', '2001:db8:100::', 40],
    ['2001:db8:122:c000:0:aa00::', '2001:db8:122::', 48],
    ['2001:db8:122:3c0:0:aa::', '2001:db8:122:300::', 56],
    ['2001:db8:122:344:c0:0:aa00:0', '2001:db8:122:344::', 64],
    ['2001:db8:122:344::c000:aa', '2001:db8:122:344::', 96],
    ['64:ff9b::c000:ab', '64:ff9b::', 96],
  ])('is read from %s', (address, prefix, length) => {
    expect(findNat64Prefix(['2001:db8::1', address])).toEqual({ address: prefix, length });
  });

  it('is none without the well-known addresses, in two places, or over the octet that is zero', () => {
    expect(findNat64Prefix([])).toBeNull();
    expect(findNat64Prefix(['192.0.0.170', '2001:db8::1', 'nonsense'])).toBeNull();
    expect(findNat64Prefix(['64:ff9b::c000:ac'])).toBeNull();
    expect(findNat64Prefix(['2001:db8:c000:aa::c000:aa'])).toBeNull();
    expect(findNat64Prefix(['2001:db8:122:3c0:100:aa::'])).toBeNull();
    expect(findNat64Prefix(['::ffff:192.0.0.170'])).toBeNull();
  });
});

describe('an IPv4 address behind a NAT64', () => {
  // RFC 6052 section 2.4.
  it.each([
    ['2001:db8::/32', '2001:db8:c000:221::'],
    ['2001:db8:100::/40', '2001:db8:1c0:2:21::'],
    ['2001:db8:122::/48', '2001:db8:122:c000:2:2100::'],
    ['2001:db8:122:300::/56', '2001:db8:122:3c0:0:221::'],
    ['2001:db8:122:344::/64', '2001:db8:122:344:c0:2:2100:0'],
    ['2001:db8:122:344::/96', '2001:db8:122:344::c000:221'],
    ['64:ff9b::/96', '64:ff9b::c000:221'],
  ])('is written into %s and read out again', (text, address) => {
    const prefix = parsePrefix(text)!;
    const native = { address: '192.0.2.33', port: 7444 };
    expect(intoNat64(prefix, native)).toEqual({ address, port: 7444 });
    expect(outOfNat64(prefix, { address, port: 7444 })).toEqual(native);
  });

  it('is left as it is without a NAT64, as are IPv6 addresses outside its prefix', () => {
    const [four, six] = ['192.0.2.33', '2001:db8::1'].map((address) => ({ address, port: 1 })) as [Endpoint, Endpoint];
    const prefix = parsePrefix('64:ff9b::/96');
    expect(intoNat64(null, four)).toBe(four);
    expect(intoNat64(prefix, six)).toBe(six);
    expect(outOfNat64(prefix, six)).toBe(six);
    expect(outOfNat64(null, { address: '64:ff9b::c000:221', port: 1 }).address).toBe('64:ff9b::c000:221');
  });
});

describe('prefixes that routers advertise', () => {
  const one = parsePrefix('64:ff9b::/96')!;
  const two = parsePrefix('2001:db8:64::/96')!;

  it('count as long as the router said, and longer if it says so again', () => {
    const known = new AdvertisedNat64();
    expect(known.best(0)).toBeNull();
    known.heard({ prefix: one, lifetime: 16 }, 0);
    expect(known.best(15_999)).toEqual({ prefix: one, until: 16_000 });
    known.heard({ prefix: one, lifetime: 16 }, 10_000);
    expect(known.best(25_999)?.until).toBe(26_000);
    expect(known.best(26_000)).toBeNull();
  });

  it('are left when the router takes them back, or the network is another', () => {
    const known = new AdvertisedNat64();
    for (const prefix of [one, two]) known.heard({ prefix, lifetime: 600 }, 0);
    known.heard({ prefix: one, lifetime: 0 }, 1);
    expect(known.best(1)?.prefix).toEqual(two);
    known.clear();
    expect(known.best(1)).toBeNull();
  });

  it('do not take turns: the first is kept', () => {
    const known = new AdvertisedNat64();
    for (const prefix of [one, two, two, one]) known.heard({ prefix, lifetime: 600 }, 0);
    expect(known.best(0)?.prefix).toEqual(one);
  });

  it('are few, and lead neither to groups nor to this link or host', () => {
    const known = new AdvertisedNat64();
    for (const text of ['ff02::/96', 'fe80::/64', '::/96', '::ffff:0:0/96', '::1/96'])
      known.heard({ prefix: parsePrefix(text)!, lifetime: 600 }, 0);
    expect(known.best(0)).toBeNull();
    for (let i = 1; i <= 100; i++) known.heard({ prefix: parsePrefix(`2001:db8:${i}::/96`)!, lifetime: 600 }, 0);
    for (let i = 1; i <= 8; i++) known.heard({ prefix: parsePrefix(`2001:db8:${i}::/96`)!, lifetime: 0 }, 0);
    expect(known.best(0)).toBeNull();
  });
});
