import { type DecodedPacket, decode, encode, type RecordType } from 'dns-packet';
import { describe, expect, it } from 'vitest';
import { contains, formatAddress, parsePrefix } from '../../src/lib/ip.ts';
import { DnsResponder, type LookupResult, type LookupTarget, reverseZones } from '../../src/net/dns-responder.ts';
import fc from '../support/property.ts';

const overlay = ['100.80.0.0/12', 'fd00:80::/64'].map((text) => parsePrefix(text)!);
const devices: Record<string, LookupResult> = {
  'b.lab.example': { status: 'found', fqdn: 'b.lab.example', vip4: '100.80.0.3', vip6: 'fd00:80::3' },
  'six.lab.example': { status: 'found', fqdn: 'six.lab.example', vip4: null, vip6: 'fd00:80::6' },
  'policy.lab.example': 'refused',
  'asleep.lab.example': 'silent',
  'liar.lab.example': { status: 'found', fqdn: 'other.lab.example', vip4: '100.80.0.9', vip6: null },
  '100.80.0.3': { status: 'found', fqdn: 'b.lab.example', vip4: '100.80.0.3', vip6: 'fd00:80::3' },
  'fd00:80::3': { status: 'found', fqdn: 'b.lab.example', vip4: '100.80.0.3', vip6: 'fd00:80::3' },
  '100.80.0.10': { status: 'found', fqdn: 'b.lab.example', vip4: '100.80.0.3', vip6: null },
};

const asked: LookupTarget[] = [];
const responder = new DnsResponder({ domain: 'Lab.example', overlay, server: 'a.lab.example' }, async (target) => {
  asked.push(target);
  return devices[target.by === 'name' ? target.name : target.address] ?? 'unknown';
});

type Header = { readonly rcode: string; readonly opcode: string };

async function ask(name: string, type: string, more: object = {}): Promise<'forward' | (DecodedPacket & Header)> {
  const query = encode({ type: 'query', id: 1, questions: [{ name, type: type as RecordType, ...more }] });
  const decision = await responder.decide(query, '100.80.0.2');
  if (decision.do === 'forward') return 'forward';
  if (decision.do === 'drop') throw new Error(decision.reason);
  return decode(Buffer.from(decision.response)) as DecodedPacket & Header;
}

const soa = (zone: string) => expect.objectContaining({ type: 'SOA', name: zone, ttl: 5 });
const noData = (zone: string) => ({ rcode: 'NOERROR', flag_aa: true, answers: [], authorities: [soa(zone)] });
const noName = (zone: string) => ({ rcode: 'NXDOMAIN', flag_aa: true, answers: [], authorities: [soa(zone)] });

/** fd00:80::3 in ip6.arpa. */
const name6 = `3.${'0.'.repeat(23)}0.8.0.0.0.0.d.f.ip6.arpa`;
const zone6 = name6.split('.').slice(16).join('.');

describe("the overlay's zones", () => {
  it.each([
    ['b.lab.example', 'A', ['100.80.0.3']],
    ['B.LAB.example', 'AAAA', ['fd00:80::3']],
    ['b.lab.example', 'ANY', ['100.80.0.3', 'fd00:80::3']],
    ['3.0.80.100.in-addr.arpa', 'PTR', ['b.lab.example']],
    [name6, 'PTR', ['b.lab.example']],
    ['lab.example', 'NS', ['a.lab.example']],
    ['80.100.in-addr.arpa', 'NS', ['a.lab.example']],
  ])('answer %s %s, in the case it was asked in', async (name, type, data) => {
    const answers = data.map((text) => ({ name, data: text }));
    expect(await ask(name, type)).toMatchObject({ rcode: 'NOERROR', flag_aa: true, answers, authorities: [] });
  });

  it('have an SOA of their own', async () => {
    for (const zone of ['lab.example', '95.100.in-addr.arpa', zone6]) {
      expect(await ask(zone, 'SOA')).toMatchObject({ rcode: 'NOERROR', answers: [soa(zone)] });
    }
  });

  it.each([
    ['six.lab.example', 'A', 'lab.example'],
    ['b.lab.example', 'TXT', 'lab.example'],
    ['lab.example', 'A', 'lab.example'],
    ['3.0.80.100.in-addr.arpa', 'A', '80.100.in-addr.arpa'],
    ['0.80.100.in-addr.arpa', 'PTR', '80.100.in-addr.arpa'],
    [`0.${zone6}`, 'PTR', zone6],
  ])('have no data for %s %s', async (name, type, zone) => {
    expect(await ask(name, type)).toMatchObject(noData(zone));
  });

  it.each([
    ['nobody.lab.example', 'A', 'lab.example'],
    ['x.b.lab.example', 'A', 'lab.example'],
    ['4.0.80.100.in-addr.arpa', 'PTR', '80.100.in-addr.arpa'],
    ['256.0.80.100.in-addr.arpa', 'PTR', '80.100.in-addr.arpa'],
    ['03.0.80.100.in-addr.arpa', 'PTR', '80.100.in-addr.arpa'],
    ['1.3.0.80.100.in-addr.arpa', 'PTR', '80.100.in-addr.arpa'],
    ['host.80.100.in-addr.arpa', 'PTR', '80.100.in-addr.arpa'],
    [`10.${zone6}`, 'PTR', zone6],
  ])('have no name %s', async (name, type, zone) => {
    expect(await ask(name, type)).toMatchObject(noName(zone));
  });

  it('refuse by policy and fail for a silent peer', async () => {
    expect(await ask('policy.lab.example', 'A')).toMatchObject({ rcode: 'REFUSED', answers: [], authorities: [] });
    expect(await ask('asleep.lab.example', 'A')).toMatchObject({ rcode: 'SERVFAIL', answers: [], authorities: [] });
  });

  it('never pass on a certificate of another name or address', async () => {
    expect(await ask('liar.lab.example', 'A')).toMatchObject({ rcode: 'SERVFAIL', answers: [] });
    expect(await ask('10.0.80.100.in-addr.arpa', 'PTR')).toMatchObject({ rcode: 'SERVFAIL', answers: [] });
  });

  it('are not copied, nor asked about in another class or EDNS version', async () => {
    expect(await ask('lab.example', 'AXFR')).toMatchObject({ rcode: 'REFUSED' });
    expect(await ask('b.lab.example', 'A', { class: 'CH' })).toMatchObject({ rcode: 'REFUSED' });
    const opt = { type: 'OPT', name: '.', udpPayloadSize: 512, extendedRcode: 0, ednsVersion: 1, flags: 0 } as const;
    const additionals = [{ ...opt, flag_do: false, options: [] }];
    const query = encode({ type: 'query', questions: [{ name: 'b.lab.example', type: 'A' }], additionals });
    const decision = await responder.decide(query, '100.80.0.2');
    expect(decode(Buffer.from((decision as { response: Uint8Array }).response))).toMatchObject({
      answers: [],
      additionals: [{ extendedRcode: 1 }],
    });
  });

  it('take standard queries only', async () => {
    const query = encode({ type: 'query', flags: 4 << 11, questions: [{ name: 'b.lab.example', type: 'A' }] });
    const decision = await responder.decide(query, '100.80.0.2');
    expect(decode(Buffer.from((decision as { response: Uint8Array }).response))).toMatchObject({
      opcode: 'NOTIFY',
      rcode: 'NOTIMP',
    });
  });

  it.each([
    'example',
    'notlab.example',
    'lab.example.org',
    'b',
    '.',
    '3.0.96.100.in-addr.arpa',
    '100.in-addr.arpa',
    'in-addr.arpa',
    '8.0.0.0.0.d.f.ip6.arpa',
  ])('leave %s to others', async (name) => {
    asked.length = 0;
    expect(await ask(name, 'A')).toBe('forward');
    expect(asked).toEqual([]);
  });

  it('ask for the address a reverse name stands for', async () => {
    const inside = fc.uint8Array({ minLength: 8, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(inside, async (octets) => {
        const address6 = formatAddress(Uint8Array.from([0xfd, 0, 0, 0x80, 0, 0, 0, 0, ...octets]));
        const nibbles = [...octets].flatMap((octet) => [octet >> 4, octet & 15]).reverse();
        const address4 = `100.${80 + (octets[0]! & 15)}.${octets[1]}.${octets[2]}`;
        asked.length = 0;
        await ask(`${nibbles.map((nibble) => nibble.toString(16)).join('.')}.${zone6}`, 'PTR');
        await ask(`${address4.split('.').reverse().join('.')}.in-addr.arpa`, 'PTR');
        expect(asked).toEqual([
          { by: 'address', address: address6 },
          { by: 'address', address: address4 },
        ]);
      }),
    );
  });
});

describe('reverse zones', () => {
  it('cover their range and nothing else', () => {
    expect(reverseZones([parsePrefix('100.80.0.0/16')!])).toEqual(['80.100.in-addr.arpa']);
    expect(reverseZones([parsePrefix('fd00:80::/64')!])).toEqual([zone6]);
    const twelve = reverseZones([parsePrefix('100.80.0.0/12')!]);
    expect(twelve).toHaveLength(16);
    for (const zone of twelve) {
      expect(contains(overlay[0]!, `100.${Number.parseInt(zone, 10)}.0.0`)).toBe(true);
    }
    expect(new Set(twelve).size).toBe(16);
    expect(reverseZones([parsePrefix('fd00::/7')!])).toEqual(['c.f.ip6.arpa', 'd.f.ip6.arpa']);
  });
});
