import { describe, expect, it } from 'vitest';
import { type Dhcp6Message, decodeDhcp6, dhcp6Types, encodeDhcp6 } from '../../src/net/dhcp6.ts';
import { decodeDuid, duidOf } from '../../src/net/duid.ts';
import fc from '../support/property.ts';
import { hex } from '../vectors/read.ts';
import { address6Arbitrary, decoded, octetsOf, toHex, truncations } from './support/link.ts';

/** RFC 8415 figures 2, 6, 13, 14, 18: a solicit with DUID-LL, IA_NA with an address, rapid commit and a request for DNS. */
const solicit = Uint8Array.from([
  ...[1, 0x12, 0x34, 0x56],
  ...[0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 1],
  ...[0, 14, 0, 0],
  ...[0, 6, 0, 4, 0, 23, 0, 24],
  ...[0, 8, 0, 2, 0, 100],
  ...[0, 3, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
  ...[0, 5, 0, 24, ...octetsOf('fd00:80::5'), 0, 0, 0x0e, 0x10, 0, 0, 0x1c, 0x20],
]);
const message: Dhcp6Message = {
  type: 'solicit',
  transactionId: 0x123456,
  options: {
    clientId: hex('00030001020000000001'),
    rapidCommit: true,
    requested: [23, 24],
    elapsedTime: 100,
  },
  associations: [
    {
      kind: 'addresses',
      id: 1,
      renewalTime: 0,
      rebindingTime: 0,
      addresses: [{ address: 'fd00:80::5', preferred: 3600, valid: 7200 }],
      status: null,
    },
  ],
};

describe('a DHCPv6 message', () => {
  it('is read and written as the figures draw it', () => {
    expect(decodeDhcp6(solicit)).toEqual(message);
    expect(toHex(encodeDhcp6(message))).toBe(toHex(solicit));
  });

  const number = fc.nat(2 ** 31 - 1);
  const duid = fc.uint8Array({ minLength: 3, maxLength: 130 });
  const arbitrary: fc.Arbitrary<Dhcp6Message> = fc.record({
    type: fc.constantFrom(...(Object.keys(dhcp6Types) as Dhcp6Message['type'][])),
    transactionId: fc.nat(0xffffff),
    options: fc.record(
      {
        clientId: duid,
        serverId: duid,
        requested: fc.array(fc.nat(65535), { maxLength: 5 }),
        preference: fc.nat(255),
        status: fc.nat(65535),
        rapidCommit: fc.constant(true as const),
        dns: fc.array(address6Arbitrary, { minLength: 1, maxLength: 3 }),
        search: fc.array(fc.domain(), { maxLength: 2 }),
        refreshTime: number,
      },
      { requiredKeys: [] },
    ),
    associations: fc.array(
      fc.oneof(
        fc.record({
          kind: fc.constant('addresses' as const),
          id: number,
          renewalTime: number,
          rebindingTime: number,
          addresses: fc.array(fc.record({ address: address6Arbitrary, preferred: number, valid: number }), {
            maxLength: 3,
          }),
          status: fc.option(fc.nat(65535)),
        }),
        fc.record({
          kind: fc.constant('prefixes' as const),
          id: number,
          renewalTime: number,
          rebindingTime: number,
          addresses: fc.constant([]),
          status: fc.constant(null),
        }),
      ),
      { maxLength: 3 },
    ),
  });

  it('comes back from its octets', () => {
    fc.assert(
      fc.property(arbitrary, (it) => {
        expect(decodeDhcp6(encodeDhcp6(it))).toEqual(it);
      }),
    );
  });

  it('is dropped at every length that cuts an option', () => {
    const whole = [4, 18, 22, 30, 36];
    for (const octets of truncations(solicit)) {
      const result = decodeDhcp6(octets);
      if (whole.includes(octets.length)) expect(result).toMatchObject({ type: 'solicit' });
      else expect(result).toBe('dhcp6-malformed');
    }
  });

  it('is any octets, and nothing is thrown', () => {
    const option = fc.tuple(fc.constantFrom(1, 3, 5, 6, 13, 14, 23, 24, 25, 32), fc.uint8Array({ maxLength: 60 }));
    fc.assert(
      fc.property(fc.array(option), fc.uint8Array({ maxLength: 8 }), (options, rest) => {
        const octets = options.flatMap(([code, value]) => [0, code, 0, value.length, ...value]);
        decodeDhcp6(Uint8Array.from([1, 0, 0, 1, ...octets, ...rest]));
      }),
    );
  });

  const after = (...octets: number[]): Uint8Array => Uint8Array.from([1, 0, 0, 1, ...octets]);
  const association = (...inside: number[]): Uint8Array =>
    after(0, 3, 0, 12 + inside.length, ...new Array<number>(12).fill(0), ...inside);
  it.each([
    ['from a relay agent', Uint8Array.of(12, 0, 0, 0), 'dhcp6-relayed'],
    ['to a relay agent', Uint8Array.of(13, 0, 0, 0), 'dhcp6-relayed'],
    ['of no type there is', Uint8Array.of(99, 0, 0, 0), 'dhcp6-type'],
    ['with a DUID too short', after(0, 1, 0, 2, 0, 3), 'dhcp6-malformed'],
    ['with a DUID too long', after(0, 1, 0, 131, ...new Array<number>(131).fill(1)), 'dhcp6-malformed'],
    ['with two DUIDs', after(0, 1, 0, 3, 0, 9, 1, 0, 1, 0, 3, 0, 9, 1), 'dhcp6-malformed'],
    ['with half a request', after(0, 6, 0, 1, 0), 'dhcp6-malformed'],
    ['with an address outside an association', after(0, 5, 0, 24, ...new Array<number>(24).fill(0)), 'dhcp6-malformed'],
    [
      'with an association in an association',
      association(0, 3, 0, 12, ...new Array<number>(12).fill(0)),
      'dhcp6-malformed',
    ],
    ['with half an address', association(0, 5, 0, 20, ...new Array<number>(20).fill(0)), 'dhcp6-malformed'],
    [
      'with an IPv4-mapped address',
      association(0, 5, 0, 24, ...octetsOf('::').slice(0, 10), 0xff, 0xff, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0),
      'dhcp6-malformed',
    ],
    ['with a flag that says more', after(0, 14, 0, 1, 0), 'dhcp6-malformed'],
    [
      'with associations beyond measure',
      after(...Array.from({ length: 17 }, () => [0, 3, 0, 12, ...new Array<number>(12).fill(0)]).flat()),
      'dhcp6-malformed',
    ],
  ])('%s is dropped', (_, octets, reason) => {
    expect(decodeDhcp6(octets)).toBe(reason);
  });

  it('passes over options it does not know, also repeated', () => {
    const octets = after(0, 16, 0, 1, 9, 0, 16, 0, 1, 9);
    expect(decoded(decodeDhcp6(octets)).options).toEqual({});
  });
});

describe('a DUID', () => {
  it.each([
    ['00010001 2a2b2c2d 020000000001', { kind: 'llt', mac: '02:00:00:00:00:01', time: 0x2a2b2c2d }],
    ['00020000 0009 0c8401', { kind: 'en', enterprise: 9, identifier: hex('0c8401') }],
    ['00030001 020000000001', { kind: 'll', mac: '02:00:00:00:00:01' }],
    [`0004${'ab'.repeat(16)}`, { kind: 'uuid', uuid: hex('ab'.repeat(16)) }],
    [`0004${'ab'.repeat(15)}`, { kind: 'other' }],
    ['00030006 020000000001', { kind: 'other' }],
    ['00030001 0200000000', { kind: 'other' }],
    ['0009 01', { kind: 'other' }],
    ['0003', null],
    ['ab'.repeat(131), null],
  ])('%s is read', (text, expected) => {
    expect(decodeDuid(hex(text.replaceAll(' ', '')))).toEqual(expected);
  });

  it('is made of a MAC address', () => {
    expect(decodeDuid(duidOf('02:00:00:00:00:01'))).toEqual({ kind: 'll', mac: '02:00:00:00:00:01' });
  });
});
