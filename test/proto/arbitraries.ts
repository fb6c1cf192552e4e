/** Random messages of every kind, generated from the tables that the codec itself derives from. */

import { formatAddress } from '../../src/lib/ip.ts';
import type { Draft, Laid, Sizes } from '../../src/proto/codec.ts';
import type { Fields } from '../../src/proto/fields.ts';
import { type FieldValues, type MessageName, messageTable } from '../../src/proto/messages.ts';
import {
  candidateKinds,
  MAX_CANDIDATES,
  MAX_ENDPOINTS,
  MAX_MIRRORS,
  mirrorRoles,
  type OptionName,
  type OptionValues,
  optionTable,
} from '../../src/proto/options.ts';
import fc from '../support/property.ts';

export const messageNames = Object.keys(messageTable) as MessageName[];
export const optionNames = Object.keys(optionTable) as OptionName[];

/** What the suites do to a body's size: GCM and Poly1305, then CBC with IV, PKCS#7 and HMAC. */
export const aeadSizes: Sizes = { lead: 0, sealedSize: (plain) => plain + 16 };
export const cbcSizes: Sizes = { lead: 16, sealedSize: (plain) => 16 + 16 * (Math.floor(plain / 16) + 1) + 16 };

export function plainOf(laid: Laid, sizes: Sizes): Uint8Array {
  const start = laid.bodyStart + sizes.lead;
  return laid.bytes.subarray(start, start + laid.plainLength);
}

const octetsOf = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });
const id = octetsOf(16).map((octets) => octets.toHex());
const address4 = octetsOf(4)
  .map((octets) => formatAddress(octets))
  .filter((address) => address !== '0.0.0.0');
const address6 = fc
  .array(fc.oneof(fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 })
  .map((groups) => formatAddress(Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255]))))
  .filter((address) => address.includes(':') && address !== '::');
const endpoint = fc.record({ address: fc.oneof(address4, address6), port: fc.integer({ min: 1, max: 0xffff }) });

const values: { readonly [K in keyof (FieldValues & OptionValues)]: fc.Arbitrary<(FieldValues & OptionValues)[K]> } = {
  u8: fc.nat(0xff),
  u16: fc.nat(0xffff),
  id,
  ip4: fc.option(address4),
  ip6: fc.option(address6),
  ip16: fc.option(fc.oneof(address4, address6)),
  date: fc.option(
    fc
      .date({ min: new Date('0001-01-01'), max: new Date('9999-12-31'), noInvalidDate: true })
      .map((date) => date.toISOString().slice(0, 10)),
  ),
  text: fc.string({ unit: 'binary', maxLength: 40 }),
  octets: fc.oneof({ weight: 9, arbitrary: fc.uint8Array({ maxLength: 64 }) }, { weight: 1, arbitrary: octetsOf(700) }),
  octets32: octetsOf(32),
  octets64: octetsOf(64),
  endpoint,
  endpoints: fc.array(endpoint, { maxLength: MAX_ENDPOINTS }),
  candidates: fc.array(
    fc.tuple(endpoint, fc.constantFrom(...candidateKinds)).map(([to, kind]) => ({ ...to, kind })),
    { maxLength: MAX_CANDIDATES },
  ),
  mirrors: fc.array(
    fc
      .record({
        to: endpoint,
        role: fc.constantFrom(...mirrorRoles),
        key: octetsOf(32),
        name: fc.string({ maxLength: 20 }),
      })
      .map(({ to, ...mirror }) => ({ ...to, ...mirror })),
    { maxLength: MAX_MIRRORS },
  ),
  relayTimes: fc.array(
    fc.tuple(endpoint, fc.option(fc.nat(0xfffe))).map(([to, rttMs]) => ({ ...to, rttMs })),
    { maxLength: MAX_MIRRORS },
  ),
};

function record(fields: Fields): fc.Arbitrary<Record<string, unknown>> {
  const arbitraries: Record<string, fc.Arbitrary<unknown>> = {};
  for (const [name, kind] of fields) if (kind in values) arbitraries[name] = values[kind as keyof typeof values];
  return fc.record(arbitraries);
}

export const anyOptions = fc.record(
  Object.fromEntries(
    optionNames.filter((name) => name !== 'part').map((name) => [name, record(optionTable[name].data)]),
  ),
  { requiredKeys: [] },
);

export function draftOf(name: MessageName): fc.Arbitrary<Draft> {
  return fc.record({
    type: fc.constant(name),
    id,
    transactionId: fc.nat(0xffffffff),
    flags: fc.nat(0xff),
    epoch: fc.nat(0xff),
    body: record(messageTable[name].body),
    options: anyOptions,
  }) as fc.Arbitrary<Draft>;
}

export const anyDraft: fc.Arbitrary<Draft> = fc.oneof(...messageNames.map(draftOf));
