import { describe, expect, it } from 'vitest';
import { contains, formatAddress, parseAddress, parsePrefix } from '../../src/lib/ip.ts';
import { OctetMap } from '../../src/pipeline/octet-map.ts';
import { AddressSet, Ranges } from '../../src/pipeline/ranges.ts';
import { PathTable, RouteTable } from '../../src/pipeline/table.ts';
import fc from '../support/property.ts';

const at = (octets: Uint8Array): DataView => new DataView(Uint8Array.from([9, ...octets]).buffer);
const key = (n: number): Uint8Array => Uint8Array.of(n >> 8, n, 0, 0, 0, 0, 0, n % 3);

describe('the octet map', () => {
  it('behaves like a Map under any series of changes', () => {
    const change = fc.record({ add: fc.boolean(), n: fc.integer({ min: 0, max: 400 }), value: fc.nat(1000) });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 1500, size: 'max' }), (changes) => {
        const map = new OctetMap(8);
        const model = new Map<number, number>();
        for (const { add, n, value } of changes) {
          if (add) {
            map.set(key(n), value);
            model.set(n, value);
          } else {
            map.delete(key(n));
            model.delete(n);
          }
        }
        expect(map.size).toBe(model.size);
        for (let n = 0; n <= 400; n++) expect(map.find(at(key(n)), 1)).toBe(model.get(n) ?? -1);
      }),
      { numRuns: 50 },
    );
  });
});

const pathId = (n: number): string => n.toString(16).padStart(8, '0').padStart(32, 'a5');
const vip = (n: number) => ({ vip4: `100.80.${n >> 8}.${n & 255}`, vip6: `fd00:80::${n.toString(16)}` });
const pair4 = (a: number, b: number): DataView =>
  at(Uint8Array.from([...parseAddress(vip(a).vip4)!, ...parseAddress(vip(b).vip4)!]));
const pair6 = (a: number, b: number): DataView =>
  at(Uint8Array.from([...parseAddress(vip(a).vip6)!, ...parseAddress(vip(b).vip6)!]));

describe('10,000 paths', () => {
  const paths = new PathTable<{ readonly n: number }>();
  const routes = new RouteTable<{ readonly n: number }>();
  const all = Array.from({ length: 10_000 }, (_, i) => ({ n: i + 1 }));
  for (const entry of all) {
    paths.set(pathId(entry.n), entry);
    routes.set(vip(0), vip(entry.n), entry);
  }

  it('are found by PathID and by pair of virtual addresses', () => {
    expect(paths.size).toBe(10_000);
    for (const entry of all) {
      expect(paths.find(at(Uint8Array.fromHex(pathId(entry.n))), 1)).toBe(entry);
      expect(routes.find4(pair4(0, entry.n), 1)).toBe(entry);
      expect(routes.find6(pair6(0, entry.n), 1)).toBe(entry);
    }
    expect(paths.find(at(Uint8Array.fromHex(pathId(20_000))), 1)).toBeUndefined();
    expect(routes.find4(pair4(1, 2), 1)).toBeUndefined();
  });

  it('can be replaced and removed one by one', () => {
    const other = { n: -1 };
    paths.set(pathId(17), other);
    routes.set(vip(0), vip(17), other);
    expect(paths.get(pathId(17))).toBe(other);
    expect(routes.find4(pair4(0, 17), 1)).toBe(other);
    paths.remove(pathId(17));
    routes.removeIf(vip(0), vip(17), all[16]!);
    expect(routes.find6(pair6(0, 17), 1)).toBe(other);
    routes.removeIf(vip(0), vip(17), other);
    expect(routes.find6(pair6(0, 17), 1)).toBeUndefined();
    routes.set(vip(0), vip(18), null);
    expect(routes.find4(pair4(0, 18), 1)).toBeUndefined();
    expect(paths.get(pathId(17))).toBeUndefined();
    expect(paths.get(pathId(18))).toBe(all[17]);
    expect(paths.size).toBe(9_999);
  });
});

describe('address ranges', () => {
  it('agree with the slow form, for any prefix and address', () => {
    const address = fc.oneof(
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
    );
    fc.assert(
      fc.property(address, fc.nat(128), address, fc.boolean(), (base, bits, asked, near) => {
        const text = formatAddress(base);
        const length = Math.min(bits, text.includes(':') ? 128 : 32);
        const prefix = parsePrefix(`${text}/${length}`)!;
        const octets = near && asked.length === base.length ? base.with(base.length - 1, asked[0]!) : asked;
        if (formatAddress(octets).includes(':') !== (octets.length === 16)) return;
        if (prefix.address.includes(':') !== (base.length === 16)) return;
        const ranges = new Ranges([prefix]);
        const inside = octets.length === 4 ? ranges.has4(at(octets), 1) : ranges.has6(at(octets), 1);
        expect(inside).toBe(contains(prefix, formatAddress(octets)));
      }),
    );
  });

  it('and sets of addresses know their members of either family', () => {
    const set = new AddressSet(['192.0.2.1', '2001:db8::1']);
    expect(set.has4(at(parseAddress('192.0.2.1')!), 1)).toBe(true);
    expect(set.has4(at(parseAddress('192.0.2.2')!), 1)).toBe(false);
    expect(set.has6(at(parseAddress('2001:db8::1')!), 1)).toBe(true);
    expect(set.has6(at(parseAddress('2001:db8::2')!), 1)).toBe(false);
  });
});
