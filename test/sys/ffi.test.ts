import { constants } from 'node:os';
import { expect, test } from 'vitest';
import { addressOf, bind, errno, library } from '../../src/sys/ffi.ts';

const memcpy = () =>
  bind<(to: number, from: number, length: number) => number>(
    library(null),
    'int64_t memcpy(int64_t to, int64_t from, int64_t length)',
  );

test.each([
  ['SharedArrayBuffer', () => new Uint8Array(new SharedArrayBuffer(64))],
  ['allocUnsafeSlow', () => Buffer.allocUnsafeSlow(64).fill(0)],
])('an address in %s is where the octets are, offsets included', (_, make) => {
  const [from, to] = [make(), make()];
  from.set([1, 2, 3, 4], 10);
  expect(addressOf(from.subarray(10))).toBe(addressOf(from) + 10);
  expect(memcpy()(addressOf(to) + 5, addressOf(from) + 10, 4)).toBe(addressOf(to) + 5);
  expect([...to.subarray(4, 10)]).toEqual([0, 1, 2, 3, 4, 0]);
});

test('errno is that of the call just made', () => {
  const close = bind<(fd: number) => number>(library('libc.so.6'), 'int close(int fd)');
  expect([close(-1), errno()]).toEqual([-1, constants.errno.EBADF]);
});

test('a library is loaded once', () => {
  expect(library(null)).toBe(library(null));
});

test('a missing library or function says so in one line', () => {
  expect(() => library('libnothing.so.99')).toThrow(/^cannot load libnothing\.so\.99 \([^\n]+$/);
  expect(() => bind(library(null), 'int no_such_function()')).toThrow(/no_such_function/);
});
