import { describe, expect, it } from 'vitest';
import { type Endpoint, parsePrefix } from '../../src/lib/ip.ts';
import { findNat64Prefix, intoNat64, outOfNat64 } from '../../src/net/nat64.ts';

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
