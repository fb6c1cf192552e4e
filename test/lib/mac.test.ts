import { expect, test } from 'vitest';
import { BROADCAST_MAC, canonicalMac, formatMac, isGroupMac, parseMac } from '../../src/lib/mac.ts';

test.each(['02:00:5E:10:00:aB', '02-00-5e-10-00-ab', '02005E1000AB', '0200.5e10.00ab'])(
  '%s is a MAC address',
  (text) => {
    expect(canonicalMac(text)).toBe('02:00:5e:10:00:ab');
  },
);

test.each([
  '',
  '02:00:5e:10:00',
  '02:00:5e:10:00:ab:cd',
  '02:00:5e:10:00:ag',
  '02:00-5e:10:00:ab',
  '2:0:5e:10:0:ab',
  ' 02:00:5e:10:00:ab',
  'ff:ff:ff:ff:ff:ff',
  '01:80:c2:00:00:03',
])('%j is none of one device', (text) => {
  expect(canonicalMac(text)).toBeNull();
});

test('a MAC address is six octets', () => {
  const octets = Uint8Array.of(0xff, 0x02, 0x00, 0x5e, 0x10, 0x00, 0xab);
  expect(formatMac(octets, 1)).toBe('02:00:5e:10:00:ab');
  expect(parseMac('02:00:5e:10:00:ab')).toEqual(octets.slice(1));
});

test('a MAC address of several devices is known by its first octet', () => {
  expect([BROADCAST_MAC, '01:80:c2:00:00:03', '33:33:00:00:00:01', '02:00:00:00:00:01'].map(isGroupMac)).toEqual([
    true,
    true,
    true,
    false,
  ]);
});
