import { describe, expect, it } from 'vitest';
import { decodeFrame, encodeFrame, multicastMac } from '../../src/net/ethernet.ts';
import fc from '../support/property.ts';
import { hex } from '../vectors/read.ts';
import { decoded, macArbitrary, toHex, truncations } from './support/link.ts';

const plain = hex(`ffffffffffff${'020000000001'}${'0806'}${'00'.repeat(46)}`);
const tagged = hex(`020000000002${'020000000001'}${'8100'}${'6064'}${'0800'}45`);

describe('a frame', () => {
  it('is read', () => {
    expect(decodeFrame(plain)).toEqual({
      destination: 'ff:ff:ff:ff:ff:ff',
      source: '02:00:00:00:00:01',
      tag: null,
      etherType: 0x806,
      payload: new Uint8Array(46),
    });
  });

  it('keeps one tag, with its priority', () => {
    const frame = decoded(decodeFrame(tagged));
    expect(frame).toMatchObject({ tag: 0x6064, etherType: 0x800, payload: Uint8Array.of(0x45) });
    expect(toHex(encodeFrame(frame))).toBe(toHex(tagged));
  });

  it('comes back from its octets', () => {
    const frame = fc.record({
      destination: macArbitrary,
      source: macArbitrary,
      tag: fc.option(fc.integer({ min: 0, max: 0xffff }).filter((tag) => (tag & 0xfff) !== 0xfff)),
      etherType: fc.constantFrom(0x800, 0x806, 0x86dd, 0x888e),
      payload: fc.uint8Array({ maxLength: 50 }),
    });
    fc.assert(
      fc.property(frame, (it) => {
        expect(decodeFrame(encodeFrame(it))).toEqual(it);
      }),
    );
  });

  it.each([
    ['a group as its source', `ffffffffffff${'030000000001'}0800`, 'frame-source'],
    ['no source', `ffffffffffff${'000000000000'}0800`, 'frame-source'],
    ['a length in place of a type', `ffffffffffff${'020000000001'}0026`, 'frame-length'],
    ['two tags', `ffffffffffff${'020000000001'}8100000181000002`, 'frame-tag'],
    ['a tag of IEEE 802.1ad', `ffffffffffff${'020000000001'}88a8000181000002`, 'frame-tag'],
    ['a tag before one of IEEE 802.1ad', `ffffffffffff${'020000000001'}8100000188a8`, 'frame-tag'],
    ['the reserved VLAN', `ffffffffffff${'020000000001'}81000fff0800`, 'frame-tag'],
  ])('with %s is dropped', (_, octets, reason) => {
    expect(decodeFrame(hex(octets))).toBe(reason);
  });

  it('without a whole header is dropped', () => {
    for (const octets of truncations(plain.subarray(0, 14))) expect(decodeFrame(octets)).toBe('frame-short');
    for (const octets of truncations(tagged.subarray(0, 18))) expect(decodeFrame(octets)).toBe('frame-short');
  });
});

it.each([
  ['ff02::1:ff00:5', '33:33:ff:00:00:05'],
  ['239.129.2.3', '01:00:5e:01:02:03'],
])('packets to %s go to %s', (address, mac) => {
  expect(multicastMac(address)).toBe(mac);
});
