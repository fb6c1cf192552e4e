import { expect, test } from 'vitest';
import { addressAt, contains, hostCount, parsePrefix } from '../../src/lib/ip.ts';
import fc from '../support/property.ts';

const prefix = (text: string) => parsePrefix(text)!;

test('ranges count their addresses, up to 2^32', () => {
  expect(
    ['0.0.0.0/0', '100.80.0.0/16', '192.0.2.0/30', '192.0.2.1/32', '::/0', 'fd00::/96', 'fd00::/112', '::1/128'].map(
      (text) => hostCount(prefix(text)),
    ),
  ).toEqual([2 ** 32, 65_536, 4, 1, 2 ** 32, 2 ** 32, 65_536, 1]);
});

test('addresses of a range by number', () => {
  expect(addressAt(prefix('100.80.0.0/16'), 0)).toBe('100.80.0.0');
  expect(addressAt(prefix('100.80.0.0/16'), 65_535)).toBe('100.80.255.255');
  expect(addressAt(prefix('192.0.2.8/29'), 5)).toBe('192.0.2.13');
  expect(addressAt(prefix('fd00:1::/64'), 2 ** 32 - 1)).toBe('fd00:1::ffff:ffff');
});

test('different numbers are different addresses within the range', () => {
  const lengths = fc.oneof(
    fc.integer({ min: 8, max: 32 }).map((n) => `10.1.2.3/${n}`),
    fc.integer({ min: 8, max: 128 }).map((n) => `fd01:2:3:4:5:6:7:8/${n}`),
  );
  fc.assert(
    fc.property(lengths, fc.nat(), fc.nat(), (text, a, b) => {
      const range = prefix(text);
      const [first, second] = [a % hostCount(range), b % hostCount(range)];
      expect(contains(range, addressAt(range, first))).toBe(true);
      expect(addressAt(range, first) === addressAt(range, second)).toBe(first === second);
    }),
  );
});
