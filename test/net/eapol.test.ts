import { describe, expect, it } from 'vitest';
import { decodeEap, type Eap, encodeEap } from '../../src/net/eap.ts';
import { decodeEapol, encodeEapol } from '../../src/net/eapol.ts';
import fc from '../support/property.ts';
import { hex } from '../vectors/read.ts';
import { toHex, truncations } from './support/link.ts';

describe('EAPOL', () => {
  it.each([
    ['01010000', { type: 'start', body: new Uint8Array(0) }],
    ['02020000', { type: 'logoff', body: new Uint8Array(0) }],
    ['0300000501010005 01', { type: 'packet', body: hex('0101000501') }],
    ['020300010f', { type: 'key', body: hex('0f') }],
  ])('%s is read, whatever its version and padding', (octets, expected) => {
    const whole = octets.replaceAll(' ', '');
    expect(decodeEapol(hex(whole))).toEqual(expected);
    expect(decodeEapol(hex(`${whole}${'00'.repeat(30)}`))).toEqual(expected);
  });

  it('is written', () => {
    expect(toHex(encodeEapol('packet', hex('03010004')))).toBe('0200000403010004');
    expect(toHex(encodeEapol('start'))).toBe('02010000');
  });

  it.each([
    ['of version 0', '00010000', 'eapol-malformed'],
    ['of a type for MACsec', '03050000', 'eapol-type'],
    ['of a type there is not', '02ff0000', 'eapol-type'],
    ['longer than its frame', '0200000501', 'eapol-malformed'],
  ])('%s is dropped', (_, octets, reason) => {
    expect(decodeEapol(hex(octets))).toBe(reason);
  });

  it('that is cut short is dropped', () => {
    for (const octets of truncations(hex('0200000501010005'))) expect(decodeEapol(octets)).toBe('eapol-malformed');
  });
});

describe('EAP', () => {
  it('is read as RFC 3748 draws it', () => {
    expect(decodeEap(hex('02070008 0163616d ffff'.replaceAll(' ', '')))).toEqual({
      code: 'response',
      id: 7,
      type: 1,
      data: hex('63616d'),
    });
    expect(decodeEap(hex('03070004'))).toEqual({ code: 'success', id: 7 });
    expect(decodeEap(hex('04070004'))).toEqual({ code: 'failure', id: 7 });
  });

  it('comes back from its octets', () => {
    const id = fc.nat(255);
    const packet: fc.Arbitrary<Eap> = fc.oneof(
      fc.record({ code: fc.constantFrom('success' as const, 'failure' as const), id }),
      fc.record({
        code: fc.constantFrom('request' as const, 'response' as const),
        id,
        type: fc.nat(255),
        data: fc.uint8Array({ maxLength: 40 }),
      }),
    );
    fc.assert(
      fc.property(packet, (eap) => {
        const octets = encodeEap(eap);
        expect(decodeEap(octets)).toEqual(eap);
        for (const cut of truncations(octets)) expect(decodeEap(cut)).toBe('eap-malformed');
      }),
    );
  });

  it.each([
    ['of another code', '0507000501'],
    ['without a type', '02070004'],
    ['shorter than its header', '02070003'],
    ['that succeeds and says more', '0307000501'],
  ])('%s is dropped', (_, octets) => {
    expect(decodeEap(hex(octets))).toBe('eap-malformed');
  });
});
