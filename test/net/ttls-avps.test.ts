import { describe, expect, it } from 'vitest';
import { type Avp, avpCode, decodeAvps, encodeAvps, papCredentials } from '../../src/net/ttls-avps.ts';
import fc from '../support/property.ts';
import { hex } from '../vectors/read.ts';
import { toHex } from './support/link.ts';

/** RFC 5281 section 10.1: User-Name "cam1", User-Password "geheim" padded to 16 octets. */
const sample = hex(`00000001${'4000000c'}${'63616d31'}${'00000002'}${'40000018'}${'67656865696d'}${'00'.repeat(10)}`);
const name: Avp = { code: 1, vendor: null, mandatory: true, value: hex('63616d31') };
const password: Avp = { code: 2, vendor: null, mandatory: true, value: hex(`67656865696d${'00'.repeat(10)}`) };

describe('attribute-value pairs', () => {
  it('are read and written as RFC 5281 draws them', () => {
    expect(decodeAvps(sample)).toEqual([name, password]);
    expect(toHex(encodeAvps([name, password]))).toBe(toHex(sample));
  });

  it('come back from their octets, without the last padding too', () => {
    const avp = fc.record({
      code: fc.nat(),
      vendor: fc.option(fc.nat()),
      mandatory: fc.boolean(),
      value: fc.uint8Array({ maxLength: 30 }),
    });
    fc.assert(
      fc.property(fc.array(avp, { maxLength: 5 }), (avps) => {
        const octets = encodeAvps(avps);
        expect(decodeAvps(octets)).toEqual(avps);
        const padding = (4 - ((avps.at(-1)?.value.length ?? 0) % 4)) % 4;
        expect(decodeAvps(octets.subarray(0, octets.length - padding))).toEqual(avps);
      }),
    );
  });

  it('are any octets, and nothing is thrown', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (octets) => {
        const avps = decodeAvps(octets);
        if (avps !== null) papCredentials(avps);
      }),
    );
  });

  it.each([
    ['shorter than its header', '0000000140000007'],
    ['longer than there is', '000000014000000d63616d31'],
    ['with half a vendor', '00000001c000000a0000'],
    ['with reserved flags', '000000014100000c63616d31'],
    ['beyond all measure', '0000000140000008'.repeat(17)],
  ])('%s are none', (_, octets) => {
    expect(decodeAvps(hex(octets))).toBeNull();
  });
});

describe('PAP', () => {
  it('is a name and a password without its padding', () => {
    expect(papCredentials([name, password])).toEqual({ userName: name.value, password: hex('67656865696d') });
  });

  const other = { code: 4, vendor: null, mandatory: false, value: hex('00') };
  it('passes over what it need not understand', () => {
    expect(papCredentials([other, name, { ...name, vendor: 9, mandatory: false }, password])).not.toBeNull();
  });

  it.each([
    ['there is no name', [password]],
    ['there is no password', [name]],
    ['the name is empty', [{ ...name, value: hex('') }, password]],
    ['the password is nothing but padding', [name, { ...password, value: hex('0000') }]],
    ['there are two names', [name, name, password]],
    ['there are two passwords', [name, password, password]],
    ['something must be understood and is not', [name, password, { ...other, mandatory: true }]],
    ['a vendor has pairs of the same number', [{ ...name, vendor: 9 }, password]],
    ['it is another inner method', [{ ...other, code: 79, mandatory: true }]],
  ])('is not if %s', (_, avps) => {
    expect(papCredentials(avps)).toBeNull();
  });

  it('names its attributes as RADIUS does', () => {
    expect(avpCode).toEqual({ userName: 1, userPassword: 2 });
  });
});
