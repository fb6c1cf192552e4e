/**
 * DNS messages (RFC 1035, EDNS0 of RFC 6891) as a stub's resolver needs them. Records are encoded and queries decoded by
 * dns-packet, which nothing else imports; the question is kept and repeated octet for octet, so that its case
 * (draft-vixie-dnsext-dns0x20) and any odd label survive.
 */

import { type Answer, type DecodedPacket, decode, encode } from 'dns-packet';
import { viewOf } from '../lib/bytes.ts';
import { type Address, formatAddress } from '../lib/ip.ts';

/** A resource record as the encoder takes it. */
export type DnsRecord = Answer;

export const rcode = { noError: 0, formErr: 1, servFail: 2, nxDomain: 3, notImp: 4, refused: 5, badVers: 16 } as const;
export type Rcode = (typeof rcode)[keyof typeof rcode];

const HEADER = 12;
/** RFC 1035 section 4.2.1: what every UDP client takes. */
export const MIN_UDP_SIZE = 512;
/** What we send at most, and ask others to: needs no fragments on any path (RFC 9715 section 3); what is longer goes by TCP. */
const MAX_UDP_SIZE = 1232;
/** One question of 255 + 4 octets and a generous OPT: no stub's query is larger. */
const MAX_QUERY = 4096;
const MAX_NAME = 255;

const flag = {
  response: 0x8000,
  authoritative: 0x400,
  truncated: 0x200,
  recursionDesired: 0x100,
  recursionAvailable: 0x80,
};
const recordType = { a: 1, aaaa: 28, opt: 41, svcb: 64, https: 65 } as const;
const hintKey = { ipv4: 4, ipv6: 6 } as const;

export type Query = {
  readonly id: number;
  readonly flags: number;
  readonly opcode: number;
  /** As it was asked, without the final dot; null if its labels have no unambiguous text (then it is no host's name). */
  readonly name: string | null;
  readonly type: string;
  readonly class: string;
  /** The question section as it came. */
  readonly question: Uint8Array;
  /** The client speaks EDNS. */
  readonly edns: { readonly version: number } | null;
  /** Octets an answer over UDP may have. */
  readonly udpSize: number;
};

export type DecodedQuery =
  | { readonly ok: true; readonly query: Query }
  /** Not even an error can be answered. */
  | { readonly ok: false; readonly reason: 'short' | 'response' | 'oversize'; readonly reply: null }
  | { readonly ok: false; readonly reason: 'malformed'; readonly reply: Uint8Array };

/** Any octets in; never throws, and takes time linear in their number. */
export function decodeQuery(octets: Uint8Array): DecodedQuery {
  if (octets.length < HEADER) return { ok: false, reason: 'short', reply: null };
  const head = viewOf(octets);
  if ((head.getUint16(2) & flag.response) !== 0) return { ok: false, reason: 'response', reply: null };
  if (octets.length > MAX_QUERY) return { ok: false, reason: 'oversize', reply: null };
  const questionEnd = skipQuestion(octets);
  const decoded = questionEnd === null || !plausibleCounts(octets) ? null : decodePacket(octets);
  const question = decoded?.questions?.[0];
  if (questionEnd === null || decoded === null || question === undefined) {
    return { ok: false, reason: 'malformed', reply: bareReply(octets, rcode.formErr) };
  }
  const opt = decoded.additionals?.find((record) => record.type === 'OPT');
  const raw = octets.slice(HEADER, questionEnd);
  return {
    ok: true,
    query: {
      id: head.getUint16(0),
      flags: head.getUint16(2),
      opcode: (head.getUint16(2) >> 11) & 15,
      name: nameText(raw),
      type: question.type,
      class: question.class ?? 'IN',
      question: raw,
      edns: opt === undefined ? null : { version: opt.ednsVersion },
      udpSize: Math.min(MAX_UDP_SIZE, Math.max(MIN_UDP_SIZE, opt?.udpPayloadSize ?? 0)),
    },
  };
}

export type ResponseContent = {
  readonly rcode: Rcode;
  readonly authoritative?: boolean;
  readonly answers?: readonly DnsRecord[];
  readonly authorities?: readonly DnsRecord[];
};

export function encodeResponse(query: Query, content: ResponseContent): Uint8Array {
  const records = encode({
    type: 'response',
    questions: [],
    answers: [...(content.answers ?? [])],
    authorities: [...(content.authorities ?? [])],
    additionals:
      query.edns === null
        ? []
        : [
            {
              type: 'OPT',
              name: '.',
              udpPayloadSize: MAX_UDP_SIZE,
              extendedRcode: content.rcode >> 4,
              ednsVersion: 0,
              flags: 0,
              flag_do: false,
              options: [],
            },
          ],
  });
  const response = Buffer.concat([records.subarray(0, HEADER), query.question, records.subarray(HEADER)]);
  response.writeUInt16BE(query.id, 0);
  response.writeUInt16BE(replyFlags(query.flags, content.rcode, content.authoritative), 2);
  response.writeUInt16BE(1, 4);
  return response;
}

/** A response that fits the client's UDP: itself, or an empty one that says to ask over TCP. */
export function fitUdp(query: Query, response: Uint8Array): Uint8Array {
  if (response.length <= query.udpSize) return response;
  const truncated = Buffer.from(encodeResponse(query, { rcode: rcode.noError }));
  const flags = viewOf(response).getUint16(2);
  truncated.writeUInt16BE(flags | flag.truncated, 2);
  return truncated;
}

/** The same message under another id. */
export function withId(octets: Uint8Array, id: number): Uint8Array {
  const copy = Uint8Array.from(octets);
  viewOf(copy).setUint16(0, id);
  return copy;
}

export type UpstreamAnswer = {
  readonly rcode: number;
  /** Every address in its records, also the hints of HTTPS and SVCB records (RFC 9460). */
  readonly addresses: readonly Address[];
};

/**
 * Whether these octets answer the query we sent under `id`, and what they contain; null if not. Records we don't
 * know are passed over by their length, so that nothing a newer client asks for is lost on the way.
 */
export function inspectAnswer(octets: Uint8Array, query: Query, id: number): UpstreamAnswer | null {
  if (octets.length < HEADER) return null;
  const head = viewOf(octets);
  const flags = head.getUint16(2);
  const questionEnd = skipQuestion(octets);
  if (head.getUint16(0) !== id || (flags & flag.response) === 0 || questionEnd === null) return null;
  if (!sameIgnoringCase(octets.subarray(HEADER, questionEnd), query.question)) return null;
  const records = head.getUint16(6) + head.getUint16(8) + head.getUint16(10);
  const addresses: Address[] = [];
  let at = questionEnd;
  for (let i = 0; i < records; i++) {
    const end = skipName(octets, at);
    if (end === null || end + 10 > octets.length) return null;
    const data = end + 10;
    const length = head.getUint16(end + 8);
    if (data + length > octets.length) return null;
    collectAddresses(octets, head.getUint16(end), data, length, addresses);
    at = data + length;
  }
  return { rcode: flags & 15, addresses };
}

function collectAddresses(octets: Uint8Array, type: number, data: number, length: number, into: Address[]): void {
  if ((type === recordType.a && length === 4) || (type === recordType.aaaa && length === 16)) {
    into.push(formatAddress(octets, data, length));
  }
  if (type !== recordType.svcb && type !== recordType.https) return;
  const view = viewOf(octets);
  const end = data + length;
  let at = skipName(octets, data + 2);
  while (at !== null && at + 4 <= end) {
    const key = view.getUint16(at);
    const next = at + 4 + view.getUint16(at + 2);
    const size = key === hintKey.ipv4 ? 4 : key === hintKey.ipv6 ? 16 : 0;
    if (size > 0)
      for (let hint = at + 4; hint + size <= Math.min(next, end); hint += size)
        into.push(formatAddress(octets, hint, size));
    at = next;
  }
}

function replyFlags(queryFlags: number, code: Rcode, authoritative = false): number {
  // Opcode and RD are repeated (RFC 1035 section 4.1.1), the higher bits of the rcode are in the OPT record.
  const repeated = queryFlags & (0x7800 | flag.recursionDesired);
  return flag.response | repeated | flag.recursionAvailable | (authoritative ? flag.authoritative : 0) | (code & 15);
}

/** A header alone, for messages whose question we can't read. */
function bareReply(octets: Uint8Array, code: Rcode): Uint8Array {
  const reply = Buffer.alloc(HEADER);
  reply.set(octets.subarray(0, 2));
  reply.writeUInt16BE(replyFlags(viewOf(octets).getUint16(2), code), 2);
  return reply;
}

/** Where the one question ends, or null if there isn't exactly one. */
function skipQuestion(octets: Uint8Array): number | null {
  if (viewOf(octets).getUint16(4) !== 1) return null;
  const end = skipName(octets, HEADER);
  return end === null || end + 4 > octets.length ? null : end + 4;
}

/** Where a name ends in place, not following its compression pointer. */
function skipName(octets: Uint8Array, start: number): number | null {
  for (let at = start; at < octets.length && at - start < MAX_NAME; ) {
    const length = octets[at]!;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2 <= octets.length ? at + 2 : null;
    if (length >= 0x40) return null;
    at += 1 + length;
  }
  return null;
}

/** The decoder makes room for as many records as the header claims: no more than the octets can hold. */
function plausibleCounts(octets: Uint8Array): boolean {
  const head = viewOf(octets);
  const records = head.getUint16(6) + head.getUint16(8) + head.getUint16(10);
  return records * 11 <= octets.length - HEADER;
}

function decodePacket(octets: Uint8Array): DecodedPacket | null {
  try {
    return decode(Buffer.from(octets.buffer, octets.byteOffset, octets.length));
  } catch {
    // The library throws plain errors for everything malformed; callers make a counted reason of it.
    return null;
  }
}

/** The name a question begins with, if its text can mean nothing else: no dot inside a label, only printable ASCII. */
function nameText(question: Uint8Array): string | null {
  const labels: string[] = [];
  for (let at = 0; question[at] !== 0; ) {
    const length = question[at]!;
    const label = Buffer.from(question.subarray(at + 1, at + 1 + length)).toString('latin1');
    if (length >= 0x40 || !/^[\x21-\x2d\x2f-\x7e]+$/.test(label)) return null;
    labels.push(label);
    at += 1 + length;
  }
  return labels.join('.');
}

function sameIgnoringCase(a: Uint8Array, b: Uint8Array): boolean {
  const lower = (octet: number): number => (octet >= 0x41 && octet <= 0x5a ? octet | 0x20 : octet);
  return a.length === b.length && a.every((octet, i) => lower(octet) === lower(b[i]!));
}
