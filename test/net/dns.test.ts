import { decode, encode, type Packet } from 'dns-packet';
import { describe, expect, it } from 'vitest';
import { decodeQuery, encodeResponse, fitUdp, inspectAnswer, type Query, rcode, withId } from '../../src/net/dns.ts';
import fc from '../support/property.ts';

const question = (name: string, type: 'A' | 'AAAA' | 'PTR' | 'TXT' = 'A'): Packet => ({
  type: 'query',
  id: 4711,
  flags: 0x100,
  questions: [{ name, type }],
});

const opt = (udpPayloadSize: number, ednsVersion = 0) => ({
  type: 'OPT' as const,
  name: '.',
  udpPayloadSize,
  extendedRcode: 0,
  ednsVersion,
  flags: 0,
  flag_do: false,
  options: [],
});

function queryOf(packet: Packet): Query {
  const decoded = decodeQuery(encode(packet));
  if (!decoded.ok) throw new Error(decoded.reason);
  return decoded.query;
}

describe('a DNS query', () => {
  it('is read with its name as it was written', () => {
    expect(queryOf(question('B.Lab.Example'))).toMatchObject({
      id: 4711,
      opcode: 0,
      name: 'B.Lab.Example',
      type: 'A',
      class: 'IN',
      edns: null,
      udpSize: 512,
    });
  });

  it.each([
    [100, 512],
    [1232, 1232],
    [65535, 1232],
  ])('that takes %i octets gets at most %i', (offered, given) => {
    const query = queryOf({ ...question('a.lab.example'), additionals: [opt(offered)] });
    expect(query).toMatchObject({ udpSize: given, edns: { version: 0 } });
  });

  it('has no name if its labels could be mistaken for others', () => {
    const octets = encode(question('a.lab.example'));
    // One label "a.lab" in place of two.
    octets[12] = 5;
    octets[14] = 0x2e;
    const dotted = decodeQuery(octets);
    expect(dotted).toMatchObject({ ok: true, query: { name: null } });
    octets[14] = 0x00;
    expect(decodeQuery(octets)).toMatchObject({ ok: true, query: { name: null } });
  });

  it.each([
    ['shorter than a header', new Uint8Array(11), 'short'],
    ['that is a response', encode({ ...question('a'), type: 'response' }), 'response'],
    ['beyond all measure', Buffer.concat([encode(question('a')), Buffer.alloc(5000)]), 'oversize'],
  ])('%s is dropped', (_, octets, reason) => {
    expect(decodeQuery(octets)).toEqual({ ok: false, reason, reply: null });
  });

  it.each([
    ['without a question', encode({ ...question('a'), questions: [] })],
    [
      'with two questions',
      encode({
        ...question('a'),
        questions: [
          { name: 'a', type: 'A' },
          { name: 'b', type: 'A' },
        ],
      }),
    ],
    ['with a name that does not end', encode(question('a.lab.example')).subarray(0, 20)],
    ['that counts more records than it holds', withCount(encode(question('a')), 0xffff)],
    ['whose name points at itself', Buffer.from('126701000001000000000000c00c00010001', 'hex')],
  ])('%s is answered by FORMERR', (_, octets) => {
    const decoded = decodeQuery(octets);
    expect(decoded).toMatchObject({ ok: false, reason: 'malformed' });
    const reply = decode(Buffer.from((decoded as { reply: Uint8Array }).reply));
    expect(reply).toMatchObject({ id: octets[0]! * 256 + octets[1]!, type: 'response', rcode: 'FORMERR' });
  });

  it('may be any octets', () => {
    const valid = encode({ ...question('b.lab.example'), additionals: [opt(1232)] });
    const damaged = fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 8 }).map((changes) => {
      const octets = Uint8Array.from(valid);
      for (const [at, value] of changes) octets[at] = value;
      return octets;
    });
    const any = fc.uint8Array({ maxLength: 600 });
    fc.assert(
      fc.property(fc.oneof(damaged, any), (octets) => {
        const decoded = decodeQuery(octets);
        if (!decoded.ok) return;
        const response = encodeResponse(decoded.query, { rcode: rcode.nxDomain });
        expect(response.subarray(12, 12 + decoded.query.question.length)).toEqual(Buffer.from(decoded.query.question));
      }),
      { numRuns: 5000 },
    );
  });
});

describe('a DNS response', () => {
  const query = queryOf({ ...question('B.lab.Example'), additionals: [opt(1232)] });

  it('repeats id, question and RD, and speaks EDNS to who does', () => {
    const response = decode(
      Buffer.from(
        encodeResponse(query, {
          rcode: rcode.noError,
          authoritative: true,
          answers: [{ type: 'A', name: query.name!, ttl: 10, data: '100.80.0.3' }],
        }),
      ),
    );
    expect(response).toMatchObject({
      id: 4711,
      flag_aa: true,
      flag_rd: true,
      flag_ra: true,
      flag_tc: false,
      rcode: 'NOERROR',
      questions: [{ name: 'B.lab.Example', type: 'A' }],
      answers: [{ name: 'B.lab.Example', data: '100.80.0.3', ttl: 10 }],
      additionals: [{ type: 'OPT', udpPayloadSize: 1232 }],
    });
    expect(decode(Buffer.from(encodeResponse(queryOf(question('a')), { rcode: 3 }))).additionals).toEqual([]);
  });

  it('carries the high bits of its code in the OPT record', () => {
    const response = decode(Buffer.from(encodeResponse(query, { rcode: rcode.badVers })));
    expect(response).toMatchObject({ rcode: 'NOERROR', additionals: [{ extendedRcode: 1 }] });
  });

  it('that is too large for UDP says so and fits', () => {
    const answers = Array.from({ length: 100 }, (_, i) => ({ type: 'A' as const, name: 'b', data: `192.0.2.${i}` }));
    const large = encodeResponse(query, { rcode: rcode.noError, answers });
    const cut = fitUdp(query, large);
    expect(cut.length).toBeLessThanOrEqual(512);
    expect(decode(Buffer.from(cut))).toMatchObject({ id: 4711, flag_tc: true, answers: [] });
    const small = encodeResponse(query, { rcode: rcode.noError });
    expect(fitUdp(query, small)).toBe(small);
  });
});

describe('an answer from upstream', () => {
  const query = queryOf(question('www.example.org'));
  const respond = (more: Partial<Packet> = {}): Buffer =>
    encode({ type: 'response', id: 99, questions: [{ name: 'WWW.example.ORG', type: 'A' }], ...more });

  it('is one if id and question are those sent, in whatever case', () => {
    expect(inspectAnswer(respond({ flags: 3 }), query, 99)).toEqual({ rcode: 3, addresses: [] });
    expect(inspectAnswer(withId(respond(), 98), query, 99)).toBeNull();
    expect(inspectAnswer(respond({ questions: [{ name: 'www.example.com', type: 'A' }] }), query, 99)).toBeNull();
    expect(inspectAnswer(respond({ questions: [{ name: 'www.example.org', type: 'AAAA' }] }), query, 99)).toBeNull();
    expect(inspectAnswer(respond({ type: 'query' }), query, 99)).toBeNull();
    expect(inspectAnswer(respond().subarray(0, 20), query, 99)).toBeNull();
  });

  it('gives away all addresses it holds, hints of services included', () => {
    const hints = Buffer.from(
      '000100' + '00040008c0000201c0000202' + '0006001020010db8000000000000000000000001',
      'hex',
    );
    const https = Buffer.concat([Buffer.from('00', 'hex'), Buffer.from('004100010000000a', 'hex'), size(hints), hints]);
    const message = respond({
      answers: [
        { type: 'CNAME', name: 'www.example.org', data: 'host.example.org' },
        { type: 'A', name: 'host.example.org', data: '100.80.0.3' },
      ],
      additionals: [{ type: 'AAAA', name: 'host.example.org', data: '::ffff:100.80.0.4' }],
    });
    const withHttps = Buffer.concat([message, https]);
    withHttps.writeUInt16BE(2, 10);
    expect(inspectAnswer(withHttps, query, 99)?.addresses).toEqual([
      '100.80.0.3',
      '100.80.0.4',
      '192.0.2.1',
      '192.0.2.2',
      '2001:db8::1',
    ]);
  });

  it('may be any octets', () => {
    const valid = respond({ answers: [{ type: 'A', name: 'www.example.org', data: '192.0.2.1' }] });
    const changed = fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 6 }).map((changes) => {
      const octets = Uint8Array.from(valid);
      for (const [at, value] of changes) octets[at] = value;
      return octets;
    });
    fc.assert(
      fc.property(fc.oneof(changed, fc.uint8Array({ maxLength: 300 })), (octets) => {
        const answer = inspectAnswer(octets, query, 99);
        expect(answer === null || answer.addresses.length <= octets.length / 4).toBe(true);
      }),
      { numRuns: 5000 },
    );
  });
});

function withCount(octets: Buffer, answers: number): Buffer {
  octets.writeUInt16BE(answers, 6);
  return octets;
}

function size(octets: Uint8Array): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(octets.length);
  return length;
}
