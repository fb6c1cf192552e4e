import { expect, it } from 'vitest';
import { decodeNames, encodeNames } from '../../src/net/domain-names.ts';
import fc from '../support/property.ts';
import { hex } from '../vectors/read.ts';
import { toHex } from './support/link.ts';

it('names are written label by label', () => {
  expect(toHex(encodeNames(['lab.example', 'b']))).toBe('036c6162076578616d706c6500016200');
});

it('names come back, padded or not', () => {
  fc.assert(
    fc.property(fc.array(fc.domain(), { maxLength: 4 }), fc.nat(7), (names, padding) => {
      expect(decodeNames(Uint8Array.from([...encodeNames(names), ...new Uint8Array(padding)]))).toEqual(names);
    }),
  );
});

it.each([
  ['a name without its end', '036c6162'],
  ['a label past the end', '046c6162'],
  ['a pointer', '036c6162c000'],
  ['a label too long', `40${'61'.repeat(64)}00`],
  ['a name too long', `${`3f${'61'.repeat(63)}`.repeat(4)}00`],
  ['a dot inside a label', '03612e6200'],
  ['a control character', '010100'],
])('%s makes no list', (_, octets) => {
  expect(decodeNames(hex(octets))).toBeNull();
});
