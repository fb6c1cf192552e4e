/**
 * What becomes of a DNS query: answered for the overlay's own zones, forwarded, or dropped. Without I/O: who has a name
 * or an address is asked of `lookUp`, which answers from verified certificates only (protocol section 2.1).
 */

import { type Address, contains, type Family, familyOf, formatAddress, type Prefix, parseAddress } from '../lib/ip.ts';
import type { VirtualAddresses } from '../lib/path.ts';
import { type DnsRecord, decodeQuery, encodeResponse, type Query, type ResponseContent, rcode } from './dns.ts';

export type LookupTarget =
  | { readonly by: 'name'; readonly name: string }
  | { readonly by: 'address'; readonly address: Address };

export type LookupResult =
  | ({ readonly status: 'found'; readonly fqdn: string } & VirtualAddresses)
  /** No such device, or it was removed or disabled. */
  | 'unknown'
  /** Policy forbids the path to it. */
  | 'refused'
  | 'silent';

/** `requester` is the address of the one who asks: this host's or a general node's. */
export type Lookup = (target: LookupTarget, requester: Address) => Promise<LookupResult>;

export type OverlayZone = {
  readonly domain: string;
  readonly overlay: readonly Prefix[];
  /** Own FQDN: the name server of these zones, as far as this host sees. */
  readonly server: string;
};

export type DnsDecision =
  | { readonly do: 'answer'; readonly query: Query | null; readonly response: Uint8Array }
  | { readonly do: 'forward'; readonly query: Query }
  | { readonly do: 'drop'; readonly reason: string };

/** Seconds. Short: a device may be disabled, and appear, at any time. */
const TTL = 10;
const NEGATIVE_TTL = 5;

/** Where a name stands in our zones. */
type Place = { readonly apex: string; readonly target: LookupTarget | 'apex' | 'between' | 'nonsense' };

export class DnsResponder {
  readonly #zone: OverlayZone;
  readonly #domain: string;
  readonly #lookUp: Lookup;

  constructor(zone: OverlayZone, lookUp: Lookup) {
    this.#zone = zone;
    this.#domain = zone.domain.toLowerCase();
    this.#lookUp = lookUp;
  }

  async decide(octets: Uint8Array, requester: Address): Promise<DnsDecision> {
    const decoded = decodeQuery(octets);
    if (!decoded.ok) {
      return decoded.reply === null
        ? { do: 'drop', reason: decoded.reason }
        : { do: 'answer', query: null, response: decoded.reply };
    }
    const { query } = decoded;
    const answer = (content: ResponseContent): DnsDecision => ({
      do: 'answer',
      query,
      response: encodeResponse(query, content),
    });
    if (query.edns !== null && query.edns.version > 0) return answer({ rcode: rcode.badVers });
    if (query.opcode !== 0) return answer({ rcode: rcode.notImp });
    if (query.class !== 'IN' || query.type === 'AXFR' || query.type === 'IXFR') return answer({ rcode: rcode.refused });
    const place = query.name === null ? null : this.#locate(query.name.toLowerCase());
    if (place === null) return { do: 'forward', query };
    return answer(await this.#answerAt(place, query, requester));
  }

  #locate(name: string): Place | null {
    if (name === this.#domain) return { apex: name, target: 'apex' };
    if (name.endsWith(`.${this.#domain}`)) return { apex: this.#domain, target: { by: 'name', name } };
    const reverse = parseReverse(name);
    if (reverse === null) return null;
    const { prefix, labels, invalid } = reverse;
    const range = this.#zone.overlay.find((r) => prefix.length >= r.length && contains(r, prefix.address));
    if (range === undefined) return null;
    const { bits, step } = reverseShape[familyOf(prefix.address)];
    // A range that ends between two labels has several zones, one for each value of the label it ends in.
    const apexLabels = Math.ceil(range.length / step);
    const apex = name
      .split('.')
      .slice(-apexLabels - 2)
      .join('.');
    if (invalid) return { apex, target: 'nonsense' };
    if (prefix.length === bits) return { apex, target: { by: 'address', address: prefix.address } };
    return { apex, target: labels === apexLabels ? 'apex' : 'between' };
  }

  async #answerAt({ apex, target }: Place, query: Query, requester: Address): Promise<ResponseContent> {
    const soa = this.#soa(apex);
    const some = (answers: readonly DnsRecord[]): ResponseContent =>
      answers.length > 0
        ? { rcode: rcode.noError, authoritative: true, answers }
        : { rcode: rcode.noError, authoritative: true, authorities: [soa] };
    const nothing: ResponseContent = { rcode: rcode.nxDomain, authoritative: true, authorities: [soa] };
    const wanted = (records: readonly DnsRecord[]): DnsRecord[] =>
      records.filter((record) => query.type === 'ANY' || record.type === query.type);

    if (target === 'nonsense') return nothing;
    if (target === 'between') return some([]);
    if (target === 'apex') {
      return some(wanted([soa, { type: 'NS', name: query.name!, ttl: TTL, data: this.#zone.server }]));
    }
    const result = await this.#lookUp(target, requester);
    if (result === 'unknown') return nothing;
    if (result === 'refused') return { rcode: rcode.refused };
    if (result === 'silent' || !isAnswerTo(result, target)) return { rcode: rcode.servFail };
    return some(wanted(recordsOf(result, target, query.name!)));
  }

  #soa(apex: string): DnsRecord {
    return {
      type: 'SOA',
      name: apex,
      // RFC 2308 section 5: the lesser of this and the minimum is how long a negative answer is kept.
      ttl: NEGATIVE_TTL,
      data: {
        mname: this.#zone.server,
        rname: `hostmaster.${this.#domain}`,
        serial: 1,
        refresh: 3600,
        retry: 600,
        expire: 86400,
        minimum: NEGATIVE_TTL,
      },
    };
  }
}

/** Names of the reverse zones of these ranges: several for a range that ends between two labels (RFC 2317). */
export function reverseZones(overlay: readonly Prefix[]): string[] {
  return overlay.flatMap(({ address, length }) => {
    const { step, suffix, radix } = reverseShape[familyOf(address)];
    const octets = [...parseAddress(address)!];
    const values = step === 8 ? octets : octets.flatMap((octet) => [octet >> 4, octet & 15]);
    const count = Math.ceil(length / step);
    const outer = values.slice(0, count - 1).reverse();
    return Array.from({ length: 2 ** (count * step - length) }, (_, i) =>
      [...[values[count - 1]! + i, ...outer].map((value) => value.toString(radix)), suffix].join('.'),
    );
  });
}

type Found = Extract<LookupResult, { status: 'found' }>;

/** Whatever the lookup says: an answer only for the very name or address that was asked. */
function isAnswerTo(found: Found, target: LookupTarget): boolean {
  return target.by === 'name'
    ? found.fqdn.toLowerCase() === target.name
    : found.vip4 === target.address || found.vip6 === target.address;
}

function recordsOf(found: Found, target: LookupTarget, name: string): DnsRecord[] {
  if (target.by === 'address') return [{ type: 'PTR', name, ttl: TTL, data: found.fqdn }];
  const records: DnsRecord[] = [];
  if (found.vip4 !== null) records.push({ type: 'A', name, ttl: TTL, data: found.vip4 });
  if (found.vip6 !== null) records.push({ type: 'AAAA', name, ttl: TTL, data: found.vip6 });
  return records;
}

/** RFC 1035 section 3.5 and RFC 3596 section 2.5: one label an octet, or a nibble, the last one first. */
const reverseShape = {
  4: { suffix: 'in-addr.arpa', bits: 32, step: 8, label: /^(?:0|[1-9]\d?|1\d\d|2[0-4]\d|25[0-5])$/, radix: 10 },
  6: { suffix: 'ip6.arpa', bits: 128, step: 4, label: /^[0-9a-f]$/, radix: 16 },
} as const;

/** The range a reverse name stands for; `invalid` if labels before it can't be part of an address. */
function parseReverse(
  name: string,
): { readonly prefix: Prefix; readonly labels: number; readonly invalid: boolean } | null {
  const family: Family | null = name.endsWith('.in-addr.arpa') ? 4 : name.endsWith('.ip6.arpa') ? 6 : null;
  if (family === null) return null;
  const { suffix, bits, step, label, radix } = reverseShape[family];
  const given = name
    .slice(0, -suffix.length - 1)
    .split('.')
    .reverse();
  const firstBad = given.findIndex((text, i) => i >= bits / step || !label.test(text));
  const labels = firstBad === -1 ? given.length : firstBad;
  const octets = new Uint8Array(bits / 8);
  for (let i = 0; i < labels; i++) {
    const value = Number.parseInt(given[i]!, radix);
    octets[(i * step) >> 3]! |= step === 4 && i % 2 === 0 ? value << 4 : value;
  }
  const address = formatAddress(octets);
  // Names in ip6.arpa of IPv4-mapped addresses are nobody's.
  if (familyOf(address) !== family) return null;
  return { prefix: { address, length: labels * step }, labels, invalid: firstBad !== -1 };
}
