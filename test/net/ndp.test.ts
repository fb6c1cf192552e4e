import { describe, expect, it } from 'vitest';
import { Reader } from '../../src/lib/bytes.ts';
import { parsePrefix } from '../../src/lib/ip.ts';
import { decodeIp } from '../../src/net/datagram.ts';
import {
  decodeNdp,
  encodeNdp,
  isDuplicateDetection,
  isNdp,
  type NdpMessage,
  solicitedNode,
} from '../../src/net/ndp.ts';
import { decodeNdpOptions, type NdpOptions, noNdpOptions } from '../../src/net/ndp-options.ts';
import fc from '../support/property.ts';
import { address6Arbitrary, decoded, icmp6Packet, macArbitrary, octetsOf, toHex } from './support/link.ts';

const read = (octets: Uint8Array) => decodeNdp(decoded(decodeIp(octets)));
const linkLocal = 'fe80::1';

/** RFC 4861 section 4.3 with the option of 4.6.1. */
const solicitation = [135, 0, 0, 0, 0, 0, 0, 0, ...octetsOf('fd00:80::9'), 1, 1, 2, 0, 0, 0, 0, 1];
/** RFC 4861 section 4.2, options of 4.6.1, 4.6.4, 4.6.2, RFC 8106 sections 5.1 and 5.2. */
const advertisement = [
  ...[134, 0, 0, 0, 64, 0xc0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0],
  ...[1, 1, 2, 0, 0, 0, 0, 0xfe],
  ...[5, 1, 0, 0, 0, 0, 0x05, 0x78],
  ...[3, 4, 64, 0x80, 0, 0, 0x0e, 0x10, 0, 0, 0x07, 0x08, 0, 0, 0, 0, ...octetsOf('fd00:80::')],
  ...[25, 3, 0, 0, 0, 0, 0x07, 0x08, ...octetsOf('fd00:80::1')],
  ...[31, 3, 0, 0, 0, 0, 0x07, 0x08, 3, 0x6c, 0x61, 0x62, 7, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0, 0, 0, 0],
];

describe('a neighbour discovery message', () => {
  it('is a solicitation as the figure draws it', () => {
    const octets = icmp6Packet('fd00:80::5', solicitedNode('fd00:80::9'), solicitation);
    const message: NdpMessage = {
      type: 'neighbourSolicitation',
      target: 'fd00:80::9',
      options: { ...noNdpOptions, sourceMac: '02:00:00:00:00:01' },
    };
    expect(read(octets)).toEqual(message);
    expect(toHex(encodeNdp(message, 'fd00:80::5', 'ff02::1:ff00:9'))).toBe(toHex(octets));
  });

  it('is a router advertisement with all its options', () => {
    const octets = icmp6Packet(linkLocal, 'ff02::1', advertisement);
    const message: NdpMessage = {
      type: 'routerAdvertisement',
      hopLimit: 64,
      managed: true,
      otherConfiguration: true,
      lifetime: 1800,
      reachableMs: 0,
      retransmitMs: 0,
      options: {
        sourceMac: '02:00:00:00:00:fe',
        targetMac: null,
        mtu: 1400,
        prefixes: [
          {
            prefix: { address: 'fd00:80::', length: 64 },
            onLink: true,
            autonomous: false,
            validLifetime: 3600,
            preferredLifetime: 1800,
          },
        ],
        dnsServers: [{ lifetime: 1800, servers: ['fd00:80::1'] }],
        searchLists: [{ lifetime: 1800, domains: ['lab.example'] }],
        nat64Prefixes: [],
      },
    };
    const written = encodeNdp(message, linkLocal, 'ff02::1');
    expect(read(written)).toEqual(message);
    expect(read(octets)).toEqual(message);
    // The same options, in the order they are written.
    expect(written.length).toBe(octets.length);
  });

  const options: fc.Arbitrary<NdpOptions> = fc.record({
    sourceMac: fc.option(macArbitrary),
    targetMac: fc.option(macArbitrary),
    mtu: fc.option(fc.nat(65535)),
    prefixes: fc.array(
      fc.record({
        prefix: fc.record({ address: address6Arbitrary, length: fc.nat(128) }),
        onLink: fc.boolean(),
        autonomous: fc.boolean(),
        validLifetime: fc.nat(),
        preferredLifetime: fc.nat(),
      }),
      { maxLength: 2 },
    ),
    dnsServers: fc.array(
      fc.record({ lifetime: fc.nat(), servers: fc.array(address6Arbitrary, { minLength: 1, maxLength: 3 }) }),
      { maxLength: 2 },
    ),
    searchLists: fc.array(
      fc.record({ lifetime: fc.nat(), domains: fc.array(fc.domain(), { minLength: 1, maxLength: 2 }) }),
      { maxLength: 2 },
    ),
    nat64Prefixes: fc.array(
      fc.record({
        prefix: fc
          .constantFrom('64:ff9b::/96', '2001:db8:64::/64', '2001:db8::/56', '2001:db8::/48', '2001::/40', '2001::/32')
          .map((text) => parsePrefix(text)!),
        lifetime: fc.nat(8_191).map((units) => 8 * units),
      }),
      { maxLength: 2 },
    ),
  });
  const target = address6Arbitrary;
  const message: fc.Arbitrary<NdpMessage> = fc.oneof(
    fc.record({ type: fc.constant('routerSolicitation' as const), options }),
    fc.record({ type: fc.constant('neighbourSolicitation' as const), target, options }),
    fc.record({
      type: fc.constant('neighbourAdvertisement' as const),
      router: fc.boolean(),
      solicited: fc.boolean(),
      override: fc.boolean(),
      target,
      options,
    }),
    fc.record({
      type: fc.constant('routerAdvertisement' as const),
      hopLimit: fc.nat(255),
      managed: fc.boolean(),
      otherConfiguration: fc.boolean(),
      lifetime: fc.nat(65535),
      reachableMs: fc.nat(),
      retransmitMs: fc.nat(),
      options,
    }),
  );

  it('comes back from its octets; any damage shows', () => {
    fc.assert(
      fc.property(message, fc.nat(), (it, damage) => {
        const octets = encodeNdp(it, linkLocal, 'fe80::2');
        expect(read(octets)).toEqual(it);
        octets[40 + (damage % (octets.length - 40))]! ^= 1 << (damage & 7);
        expect(read(octets)).toBe('ndp-checksum');
      }),
    );
  });

  it('never makes the decoder throw, and is dropped at every length it is cut to', () => {
    fc.assert(
      fc.property(fc.integer({ min: 133, max: 137 }), fc.uint8Array({ maxLength: 80 }), (type, rest) => {
        read(icmp6Packet(linkLocal, 'ff02::1', [type, 0, 0, 0, ...rest]));
      }),
    );
    // Where the fixed part or an option ends, a shorter message is whole.
    const whole = [16, 24, 32, 64, 88];
    for (let length = 4; length < advertisement.length; length++) {
      const result = read(icmp6Packet(linkLocal, 'ff02::1', advertisement.slice(0, length)));
      expect(typeof result === 'string' ? result : result.type).toBe(
        whole.includes(length) ? 'routerAdvertisement' : 'ndp-malformed',
      );
    }
  });

  const to = 'ff02::1:ff00:9';
  it.each([
    ['that passed a router', icmp6Packet('fd00:80::5', to, solicitation, 254), 'ndp-hop-limit'],
    ['of another code', icmp6Packet('fd00:80::5', to, [135, 1, ...solicitation.slice(2)]), 'ndp-malformed'],
    ['that redirects', icmp6Packet('fe80::5', 'fe80::1', [137, 0, ...solicitation.slice(2)]), 'ndp-type'],
    ['with an empty option', icmp6Packet('fd00:80::5', to, [...solicitation, 1, 0]), 'ndp-malformed'],
    ['with an option past its end', icmp6Packet('fd00:80::5', to, [...solicitation, 1, 2, 0, 0]), 'ndp-malformed'],
    [
      'with a MAC address too long',
      icmp6Packet('fd00:80::5', to, [...solicitation, 1, 2, ...new Array<number>(14).fill(2)]),
      'ndp-malformed',
    ],
    ['for a group', icmp6Packet('fe80::5', to, [135, 0, 0, 0, 0, 0, 0, 0, ...octetsOf('ff02::1')]), 'ndp-address'],
    ['from nobody with a MAC address', icmp6Packet('::', to, solicitation), 'ndp-address'],
    ['from nobody to one', icmp6Packet('::', 'fe80::9', solicitation.slice(0, 24)), 'ndp-address'],
    ['a router from afar', icmp6Packet('fd00:80::5', 'ff02::1', advertisement), 'ndp-address'],
    [
      'from nobody that solicits routers with a MAC address',
      icmp6Packet('::', 'ff02::2', [133, 0, 0, 0, 0, 0, 0, 0, ...solicitation.slice(24)]),
      'ndp-address',
    ],
    [
      'that answers all nodes as if they had asked',
      icmp6Packet('fd00:80::9', 'ff02::1', [136, 0, 0, 0, 0x40, 0, 0, 0, ...octetsOf('fd00:80::9')]),
      'ndp-address',
    ],
  ])('%s is dropped', (_, octets, reason) => {
    expect(isNdp(decoded(decodeIp(octets)))).toBe(true);
    expect(read(octets)).toBe(reason);
  });

  it('from nobody asks for an address before taking it', () => {
    const octets = icmp6Packet('::', to, solicitation.slice(0, 24));
    expect(read(octets)).toMatchObject({ type: 'neighbourSolicitation', target: 'fd00:80::9' });
    expect(isDuplicateDetection(decoded(decodeIp(octets)))).toBe(true);
  });
});

describe('the prefix of a NAT64 that a router advertises (RFC 8781)', () => {
  const read = (hex: string) => decodeNdpOptions(new Reader(Uint8Array.fromHex(hex.replaceAll(' ', ''))));
  const said = (hex: string) => read(hex)?.nat64Prefixes;

  it.each([
    ['2602 0708 0064ff9b 00000000 00000000', '64:ff9b::/96', 1_800],
    ['2602 fff9 20010db8 00640064 00000000', '2001:db8:64:64::/64', 65_528],
    ['2602 000a 20010db8 00640100 00000000', '2001:db8:64:100::/56', 8],
    ['2602 0003 20010db8 00640000 00000000', '2001:db8:64::/48', 0],
    ['2602 000c 20010db8 01000000 00000000', '2001:db8:100::/40', 8],
    ['2602 000d 20010db8 00000000 00000000', '2001:db8::/32', 8],
  ])('is read from %s, and its time in units of 8 s', (hex, prefix, lifetime) => {
    expect(said(hex)).toEqual([{ prefix: parsePrefix(prefix), lifetime }]);
  });

  it('ends where its length says', () => {
    expect(said('2602 000d 20010db8 ffffffff ffffffff')).toEqual([
      { prefix: parsePrefix('2001:db8::/32'), lifetime: 8 },
    ]);
  });

  it.each([
    ['with a code that nobody knows', '2602 000e 20010db8 00000000 00000000'],
    ['with another', '2602 000f 20010db8 00000000 00000000'],
    ['that is too short', '2601 0008 20010db8'],
    ['that is too long', '2603 0008 0064ff9b 00000000 00000000 00000000 00000000'],
  ])('is passed over %s, others are not', (_, hex) => {
    expect(said(hex)).toEqual([]);
    expect(said(`${hex} 2602 0008 0064ff9b 00000000 00000000`)).toHaveLength(1);
  });

  it.each([
    ['cut off', '2602 0008 0064ff9b 00000000 000000'],
    ['of no length', '2600 0008 0064ff9b 00000000 00000000'],
    ['alone', '26'],
  ])('makes nothing of an option %s', (_, hex) => {
    expect(read(hex)).toBeNull();
  });
});
