import { isIPv4, isIPv6 } from 'node:net';
import { describe, expect, it } from 'vitest';
import {
  canonicalAddress,
  contains,
  familyOf,
  formatAddress,
  formatEndpoint,
  formatPrefix,
  isForbiddenOuter,
  isLinkLocal,
  isMapped,
  isPrivate,
  overlaps,
  type Prefix,
  parseAddress,
  parseEndpoint,
  parsePrefix,
  sameEndpoint,
} from '../../src/lib/ip.ts';
import fc from '../support/property.ts';

const octetsOf = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });
/** Groups that are often zero, so that runs to shorten appear. */
const octets6 = fc
  .array(fc.oneof(fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255])));
const anyOctets = fc.oneof(octetsOf(4), octetsOf(16), octets6);

function prefix(text: string): Prefix {
  return parsePrefix(text) ?? expect.fail(text);
}

/** Text of pieces that addresses are made of, in any order. */
const almostAddress = fc
  .array(
    fc.constantFrom(':', '::', '.', '0', '00', '1', '25', '255', '256', 'a', 'FFff', '12345', 'g', '%', ' ', '-'),
    {
      maxLength: 18,
    },
  )
  .map((pieces) => pieces.join(''));
const dotted = fc.array(fc.oneof(fc.nat(300), fc.constantFrom('', '00', '01')), { minLength: 3, maxLength: 5 });
const groups = fc.array(fc.constantFrom('0', '1', 'abc', 'ffff', '0db8'), { minLength: 6, maxLength: 9 });
const likeAddress = fc.oneof(
  almostAddress,
  dotted.map((parts) => parts.join('.')),
  fc.tuple(groups, fc.nat(9)).map(([parts, gap]) => [...parts.slice(0, gap), '', ...parts.slice(gap + 1)].join(':')),
  fc.tuple(groups, dotted).map(([parts, last]) => [...parts, last.join('.')].join(':')),
);

describe('addresses', () => {
  // RFC 5952 sections 1, 2 and 4.
  it.each([
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:0db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8::1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8::0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:0db8::1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:0:1::1', '2001:db8::1:0:0:1'],
    ['2001:DB8:0:0:1::1', '2001:db8::1:0:0:1'],
    ['2001:db8:aaaa:bbbb:cccc:dddd:eeee:0001', '2001:db8:aaaa:bbbb:cccc:dddd:eeee:1'],
    ['2001:db8::aaaa:0:0:1', '2001:db8::aaaa:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:0201', '192.0.2.1'],
    ['::ffff:0.0.0.0', '0.0.0.0'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['192.0.2.255', '192.0.2.255'],
  ])('%s is written %s', (text, canonical) => {
    expect(canonicalAddress(text)).toBe(canonical);
  });

  it('are read as Node and the URL standard read them', () => {
    const asUrl = (text: string) => new URL(`http://${text.includes(':') ? `[${text}]` : text}/`).hostname;
    fc.assert(
      fc.property(likeAddress, (text) => {
        const octets = parseAddress(text);
        expect(octets !== null).toBe(isIPv4(text) || (isIPv6(text) && !text.includes('%')));
        if (octets === null || isMapped(octets)) return;
        const written = formatAddress(octets);
        expect(octets.length === 4 ? written : `[${written}]`).toBe(asUrl(text));
      }),
      { numRuns: 5_000 },
    );
  });

  it.each([
    '',
    ' ',
    '1.2.3',
    '1.2.3.256',
    '1.2.3.4.5',
    '01.2.3.4',
    '1.2.3.4 ',
    ':::',
    '1::2::3',
    '12345::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    'fe80::1%eth0',
    '::1.2.3',
    '[::1]',
    '::1/64',
    'localhost',
  ])('"%s" is none', (text) => {
    expect(parseAddress(text)).toBe(null);
    expect(canonicalAddress(text)).toBe(null);
  });

  it('come back from text as they were, canonical and understood by others', () => {
    fc.assert(
      fc.property(anyOctets, (octets) => {
        const text = formatAddress(octets);
        const mapped = octets.length === 16 && isMapped(octets);
        expect(parseAddress(text)).toEqual(mapped ? octets.slice(12) : octets);
        expect(canonicalAddress(text)).toBe(text);
        expect(familyOf(text) === 4 ? isIPv4(text) : isIPv6(text)).toBe(true);
        expect(familyOf(text)).toBe(octets.length === 4 || mapped ? 4 : 6);
      }),
    );
  });

  it('are read inside a larger buffer', () => {
    fc.assert(
      fc.property(anyOctets, fc.nat(20), fc.nat(20), (octets, before, behind) => {
        const buffer = new Uint8Array(before + octets.length + behind).fill(0xa5);
        buffer.set(octets, before);
        expect(formatAddress(buffer, before, octets.length)).toBe(formatAddress(octets));
      }),
    );
  });

  it('in any written form mean the same', () => {
    fc.assert(
      fc.property(
        fc.ipV6().filter((text) => !text.includes('%')),
        (text) => {
          const canonical = canonicalAddress(text) ?? expect.fail(text);
          expect(canonicalAddress(text.toUpperCase())).toBe(canonical);
          // The URL standard's serializer is an independent RFC 5952 writer, but for the IPv4-mapped form.
          if (familyOf(canonical) === 6) expect(new URL(`http://[${text}]`).hostname).toBe(`[${canonical}]`);
        },
      ),
    );
  });
});

describe('endpoints', () => {
  it('come back from text as they were', () => {
    fc.assert(
      fc.property(anyOctets, fc.integer({ min: 1, max: 65535 }), (octets, port) => {
        const endpoint = { address: formatAddress(octets), port };
        expect(parseEndpoint(formatEndpoint(endpoint))).toEqual(endpoint);
      }),
    );
  });

  it.each([
    ['192.0.2.1:7444', { address: '192.0.2.1', port: 7444 }],
    ['[2001:DB8::1]:1', { address: '2001:db8::1', port: 1 }],
    ['[::ffff:192.0.2.1]:65535', { address: '192.0.2.1', port: 65535 }],
  ])('%s', (text, endpoint) => {
    expect(parseEndpoint(text)).toEqual(endpoint);
  });

  it.each([
    '',
    '192.0.2.1',
    '192.0.2.1:',
    '192.0.2.1:0',
    '192.0.2.1:65536',
    '192.0.2.1:123456',
    '192.0.2.1:-1',
    '192.0.2.1:1 ',
    '2001:db8::1:7444',
    '[2001:db8::1]',
    '[2001:db8::1]:0',
    'host:1',
    '[192.0.2.1]:1',
  ])('"%s" is none', (text) => {
    expect(parseEndpoint(text)).toBe(null);
  });

  it('are the same if address and port are', () => {
    const a = { address: '192.0.2.1', port: 1 };
    expect(sameEndpoint(a, { ...a })).toBe(true);
    expect(sameEndpoint(a, { ...a, port: 2 })).toBe(false);
    expect(sameEndpoint(a, { ...a, address: '192.0.2.2' })).toBe(false);
  });
});

describe('prefixes', () => {
  const anyPrefix = anyOctets
    .filter((octets) => octets.length === 4 || !isMapped(octets))
    .chain((octets) => fc.tuple(fc.constant(octets), fc.nat(octets.length * 8)));

  /** The bits as text: a slow twin of the mask arithmetic. */
  const bits = (octets: Uint8Array): string => [...octets].map((octet) => octet.toString(2).padStart(8, '0')).join('');

  it.each([
    ['100.80.1.2/16', '100.80.0.0/16'],
    ['10.255.255.255/9', '10.128.0.0/9'],
    ['1.2.3.4/0', '0.0.0.0/0'],
    ['1.2.3.4/32', '1.2.3.4/32'],
    ['2001:db8:ffff::1/33', '2001:db8:8000::/33'],
    ['2001:db8::1/128', '2001:db8::1/128'],
    ['ffff::/0', '::/0'],
    ['::ffff:10.1.2.3/104', '10.0.0.0/8'],
    ['::ffff:0:0/96', '0.0.0.0/0'],
    ['::ffff:0:0/95', '::fffe:0:0/95'],
  ])('%s begins at %s', (text, canonical) => {
    expect(formatPrefix(prefix(text))).toBe(canonical);
  });

  it.each([
    '',
    '/',
    '/8',
    '10.0.0.0',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '::/129',
    '::/1x',
    'a/1',
  ])('"%s" is none', (text) => {
    expect(parsePrefix(text)).toBe(null);
  });

  it('contain what begins with the same bits', () => {
    fc.assert(
      fc.property(anyPrefix, anyOctets, fc.boolean(), ([octets, length], other, near) => {
        const range = prefix(`${formatAddress(octets)}/${length}`);
        expect(contains(range, formatAddress(octets))).toBe(true);
        const probe = near && other.length === octets.length ? octets.with(octets.length - 1, other[0]!) : other;
        const address = formatAddress(probe);
        const same = familyOf(address) === familyOf(range.address);
        const first = bits(parseAddress(address)!).slice(0, length);
        expect(contains(range, address)).toBe(same && first === bits(octets).slice(0, length));
      }),
    );
  });

  it('overlap if one begins in the other', () => {
    fc.assert(
      fc.property(anyPrefix, anyPrefix, fc.boolean(), ([a, n], [b, m], near) => {
        const other = near && a.length === b.length ? a : b;
        const [left, right] = [prefix(`${formatAddress(a)}/${n}`), prefix(`${formatAddress(other)}/${m}`)];
        const common = Math.min(n, m);
        const expected = a.length === other.length && bits(a).slice(0, common) === bits(other).slice(0, common);
        expect(overlaps(left, right)).toBe(expected);
        expect(overlaps(right, left)).toBe(expected);
      }),
    );
  });

  it('come back from text as they were', () => {
    fc.assert(
      fc.property(anyPrefix, ([octets, length]) => {
        const range = prefix(`${formatAddress(octets)}/${length}`);
        expect(parsePrefix(formatPrefix(range))).toEqual(range);
        expect(range.length).toBe(length);
      }),
    );
  });

  it('contain nothing that is no address', () => {
    expect(contains(prefix('0.0.0.0/0'), 'localhost')).toBe(false);
  });
});

describe('kinds of addresses', () => {
  const overlay = [prefix('100.80.0.0/16'), prefix('fd12:3456:789a::/64')];

  it.each([
    '0.0.0.0',
    '0.1.2.3',
    '127.0.0.1',
    '127.255.255.255',
    '169.254.1.1',
    '224.0.0.1',
    '239.255.255.255',
    '240.0.0.1',
    '255.255.255.255',
    '100.80.0.1',
    '100.80.255.255',
    '::',
    '::1',
    'fe80::1',
    'febf::1',
    'ff02::1',
    'fd12:3456:789a::1',
    'fd12:3456:789a:0:ffff::1',
  ])('no outer datagram goes to %s', (address) => {
    expect(isForbiddenOuter(address, overlay)).toBe(true);
  });

  it.each([
    '1.0.0.1',
    '10.0.0.1',
    '100.79.255.255',
    '100.81.0.0',
    '126.255.255.255',
    '128.0.0.1',
    '169.253.255.255',
    '192.168.1.1',
    '198.51.100.10',
    '223.255.255.255',
    '::2',
    '2001:db8::1',
    'fd12:3456:789a:1::1',
    'fe7f::1',
    'fec0::1',
    'feff::1',
  ])('outer datagrams may go to %s', (address) => {
    expect(isForbiddenOuter(address, overlay)).toBe(false);
  });

  it('what is mapped into IPv6 is judged as IPv4', () => {
    expect(isForbiddenOuter(canonicalAddress('::ffff:127.0.0.1')!, overlay)).toBe(true);
    expect(isForbiddenOuter(canonicalAddress('::ffff:100.80.0.9')!, overlay)).toBe(true);
    expect(isForbiddenOuter(canonicalAddress('::ffff:192.0.2.1')!, overlay)).toBe(false);
  });

  it.each([
    ['10.255.0.1', true],
    ['11.0.0.0', false],
    ['172.15.255.255', false],
    ['172.16.0.0', true],
    ['172.31.255.255', true],
    ['172.32.0.0', false],
    ['192.168.0.0', true],
    ['192.169.0.0', false],
    ['100.63.255.255', false],
    ['100.64.0.0', true],
    ['100.127.255.255', true],
    ['100.128.0.0', false],
    ['fbff::1', false],
    ['fc00::1', true],
    ['fdff::1', true],
    ['fe00::1', false],
  ])('%s is private: %s', (address, expected) => {
    expect(isPrivate(address)).toBe(expected);
  });

  it.each([
    ['169.254.0.0', true],
    ['169.255.0.0', false],
    ['fe80::', true],
    ['fec0::', false],
  ])('%s is link-local: %s', (address, expected) => {
    expect(isLinkLocal(address)).toBe(expected);
  });
});
