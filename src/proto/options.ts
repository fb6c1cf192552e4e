/**
 * Extension headers (protocol section 3.1), declared once like the messages: {Next Opt 8, Length 8 in units of 8 octets
 * including these two, data, zero padding}. Bits of a type: 0x80 = must be understood; 0x40 = *sealed*: its octets stand
 * behind the body, encrypted with it, because it names people and places (certificates, candidates, addresses); the chain
 * of Next Opt values runs on from the clear options to the sealed ones.
 */

import type { Endpoint } from '../lib/ip.ts';

export const optionTable = {
  /** The sender's instance: kind of sender and 16 octets, random at each of its starts (section 2.3). */
  instance: {
    type: 0x01,
    data: [
      ['kind', 'u8'],
      ['instance', 'id'],
    ],
  },
  /** A piece of a message that is longer than one datagram (section 3.2): `number` counts from 0. */
  part: {
    type: 0x82,
    data: [
      ['number', 'u8'],
      ['count', 'u8'],
    ],
  },
  /** A fresh random value that the receiver must send back as `echo` to be believed (section 2.3). */
  challenge: { type: 0x03, data: [['value', 'id']] },
  echo: { type: 0x04, data: [['value', 'id']] },
  /** Addresses the device might be reached at; in a Route Direction the peer's. At most 16. */
  candidates: { type: 0x41, data: [['list', 'candidates']] },
  /** A node certificate; in a Route Direction the peer's. */
  certificate: {
    type: 0x43,
    data: [
      ['certificate', 'len16'],
      ['certificate', 'octets'],
    ],
  },
  /** Ports that the seed's Route Direction lacks, and the relay's name for logs. */
  relayPorts: {
    type: 0x44,
    data: [
      ['port', 'u16'],
      ['nodeId', 'id'],
    ],
  },
  /** Unmapped UDP ports of both ends. */
  realPorts: {
    type: 0x45,
    data: [
      ['initiator', 'u16'],
      ['responder', 'u16'],
    ],
  },
  /** Direction Request by virtual address instead of FQDN: "who has this address". */
  virtualAddress: { type: 0x46, data: [['address', 'ip16']] },
  /** The transport address a datagram came from, as its receiver saw it. */
  mapped: { type: 0x47, data: [['endpoint', 'endpoint']] },
  /** Why a request failed, see `Refusal`. */
  refusal: { type: 0x48, data: [['reason', 'u16']] },
  /** Login: the device's public keys, Ed25519 then X25519, and a signature over the TLS exporter value. */
  identity: {
    type: 0x49,
    data: [
      ['signKey', 'octets32'],
      ['handshakeKey', 'octets32'],
      ['signature', 'octets64'],
    ],
  },
  /** Login Response: the overlay's ranges and domain. */
  network: {
    type: 0x4a,
    data: [
      ['prefix4', 'ip16'],
      ['length4', 'u8'],
      ['prefix6', 'ip16'],
      ['length6', 'u8'],
      ['domain', 'len16'],
      ['domain', 'text'],
    ],
  },
  /** Login Response: where an NMS listens; repeats the figure's addresses with their port. */
  nmsPort: { type: 0x4b, data: [['port', 'u16']] },
  /** Registration: suites this device is willing to use, bit n = suite n. */
  suites: { type: 0x4c, data: [['mask', 'u16']] },
  /** Relay Request: the two ends the TRS shall relay between. */
  relayEnds: {
    type: 0x4d,
    data: [
      ['initiator', 'id'],
      ['responder', 'id'],
    ],
  },
  /** Both NodeIDs of a path. */
  pathEnds: {
    type: 0x4e,
    data: [
      ['initiator', 'id'],
      ['responder', 'id'],
    ],
  },
  /** Tunnel Request and Response: what the sender's data path takes beyond the seed's capsules, see `Feature`. */
  features: { type: 0x4f, data: [['mask', 'u16']] },
  /** Registration Response: services that tell the node where they see it, each with a key for that. */
  mirrors: { type: 0x50, data: [['list', 'mirrors']] },
  /** To a mirror: the answer goes there, another port of the same address, to find out what a NAT lets in. */
  answerTo: { type: 0x51, data: [['endpoint', 'endpoint']] },
  /** Direction Request: a TRS that does not answer the node. */
  avoid: { type: 0x52, data: [['relay', 'id']] },
  /** Registration Request: how long round trips of the node to TRSs take. */
  relayTimes: { type: 0x53, data: [['list', 'relayTimes']] },
  /** Login Response: where datagrams are taken over TLS, for networks that block UDP. */
  streams: { type: 0x58, data: [['list', 'endpoints']] },
  /** Route Direction: the TCP port where the relay does so. */
  streamPort: { type: 0x59, data: [['port', 'u16']] },
  /** Keep Alive over the relay and its ACK: what the sender will do to meet the other's ports; Route Direction: nothing. */
  portPrediction: { type: 0x5a, data: [['role', 'u8']] },
} as const satisfies Record<string, OptionDeclaration>;

export const OPTION_CRITICAL = 0x80;
export const OPTION_SEALED = 0x40;
/** Options stand in ascending order of these bits: none twice, clear before sealed, and one way only to write a message. */
export const OPTION_NUMBER = 0x7f;

/** One address a device offers. `kind`: host = an interface's, mapped = seen by a service or peer, forwarded = a port mapping. */
export type Candidate = Endpoint & { readonly kind: 'host' | 'mapped' | 'forwarded' };
export const candidateKinds = ['host', 'mapped', 'forwarded'] as const;
export const MAX_CANDIDATES = 16;

/** A service that answers a node's Keep Alive under `key` with the address it came from, and does nothing else about it. */
export type Mirror = Endpoint & { readonly role: 'nms' | 'trs'; readonly name: string; readonly key: Uint8Array };
export const mirrorRoles = ['nms', 'trs'] as const;
export const MAX_MIRRORS = 8;
export const MAX_ENDPOINTS = 8;

/** One of a TRS's addresses and the round trip to it; null = it does not answer. */
export type RelayTime = Endpoint & { readonly rttMs: number | null };

export type OptionValues = {
  u8: number;
  u16: number;
  id: string;
  /** 16 octets on the wire, IPv4 as IPv4-mapped; null = absent. */
  ip16: string | null;
  /** port 16, address 128. */
  endpoint: Endpoint;
  /** count 8, then {port 16, address 128} each. */
  endpoints: readonly Endpoint[];
  /** count 8, then {kind 8, port 16, address 128} each. */
  candidates: readonly Candidate[];
  /** count 8, then {role 8, port 16, address 128, key 256, length 8, name} each. */
  mirrors: readonly Mirror[];
  /** count 8, then {port 16, address 128, round trip 16} each. */
  relayTimes: readonly RelayTime[];
  octets32: Uint8Array;
  octets64: Uint8Array;
  octets: Uint8Array;
  text: string;
};

export type OptionFieldKind = keyof OptionValues | 'len16';
export type OptionDeclaration = {
  readonly type: number;
  readonly data: readonly (readonly [string, OptionFieldKind])[];
};
export type OptionName = keyof typeof optionTable;

type DataOf<T extends readonly (readonly [string, OptionFieldKind])[]> = {
  [F in T[number] as F[1] extends 'len16' ? never : F[0]]: F[1] extends keyof OptionValues ? OptionValues[F[1]] : never;
};

export type Options = { [N in OptionName]?: DataOf<(typeof optionTable)[N]['data']> };

/**
 * Sender kinds of the instance option; together with the instance they select the message key. `prober`: a node that asks
 * a mirror.
 */
export const SenderKind = { node: 1, nms: 2, trs: 3, initiator: 4, responder: 5, prober: 6 } as const;
export type SenderKind = (typeof SenderKind)[keyof typeof SenderKind];

/** Which end opens many ports, and which one tries many (docs/protocol.md, Port prediction). */
export const PredictionRole = { neither: 0, opens: 1, probes: 2 } as const;
export type PredictionRole = (typeof PredictionRole)[keyof typeof PredictionRole];

/** Bits of the features option; one is in use under a key if both ends set it in that key's handshake. */
export const Feature = {
  /** Inner transport checksums may be left to the receiver (capsule flag `partialChecksum`): the tag protects them. */
  partialChecksum: 1,
  /** Outer headers carry the ECN field of inner ones, and marks on them are handed on (RFC 6040). */
  ecn: 2,
  /** Inner packets may come in parts (capsule flags). */
  parts: 4,
} as const;

/** Why the network refuses; carried by the `refusal` option together with Flag.failure. */
export const Refusal = {
  unknownName: 1,
  disabled: 2,
  policy: 3,
  offline: 4,
  pathIdInUse: 5,
  badCredentials: 6,
  secretSpent: 7,
  secretExpired: 8,
  keyMismatch: 9,
  overloaded: 10,
  wrongAdapter: 11,
  noRelay: 12,
  suite: 13,
  certificateUntrusted: 14,
  certificateExpired: 15,
  certificateUnfit: 16,
  certificateName: 17,
  handshakeStale: 18,
} as const;
export type Refusal = (typeof Refusal)[keyof typeof Refusal];
