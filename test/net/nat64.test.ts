import { describe, expect, it } from 'vitest';
import { findNat64Prefix } from '../../src/net/nat64.ts';

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
  });
});
