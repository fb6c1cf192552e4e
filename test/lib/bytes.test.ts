import { describe, expect, it } from 'vitest';
import { concat, isZero, Reader, readU32, Writer } from '../../src/lib/bytes.ts';
import fc from '../support/property.ts';

type Step =
  | { readonly do: 'u8' | 'u16' | 'u32'; readonly value: number }
  | { readonly do: 'octets'; readonly value: Uint8Array }
  | { readonly do: 'zeros'; readonly value: number };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('u8' as const), value: fc.nat(0xff) }),
  fc.record({ do: fc.constant('u16' as const), value: fc.nat(0xffff) }),
  fc.record({ do: fc.constant('u32' as const), value: fc.nat(0xffffffff) }),
  fc.record({ do: fc.constant('octets' as const), value: fc.uint8Array({ maxLength: 300 }) }),
  fc.record({ do: fc.constant('zeros' as const), value: fc.nat(300) }),
);

function write(to: Writer, step: Step): void {
  if (step.do === 'octets') to.octets(step.value);
  else to[step.do](step.value);
}

function read(from: Reader, step: Step): void {
  if (step.do === 'octets') expect(from.take(step.value.length)).toEqual(step.value);
  else if (step.do === 'zeros') from.zeros(step.value);
  else expect(from[step.do]()).toBe(step.value);
}

describe('Reader and Writer', () => {
  it('read what was written, in a growing buffer and in one of the right size', () => {
    fc.assert(
      fc.property(fc.array(anyStep), fc.nat(10), (steps, offset) => {
        const growing = new Writer();
        for (const step of steps) write(growing, step);
        const own = new Uint8Array(offset + growing.at).fill(0xee);
        const given = new Writer(own, offset);
        for (const step of steps) write(given, step);
        expect(given.at).toBe(own.length);
        expect(own.subarray(offset)).toEqual(growing.written);
        expect(own.subarray(0, offset)).toEqual(new Uint8Array(offset).fill(0xee));

        const from = new Reader(own, offset);
        for (const step of steps) read(from, step);
        expect(from.failed).toBe(false);
        expect(from.left).toBe(0);
        expect(from.at).toBe(own.length);
      }),
    );
  });

  it('are big-endian', () => {
    const to = new Writer();
    to.u8(1);
    to.u16(0x0203);
    to.u32(0xf4050607);
    expect(to.written.toHex()).toBe('010203f4050607');
    expect(readU32(to.written, 3)).toBe(0xf4050607);
  });
});

describe('Reader', () => {
  it('never throws, and once it has failed gives nothing more', () => {
    const calls = fc.array(fc.oneof(anyStep, fc.integer({ min: -5, max: 50 })));
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), calls, (octets, list) => {
        const from = new Reader(octets);
        for (const call of list) {
          const failed = from.failed;
          let got: number | Uint8Array = 0;
          if (typeof call === 'number') got = from.take(call);
          else if (call.do === 'octets') got = from.take(call.value.length);
          else if (call.do === 'zeros') from.zeros(call.value);
          else got = from[call.do]();
          if (failed) expect([0, new Uint8Array(0)]).toContainEqual(got);
          if (failed) expect(from.failed).toBe(true);
          expect(from.at).toBeLessThanOrEqual(octets.length);
          if (from.failed) expect(from.left).toBe(0);
        }
      }),
    );
  });

  it.each([
    ['u8', 0, (from: Reader) => from.u8()],
    ['u16', 1, (from: Reader) => from.u16()],
    ['u32', 3, (from: Reader) => from.u32()],
    ['take', 4, (from: Reader) => from.take(5)],
    ['zeros', 4, (from: Reader) => from.zeros(5)],
    ['a negative length', 4, (from: Reader) => from.take(-1)],
  ])('%s fails on %i octets', (_, length, call) => {
    const from = new Reader(new Uint8Array(length));
    call(from);
    expect(from.failed).toBe(true);
  });

  it('lets a part be read for itself, never beyond its end', () => {
    const from = new Reader(Uint8Array.of(1, 2, 3, 4, 5));
    const part = from.within(2);
    expect([part.u8(), part.left, from.u8()]).toEqual([1, 1, 3]);
    expect([part.u16(), part.failed, part.left]).toEqual([0, true, 0]);
    for (const length of [3, -1]) {
      const whole = new Reader(new Uint8Array(2));
      expect([whole.within(length).left, whole.failed]).toEqual([0, true]);
    }
    expect([from.failed, from.left]).toEqual([false, 2]);
  });

  it('fails where zeros should be', () => {
    const from = new Reader(Uint8Array.of(0, 0, 1, 0));
    from.zeros(2);
    expect(from.failed).toBe(false);
    from.zeros(2);
    expect(from.failed).toBe(true);
  });
});

describe('Writer', () => {
  it.each([
    ['u8', 256],
    ['u8', -1],
    ['u16', 65536],
    ['u32', 2 ** 32],
    ['u8', 1.5],
    ['u16', Number.NaN],
    ['u32', Number.POSITIVE_INFINITY],
  ] as const)('%s refuses %d', (form, value) => {
    expect(() => new Writer()[form](value)).toThrow(/no form on the wire/);
  });

  it('writes the octets of hexadecimal digits', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (octets) => {
        const to = new Writer();
        to.hex(octets.toHex());
        expect(to.written).toEqual(octets);
      }),
    );
  });

  it.each(['0G', 'AB', '1', '0x', '-1', '\u{660}0', ' 1'])('refuses %j as hexadecimal digits', (digits) => {
    expect(() => new Writer().hex(digits)).toThrow(/no form on the wire/);
  });

  it('refuses to write behind the buffer it was given', () => {
    const to = new Writer(new Uint8Array(4), 1);
    to.u16(1);
    expect(() => to.u16(1)).toThrow(/5 octets in a buffer of 4/);
    expect(to.at).toBe(3);
    to.zeros(1);
    expect(() => to.octets(Uint8Array.of(1))).toThrow(/buffer of 4/);
  });
});

it('isZero looks at every octet', () => {
  fc.assert(
    fc.property(fc.nat(40), fc.nat(39), (length, at) => {
      const octets = new Uint8Array(length);
      expect(isZero(octets)).toBe(true);
      if (at >= length) return;
      octets[at] = 1;
      expect(isZero(octets)).toBe(false);
    }),
  );
});

it('concat joins in order', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array()), (parts) => {
      expect(concat(...parts)).toEqual(Uint8Array.from(parts.flatMap((part) => [...part])));
    }),
  );
});
