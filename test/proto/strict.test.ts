import { describe, expect, it } from 'vitest';
import { type Draft, encodePlain, layout, readBody, readEnvelope } from '../../src/proto/codec.ts';
import { HeaderOffset, plausible } from '../../src/proto/header.ts';
import { aeadSizes } from './arbitraries.ts';
import { hex } from './figures.ts';
import { decode } from './reencode.ts';

const id = '000102030405060708090a0b0c0d0e0f';
const value = 'f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff';

/** A datagram of this type, first option and rest, with a Message Length that is right. */
function datagram(type: number, nextOption: number, rest: string): Uint8Array {
  const octets = hex(rest);
  const length = (32 + octets.length).toString(16).padStart(4, '0');
  const code = (octet: number): string => octet.toString(16).padStart(2, '0');
  return hex(`00000001 0100 ${code(type)} 00 00000001 ${length} ${code(nextOption)} 00 ${id} ${octets.toHex()}`);
}

const ack = 1;

describe('header', () => {
  const valid = datagram(ack, 0, '');

  it('is accepted as it should be', () => {
    expect(decode(valid)).toMatchObject({ type: 'ack', id, sequence: 1 });
  });

  it.each([
    ['short', 31, valid.slice(0, 31)],
    ['short', 0, new Uint8Array(0)],
    ['length', 33, Uint8Array.of(...valid, 0)],
  ])('%s: %i octets', (reason, _, bytes) => {
    expect(readEnvelope(bytes)).toBe(reason);
    expect(plausible(bytes, 0, bytes.length)).toBe(reason);
  });

  it.each([
    ['version', HeaderOffset.version, 0],
    ['version', HeaderOffset.version, 2],
    ['type', HeaderOffset.type, 0],
    ['type', HeaderOffset.type, 18],
    ['type', HeaderOffset.type, 255],
    ['count', HeaderOffset.count, 1],
    ['length', HeaderOffset.length, 1],
    ['length', HeaderOffset.length + 1, 31],
    ['option-malformed', HeaderOffset.nextOption, 0x01],
    ['option-malformed', HeaderOffset.nextOption, 0x41],
    ['option-malformed', HeaderOffset.nextOption, 0x3f],
    ['option-critical', HeaderOffset.nextOption, 0x80],
    ['option-critical', HeaderOffset.nextOption, 0xff],
  ])('%s: offset %i = %i', (reason, offset, octet) => {
    const bytes = valid.slice();
    bytes[offset] = octet;
    expect(decode(bytes)).toBe(reason);
  });
});

describe('options', () => {
  const echo = `03 ${value} 000000000000`;

  it.each([
    ['a length of zero units', 0x03, '00 00'],
    ['more units than octets', 0x03, `00 04 ${value} 000000000000`],
    ['fewer units than its data', 0x03, '00 02 0011223344556677 889900000000'],
    ['a needless unit of padding', 0x03, `00 04 ${value} 000000000000 0000000000000000`],
    ['padding that is not zero', 0x03, `00 03 ${value} 000000000001`],
    ['data longer than its unit', 0x43, '00 01 0005 01020304'],
    ['text that is not UTF-8', 0x4a, `00 06 ${'00'.repeat(34)} 0003 c080af 00000000000000`],
    ['17 candidates', 0x41, `00 29 11 ${`01 0001 ${value}`.repeat(17)} 00 00`],
    ['a candidate of unknown kind', 0x41, `00 03 01 03 0001 ${value} 0000`],
    ['a candidate on port 0', 0x41, `00 03 01 01 0000 ${value} 0000`],
    ['a candidate nowhere', 0x41, `00 03 01 01 0001 ${'00'.repeat(16)} 0000`],
    ['an endpoint at IPv4 zero', 0x47, `00 03 0001 00000000000000000000ffff00000000 00000000`],
  ])('%s is malformed', (_, type, rest) => {
    expect(decode(datagram(ack, type, rest))).toBe('option-malformed');
  });

  it('16 candidates are well', () => {
    // 2 + 1 + 16 * 19 octets fill 39 units but for the last 5.
    const rest = `00 27 10 ${`01 0001 ${value}`.repeat(16)} 0000000000`;
    expect(decode(datagram(ack, 0x41, rest))).toMatchObject({ options: { candidates: { list: { length: 16 } } } });
  });

  it.each([
    ['option-repeated', 0x03, `03 ${echo} 00 ${echo}`],
    ['option-order', 0x04, `03 ${echo} 00 ${echo}`],
    ['option-order', 0x03, `04 ${echo} 03 ${echo} 00 ${echo}`],
    // A repeated option that we don't know.
    ['option-repeated', 0x3f, '3f 01 000000000000 00 01 000000000000'],
    // The must-be-understood bit is no part of the number.
    ['option-repeated', 0x02, '82 01 000000000000 00 01 00 02 00000000'],
    // A clear option behind a sealed one.
    ['option-order', 0x48, `03 01 000d00000000 00 ${echo}`],
    ['option-repeated', 0x48, '48 01 000d00000000 00 01 000d00000000'],
  ])('%s: first %i', (reason, type, rest) => {
    expect(decode(datagram(ack, type, rest))).toBe(reason);
  });

  it.each([
    [0x3f, '00 01 0102030405ff'],
    [0x7f, '00 01 0102030405ff'],
  ])('unknown option %i is skipped', (type, rest) => {
    expect(decode(datagram(ack, type, rest))).toMatchObject({ type: 'ack', options: {} });
  });

  it('known options around an unknown one are read', () => {
    const rest = `10 ${echo} 48 01 ffffffffffff 7f 01 000d00000000 00 01 ffffffffffff`;
    expect(decode(datagram(ack, 0x04, rest))).toMatchObject({ options: { echo: { value }, refusal: { reason: 13 } } });
  });

  it.each([
    [0xbf, '00 01 000000000000'],
    [0xff, '00 01 000000000000'],
    [0x48, 'c9 01 000d00000000 00 01 000000000000'],
    [0x83, `00 ${echo}`],
  ])('unknown option %i that must be understood is refused', (type, rest) => {
    expect(decode(datagram(ack, type, rest))).toBe('option-critical');
  });
});

describe('body', () => {
  const registration = 4;
  const notice = 16;

  it.each([
    ['a short one', registration, '1d14 0000 0a140002'],
    ['padding that is not zero', 5, '01 000001'],
    ['a variable field longer than the message', 13, '0005 0000 cafebabe'],
    ['padding between a length and its field', 13, '0004 0001 cafebabe'],
    ['an IPv4-mapped address in an IPv6 field', registration, '1d14 0000 00000000 00000000000000000000ffff0a000001'],
    ['a name that is not UTF-8', 7, `${value} ${value} 0002 0000 c3 28`],
    ['an overlong encoding', 7, `${value} ${value} 0002 0000 c0 80`],
    ['a surrogate', 7, `${value} ${value} 0003 0000 ed a0 80`],
    ...['07e9021d', '07ea0d01', '07ea0001', '07ea0100', '00000101', '2710 0101', '07ea0420'].map(
      (date) =>
        [`the date ${date}`, 3, `0002 0000 ${date} 0000 0000 ${'00'.repeat(40)}`] satisfies [string, number, string],
    ),
  ])('%s is malformed', (_, type, rest) => {
    expect(decode(datagram(type, 0, rest))).toBe('body-malformed');
  });

  it.each(['00000000', '07e8021d', '270f0c1f', '00010101'])('the date %s is well', (date) => {
    expect(decode(datagram(3, 0, `0002 0000 ${date} 0000 0000 ${'00'.repeat(40)}`))).toMatchObject({
      type: 'loginResponse',
    });
  });

  it('nothing may follow it', () => {
    expect(decode(datagram(ack, 0, '00'))).toBe('body-trailing');
    expect(decode(datagram(notice, 0, `0003 ${value} 00`))).toBe('body-trailing');
    expect(decode(datagram(ack, 0x48, '00 01 000d00000000 0000000000000000'))).toBe('body-trailing');
  });

  it('a byte order mark in a name is kept', () => {
    expect(decode(datagram(7, 0, `${value} ${value} 0004 0000 efbbbf 61`))).toMatchObject({
      body: { fqdn: '\ufeffa' },
    });
  });

  it('a lone part is no message', () => {
    const part = datagram(ack, 0x82, '00 01 0002 00000000');
    expect(decode(part)).toBe('part-malformed');
  });
});

describe('what we could not mean to send', () => {
  const base = { id, transactionId: 1 } as const;
  const candidate = { kind: 'host', address: '10.0.0.1', port: 1 } as const;
  const registration = { port: 1, notificationType: 0, node4: null, node6: null };

  it.each<[string, Draft]>([
    ['an id in capitals', { ...base, id: id.toUpperCase(), type: 'ack', body: {} }],
    ['a short id', { ...base, id: id.slice(2), type: 'ack', body: {} }],
    ['a transaction id beyond 32 bits', { ...base, transactionId: 2 ** 32, type: 'ack', body: {} }],
    ['negative flags', { ...base, flags: -1, type: 'ack', body: {} }],
    ['an epoch beyond 8 bits', { ...base, epoch: 256, type: 'ack', body: {} }],
    ['half a port', { ...base, type: 'registrationRequest', body: { ...registration, port: 0.5 } }],
    ['IPv6 in an IPv4 field', { ...base, type: 'registrationRequest', body: { ...registration, node4: '::1' } }],
    ['IPv4 in an IPv6 field', { ...base, type: 'registrationRequest', body: { ...registration, node6: '10.0.0.1' } }],
    ['a name for an address', { ...base, type: 'registrationRequest', body: { ...registration, node4: 'localhost' } }],
    [
      'a lone surrogate',
      {
        ...base,
        type: 'directionRequest',
        body: { applicationId: id, pathId: id, fqdn: '\ud800', certificate: new Uint8Array(0) },
      },
    ],
    ['a part', { ...base, type: 'ack', body: {}, options: { part: { number: 0, count: 2 } } }],
    ['17 candidates', { ...base, type: 'ack', body: {}, options: { candidates: { list: Array(17).fill(candidate) } } }],
    [
      'a candidate on port 0',
      { ...base, type: 'ack', body: {}, options: { candidates: { list: [{ ...candidate, port: 0 }] } } },
    ],
    [
      'a short key',
      {
        ...base,
        type: 'ack',
        body: {},
        options: {
          identity: { signKey: new Uint8Array(31), handshakeKey: new Uint8Array(32), signature: new Uint8Array(64) },
        },
      },
    ],
    [
      'an option beyond 255 units',
      { ...base, type: 'ack', body: {}, options: { certificate: { certificate: new Uint8Array(2040) } } },
    ],
    ['a message beyond 16 bits', { ...base, type: 'tunnelRequest', body: { endKey: new Uint8Array(65535) } }],
  ])('%s throws', (_, draft) => {
    expect(() => encodePlain(draft)).toThrow(/no form on the wire/);
  });

  it('an impossible date throws', () => {
    const body = {
      cipherType: 2,
      expires: '2025-02-29',
      virtual4: null,
      virtual6: null,
      nms4: null,
      nms6: null,
      commonKey: new Uint8Array(32),
      fqdn: '',
    };
    expect(() => encodePlain({ ...base, type: 'loginResponse', body })).toThrow(/date "2025-02-29"/);
    expect(() => encodePlain({ ...base, type: 'loginResponse', body: { ...body, expires: 'soon' } })).toThrow(/"soon"/);
  });

  it('more than 255 parts throw', () => {
    const draft: Draft = { ...base, type: 'tunnelRequest', body: { endKey: new Uint8Array(20_000) } };
    expect(() => layout(draft, aeadSizes, () => 1, 100)).toThrow(/tunnelRequest of 20004 octets/);
    expect(() => layout(draft, aeadSizes, () => 1, 40)).toThrow(/tunnelRequest/);
  });

  it('a body that readBody is handed with a foreign envelope is just malformed', () => {
    const envelope = readEnvelope(datagram(ack, 0x43, ''));
    if (typeof envelope === 'string') return expect.fail(envelope);
    expect(readBody(envelope, new Uint8Array(1))).toBe('option-malformed');
  });
});
