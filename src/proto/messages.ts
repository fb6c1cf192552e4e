/**
 * Every message of the protocol, declared once: name, type number and body fields in wire order, exactly as in the
 * figures of the thesis (protocol section 3). Types, encoder, decoder and the generated tests all derive from this table.
 *
 * A field is [name, kind]. `len16` is the 16-bit length of the variable field of the same name further down; pads are zero.
 */

import type { Address } from '../lib/ip.ts';

export const messageTable = {
  ack: { type: 1, body: [] },
  loginRequest: {
    type: 2,
    body: [
      ['applicationId', 'id'],
      ['authType', 'u8'],
      ['execMode', 'u8'],
      ['deviceId', 'len16'],
      ['password', 'len16'],
      ['certificate', 'len16'],
      ['deviceId', 'text'],
      ['password', 'octets'],
      ['certificate', 'octets'],
    ],
  },
  loginResponse: {
    type: 3,
    body: [
      ['cipherType', 'u16'],
      ['commonKey', 'len16'],
      ['expires', 'date'],
      ['fqdn', 'len16'],
      ['pad', 'pad16'],
      ['virtual4', 'ip4'],
      ['virtual6', 'ip6'],
      ['nms4', 'ip4'],
      ['nms6', 'ip6'],
      ['commonKey', 'octets'],
      ['fqdn', 'text'],
    ],
  },
  registrationRequest: {
    type: 4,
    body: [
      ['port', 'u16'],
      ['notificationType', 'u16'],
      ['node4', 'ip4'],
      ['node6', 'ip6'],
    ],
  },
  registrationResponse: {
    type: 5,
    body: [
      ['natFlag', 'u8'],
      ['pad', 'pad24'],
    ],
  },
  keepAlive: { type: 6, body: [] },
  directionRequest: {
    type: 7,
    body: [
      ['applicationId', 'id'],
      ['pathId', 'id'],
      ['fqdn', 'len16'],
      ['certificate', 'len16'],
      ['fqdn', 'text'],
      ['certificate', 'octets'],
    ],
  },
  routeDirection: {
    type: 8,
    body: [
      ['pathId', 'id'],
      ['processCode', 'u8'],
      ['execMode', 'u8'],
      ['generalNode', 'u16'],
      ['natInitiatorPort', 'u16'],
      ['natResponderPort', 'u16'],
      ['natInitiator4', 'ip4'],
      ['natInitiator6', 'ip6'],
      ['natResponder4', 'ip4'],
      ['natResponder6', 'ip6'],
      ['realInitiator4', 'ip4'],
      ['realInitiator6', 'ip6'],
      ['realResponder4', 'ip4'],
      ['realResponder6', 'ip6'],
      ['virtualInitiator4', 'ip4'],
      ['virtualInitiator6', 'ip6'],
      ['virtualResponder4', 'ip4'],
      ['virtualResponder6', 'ip6'],
      ['trs4', 'ip4'],
      ['trs6', 'ip6'],
      ['cipherType', 'u16'],
      ['tunnelKey', 'len16'],
      ['temporaryKey', 'len16'],
      ['pad', 'pad16'],
      ['expires', 'date'],
      ['initiatorFqdn', 'len16'],
      ['responderFqdn', 'len16'],
      ['tunnelKey', 'octets'],
      ['temporaryKey', 'octets'],
      ['initiatorFqdn', 'text'],
      ['responderFqdn', 'text'],
    ],
  },
  routeDirectionConfirmation: { type: 9, body: [] },
  relayRequest: {
    type: 10,
    body: [
      ['pathId', 'id'],
      ['cipherType', 'u16'],
      ['tunnelKey', 'len16'],
      ['tunnelKey', 'octets'],
    ],
  },
  relayResponse: {
    type: 11,
    body: [
      ['pathId', 'id'],
      ['cipherType', 'u16'],
      ['tunnelKey', 'len16'],
      ['tunnelKey', 'octets'],
    ],
  },
  holePunching: { type: 12, body: [] },
  tunnelRequest: {
    type: 13,
    body: [
      ['endKey', 'len16'],
      ['pad', 'pad16'],
      ['endKey', 'octets'],
    ],
  },
  tunnelResponse: {
    type: 14,
    body: [
      ['endKey', 'len16'],
      ['pad', 'pad16'],
      ['endKey', 'octets'],
    ],
  },
  capsule: {
    type: 15,
    body: [
      ['payload', 'len16'],
      ['flags', 'u16'],
      ['payload', 'octets'],
    ],
  },
  notice: {
    type: 16,
    body: [
      ['reason', 'u16'],
      ['subject', 'id'],
    ],
  },
  /** As large as the datagrams that a way may carry (RFC 8899); answered by an ACK like a Keep Alive. */
  sizeProbe: {
    type: 17,
    body: [
      ['padding', 'len16'],
      ['padding', 'octets'],
    ],
  },
} as const satisfies Record<string, MessageDeclaration>;

/** What a field holds once decoded. Ids are 32 hex digits; an absent address or date (all zeroes) is null. */
export type FieldValues = {
  u8: number;
  u16: number;
  id: string;
  ip4: Address | null;
  ip6: Address | null;
  /** `YYYY-MM-DD`. */
  date: string | null;
  text: string;
  octets: Uint8Array;
};

type Silent = 'len16' | 'pad16' | 'pad24';
export type FieldKind = keyof FieldValues | Silent;
export type FieldDeclaration = readonly [name: string, kind: FieldKind];
export type MessageDeclaration = { readonly type: number; readonly body: readonly FieldDeclaration[] };

/** The object type that a list of field declarations describes. */
export type FieldsOf<T extends readonly FieldDeclaration[]> = {
  [F in T[number] as F[1] extends Silent ? never : F[0]]: F[1] extends keyof FieldValues ? FieldValues[F[1]] : never;
};

export type MessageName = keyof typeof messageTable;
export type Body<N extends MessageName> = FieldsOf<(typeof messageTable)[N]['body']>;

/** Base Header flags (protocol section 3, offset 5). */
export const Flag = { failure: 1, first: 2, response: 4, relayed: 8, streamed: 16 } as const;

export const AuthType = { password: 1, certificate: 2, mac: 3 } as const;
export const ExecMode = { dual: 0, ipv4: 1, ipv6: 2 } as const;

/** Route Direction's Process Code: how the pair starts. */
export const ProcessCode = {
  /** The responder is reachable: the initiator just sends. */
  direct: 0,
  /** The initiator is reachable or the responder's NAT lets answers in once it has sent: the responder punches first. */
  responderPunches: 1,
  /** Both behind one NAT: private addresses. */
  lan: 2,
  /** Through the TRS at once, then route optimisation. */
  relayThenOptimise: 3,
  /** Through the TRS; no shared address family. */
  relay: 4,
} as const;

const processNames = Object.fromEntries(Object.entries(ProcessCode).map(([name, code]) => [code, name]));

/** For counters and logs: one of few names, whatever was received. */
export function nameOfProcess(code: number): string {
  return processNames[code] ?? 'unknown';
}

/** Notice reasons. */
export const NoticeReason = {
  pathClosed: 1,
  peerGone: 2,
  peerRevoked: 3,
  registerChanged: 4,
  relayDraining: 5,
  serviceStopping: 6,
  /** To the device itself: disabled or removed. */
  refused: 7,
} as const;

/**
 * Capsule flags (the figure's Padding field). A packet that is longer than the path carries, and may not be refused, goes in
 * parts: capsules of consecutive Sequence Numbers, with the part's number, from 0, and how many there are (0 = one).
 */
export const CapsuleFlag = { partialChecksum: 1 } as const;
const PART_NUMBER = 8;
const PART_COUNT = 12;

export function partFlags(number: number, count: number): number {
  return (number << PART_NUMBER) | (count << PART_COUNT);
}

export function partNumber(flags: number): number {
  return (flags >> PART_NUMBER) & 15;
}

export function partCount(flags: number): number {
  return flags >> PART_COUNT;
}
