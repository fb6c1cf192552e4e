import { describe, expect, it } from 'vitest';
import { type Dhcp4Message, decodeDhcp4, dhcp4Types, encodeDhcp4, serverTypes } from '../../src/net/dhcp4.ts';
import fc from '../support/property.ts';
import { address4Arbitrary, decoded, macArbitrary, octetsOf, toHex, truncations } from './support/link.ts';

const zeros = (length: number): number[] => new Array<number>(length).fill(0);
const cookie = [0x63, 0x82, 0x53, 0x63];

/** RFC 2131 figure 1: a request whose broadcast flag is set, from 02:00:00:00:00:01. */
function figure(options: readonly number[], file: readonly number[] = [], serverName: readonly number[] = []) {
  return Uint8Array.from([
    ...[1, 1, 6, 0],
    ...[0x39, 0x03, 0xf3, 0x26],
    ...[0, 5, 0x80, 0],
    ...zeros(16),
    ...[2, 0, 0, 0, 0, 1, ...zeros(10)],
    ...[...serverName, ...zeros(64 - serverName.length)],
    ...[...file, ...zeros(128 - file.length)],
    ...cookie,
    ...options,
  ]);
}

const discover = [53, 1, 1, 50, 4, ...octetsOf('100.80.0.5'), 55, 3, 1, 3, 119, 12, 3, 0x63, 0x61, 0x6d, 255];

describe('a DHCPv4 message', () => {
  it('is read as the figure draws it', () => {
    expect(decodeDhcp4(figure(discover))).toEqual({
      type: 'discover',
      transactionId: 0x3903f326,
      broadcast: true,
      clientAddress: '0.0.0.0',
      yourAddress: '0.0.0.0',
      relayAddress: '0.0.0.0',
      mac: '02:00:00:00:00:01',
      options: { requestedAddress: '100.80.0.5', parameters: [1, 3, 119] },
    });
  });

  it('is written as the figure draws it', () => {
    const octets = encodeDhcp4({
      type: 'request',
      transactionId: 0x3903f326,
      broadcast: true,
      clientAddress: '0.0.0.0',
      yourAddress: '0.0.0.0',
      relayAddress: '0.0.0.0',
      mac: '02:00:00:00:00:01',
      options: { clientId: Uint8Array.of(1, 2, 3), search: ['lab.example'] },
    });
    const expected = figure([
      53,
      1,
      3,
      61,
      3,
      1,
      2,
      3,
      119,
      13,
      3,
      ...Buffer.from('lab'),
      7,
      ...Buffer.from('example'),
    ]);
    expected[9] = 0;
    expect(toHex(octets)).toBe(toHex(Uint8Array.from([...expected, 0, 255, ...zeros(300 - expected.length - 2)])));
  });

  it('may have options in the fields for names too (option 52)', () => {
    const both = figure([53, 1, 1, 52, 1, 3, 255], [57, 2, 5, 0xdc, 255], [0, 0, 50, 4, ...octetsOf('100.80.0.5')]);
    expect(decodeDhcp4(both)).toMatchObject({ options: { maxSize: 1500, requestedAddress: '100.80.0.5' } });
    const file = figure([53, 1, 1, 52, 1, 1, 255], [57, 2, 5, 0xdc, 255], [50, 4, ...octetsOf('100.80.0.5')]);
    expect(decoded(decodeDhcp4(file)).options).toEqual({ maxSize: 1500 });
  });

  it('joins what comes in pieces (RFC 3396)', () => {
    const pieces = figure([61, 2, 1, 2, 53, 1, 1, 52, 1, 1, 61, 1, 3, 255], [61, 1, 4]);
    expect(decoded(decodeDhcp4(pieces)).options).toEqual({ clientId: Uint8Array.of(1, 2, 3, 4) });
  });

  const message: fc.Arbitrary<Dhcp4Message> = fc.record({
    type: fc.constantFrom(...(Object.keys(dhcp4Types) as Dhcp4Message['type'][])),
    transactionId: fc.nat(),
    broadcast: fc.boolean(),
    clientAddress: address4Arbitrary,
    yourAddress: address4Arbitrary,
    relayAddress: address4Arbitrary,
    mac: macArbitrary,
    options: fc.record(
      {
        mask: address4Arbitrary,
        routers: fc.array(address4Arbitrary, { minLength: 1, maxLength: 3 }),
        domain: fc.domain(),
        mtu: fc.nat(65535),
        leaseTime: fc.nat(),
        parameters: fc.array(fc.nat(255), { maxLength: 20 }),
        clientId: fc.uint8Array({ minLength: 1, maxLength: 255 }),
        search: fc.array(fc.domain(), { maxLength: 40 }),
      },
      { requiredKeys: [] },
    ),
  });

  it('comes back from its octets, long options too', () => {
    fc.assert(
      fc.property(message, (it) => {
        expect(decodeDhcp4(encodeDhcp4(it))).toEqual(it);
      }),
    );
  });

  it('is never read past its end', () => {
    for (const octets of truncations(figure(discover).subarray(0, 243))) {
      expect(decodeDhcp4(octets)).toBe('dhcp4-malformed');
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.uint8Array({ maxLength: 60 }), (options, file) => {
        decodeDhcp4(figure([53, 1, 1, 52, 1, 3, ...options], [...file], [...file]));
      }),
    );
  });

  it.each([
    ['without a type', figure([50, 4, 1, 2, 3, 4, 255]), 'dhcp4-malformed'],
    ['of no type there is', figure([53, 1, 9, 255]), 'dhcp4-type'],
    ['of two types', figure([53, 1, 1, 53, 1, 3, 255]), 'dhcp4-malformed'],
    ['with an option past its end', figure([53, 1, 1, 12, 9, 1]), 'dhcp4-malformed'],
    ['with half an option', figure([53, 1, 1, 12]), 'dhcp4-malformed'],
    ['with an option past the end of a field', figure([53, 1, 1, 52, 1, 1], [...zeros(126), 12, 5]), 'dhcp4-malformed'],
    ['with an unknown overload', figure([53, 1, 1, 52, 1, 4]), 'dhcp4-malformed'],
    ['with an address of 3 octets', figure([53, 1, 1, 50, 3, 1, 2, 3]), 'dhcp4-malformed'],
    [
      'with a client identifier too long',
      figure([...[53, 1, 1], ...[1, 2].flatMap(() => [61, 128, ...zeros(128)])]),
      'dhcp4-malformed',
    ],
    ['with an empty client identifier', figure([53, 1, 1, 61, 0]), 'dhcp4-malformed'],
    ['that a client sends as an answer', figure([53, 1, 2, 255]), 'dhcp4-malformed'],
    ['of another hardware', figure([53, 1, 1]).with(1, 6), 'dhcp4-malformed'],
    ['of a longer MAC address', figure([53, 1, 1]).with(2, 16), 'dhcp4-malformed'],
    ['for a group', figure([53, 1, 1]).with(28, 3), 'dhcp4-malformed'],
    ['of BOOTP', figure([53, 1, 1]).with(236, 0), 'dhcp4-malformed'],
  ])('%s is dropped', (_, octets, reason) => {
    expect(decodeDhcp4(octets)).toBe(reason);
  });

  it('says which way it goes', () => {
    expect(serverTypes).toEqual(['offer', 'ack', 'nak']);
    expect(decodeDhcp4(figure([53, 1, 2, 255]).with(0, 2))).toMatchObject({ type: 'offer' });
  });
});
