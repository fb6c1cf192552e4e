import { describe, expect, it } from 'vitest';
import {
  decodeTlsFragment,
  encodeTlsFragment,
  FlightReceiver,
  FlightSender,
  FRAGMENT_SIZE,
  MAX_FLIGHT,
  type TlsFragment,
  tlsAcknowledgement,
  tlsStart,
} from '../../src/net/eap-tls-framing.ts';
import fc from '../support/property.ts';
import { hex } from '../vectors/read.ts';
import { decoded, toHex } from './support/link.ts';

const fragment = (payload: number, more = false, length: number | null = null): TlsFragment => ({
  length,
  more,
  start: false,
  payload: new Uint8Array(payload).fill(7),
});

describe('a fragment', () => {
  it.each([
    ['20', tlsStart],
    ['00', tlsAcknowledgement],
    ['c0000000050102', { length: 5, more: true, start: false, payload: hex('0102') }],
    ['00030405', { length: null, more: false, start: false, payload: hex('030405') }],
  ])('%s is read and written as RFC 5216 draws it', (octets, expected) => {
    expect(decodeTlsFragment(hex(octets))).toEqual(expected);
    expect(toHex(encodeTlsFragment(expected))).toBe(octets);
  });

  it('may say nothing at all, or a version', () => {
    expect(decodeTlsFragment(new Uint8Array(0))).toEqual(tlsAcknowledgement);
    expect(decodeTlsFragment(hex('21'))).toEqual(tlsStart);
  });

  it('with half a length is dropped', () => {
    for (const octets of ['80', '80000000']) expect(decodeTlsFragment(hex(octets))).toBe('eap-fragment');
  });
});

describe('a flight', () => {
  it('comes back from its fragments, each of them small enough', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 3 }), (lengths) => {
        const sender = new FlightSender();
        const receiver = new FlightReceiver();
        for (const length of lengths) {
          const flight = new Uint8Array(length).map((_, i) => i % 251);
          let octets = encodeTlsFragment(sender.begin(flight));
          let received = receiver.accept(decoded(decodeTlsFragment(octets)));
          while (sender.pending) {
            expect(received).toBeNull();
            octets = encodeTlsFragment(sender.next());
            expect(octets.length).toBeLessThanOrEqual(FRAGMENT_SIZE + 5);
            received = receiver.accept(decoded(decodeTlsFragment(octets)));
          }
          expect(Buffer.compare(received as Uint8Array, flight)).toBe(0);
        }
      }),
    );
  });

  it('says its length in the first of several fragments', () => {
    const sender = new FlightSender();
    expect(sender.begin(new Uint8Array(3000))).toMatchObject({ length: 3000, more: true });
    expect(sender.next()).toMatchObject({ length: null, more: true });
    expect(sender.next()).toMatchObject({ length: null, more: false });
    expect(sender.begin(new Uint8Array(3))).toMatchObject({ length: null, more: false });
  });

  it('outlives the frames it came in', () => {
    const receiver = new FlightReceiver();
    const first = fragment(2, true, 3);
    receiver.accept(first);
    first.payload.fill(9);
    expect(receiver.accept(fragment(1))).toEqual(Uint8Array.of(7, 7, 7));
  });

  it.each([
    ['without its length', [fragment(2, true)]],
    ['longer than any', [fragment(2, true, MAX_FLIGHT + 1)]],
    ['that is already longer than it says', [fragment(3, true, 3)]],
    ['that ends too soon', [fragment(2, true, 5), fragment(2)]],
    ['that goes on too long', [fragment(2, true, 5), fragment(4)]],
    ['that changes its length', [fragment(2, true, 5), fragment(3, false, 6)]],
    ['that makes no progress', [fragment(2, true, 5), fragment(0, true)]],
    ['that starts', [tlsStart]],
    ['of one fragment with another length', [fragment(2, false, 3)]],
  ])('%s is dropped, and what came before stays', (_, fragments) => {
    const receiver = new FlightReceiver();
    const results = fragments.map((it) => receiver.accept(it));
    expect(results.at(-1)).toBe('eap-fragment');
    if (fragments.length > 1) expect(receiver.accept(fragment(3))).toHaveLength(5);
  });

  it('takes any fragments without a throw, and never more than its bound', () => {
    const any = fc.record({
      length: fc.option(fc.nat(200_000)),
      more: fc.boolean(),
      start: fc.boolean(),
      payload: fc.uint8Array({ maxLength: 50 }),
    });
    fc.assert(
      fc.property(fc.array(any), (fragments) => {
        const receiver = new FlightReceiver();
        for (const it of fragments) {
          const result = receiver.accept(it);
          if (result instanceof Uint8Array) expect(result.length).toBeLessThanOrEqual(MAX_FLIGHT);
        }
      }),
    );
  });
});
