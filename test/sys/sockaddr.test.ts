import { describe, expect, it } from 'vitest';
import { wordsOf } from '../../src/lib/bytes.ts';
import { decodeSockaddr, encodeSockaddr, isSockaddr } from '../../src/sys/sockaddr.ts';

const endpoints = [
  { address: '192.0.2.1', port: 7444 },
  { address: '192.0.2.1', port: 7445 },
  { address: '192.0.2.2', port: 7444 },
  { address: '2001:db8::1', port: 7444 },
  { address: '2001:db8::2', port: 7444 },
  { address: '::', port: 0 },
];

/** As the kernel writes it: in 28 octets, whatever the family. */
const received = (endpoint: (typeof endpoints)[number]): DataView => {
  const room = new Uint8Array(40);
  room.set(encodeSockaddr(endpoint), 4);
  return new DataView(room.buffer);
};

describe('socket addresses', () => {
  it.each(endpoints)('keep %o', (endpoint) => {
    expect(decodeSockaddr(encodeSockaddr(endpoint))).toEqual(endpoint);
  });

  it('are told apart, and recognised, in the room of either family', () => {
    for (const [i, one] of endpoints.entries()) {
      for (const [j, other] of endpoints.entries()) {
        const exact = wordsOf(encodeSockaddr(other));
        const roomy = wordsOf(new Uint8Array(received(other).buffer, 4));
        expect(isSockaddr(received(one), 4, exact)).toBe(i === j);
        expect(isSockaddr(received(one), 4, roomy)).toBe(i === j);
      }
    }
  });

  it('ignore flow label and scope', () => {
    const known = wordsOf(encodeSockaddr(endpoints[3]!));
    const same = received(endpoints[3]!);
    same.setInt32(4 + 4, 99);
    same.setInt32(4 + 24, 7);
    expect(isSockaddr(same, 4, known)).toBe(true);
  });

  it('are not made of anything but an address', () => {
    expect(() => encodeSockaddr({ address: 'example.org', port: 1 })).toThrow('the address example.org');
  });
});
