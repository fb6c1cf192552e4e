import { expect, test } from 'vitest';
import { canonicalMac } from '../../src/lib/mac.ts';

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
