/** What a Route Direction says, once everything in it that can be checked was checked. */

import { type Certificate, verifyCertificate } from '../../crypto/certificate.ts';
import { sameOctets } from '../../lib/bytes.ts';
import { type Endpoint, sameEndpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import type { MessageOf } from '../../proto/codec.ts';
import { Port, type Suite } from '../../proto/constants.ts';
import type { DropReason } from '../../proto/drop.ts';
import { ProcessCode } from '../../proto/messages.ts';
import { type Candidate, PredictionRole } from '../../proto/options.ts';
import type { NodeContext } from './context.ts';

export type PathRole = 'initiator' | 'responder';

export type Direction = {
  readonly pathId: string;
  /** Ours. */
  readonly role: PathRole;
  readonly processCode: number;
  readonly suite: Suite;
  readonly tunnelKey: Uint8Array;
  readonly temporaryKey: Uint8Array;
  readonly relays: readonly Endpoint[];
  /** Where the same TRS takes datagrams over TLS. */
  readonly streams: readonly Endpoint[];
  /** NodeID of the TRS. */
  readonly relayId: string | null;
  readonly candidates: readonly Candidate[];
  /** Verified against the CA. */
  readonly peer: Certificate;
  /** When its keys stop to count (Unix milliseconds). */
  readonly expires: number;
  /** The NMS made it just now; else it is from the peer cache. */
  readonly fresh: boolean;
  /** The network wants no ports to be predicted. */
  readonly noPortPrediction?: boolean;
};

const KEY_LENGTH = 32;

export function readDirection(
  context: NodeContext,
  { body, options }: MessageOf<'routeDirection'>,
  role: PathRole,
  now: Now,
): Direction | DropReason {
  const { session } = context;
  if (session === null || options.certificate === undefined || options.pathEnds === undefined) return 'unexpected';
  if (body.tunnelKey.length !== KEY_LENGTH || body.temporaryKey.length !== KEY_LENGTH) return 'body-malformed';
  const suite = context.suites.find((own) => own === body.cipherType);
  if (suite === undefined) return 'suite-refused';
  const { certificate } = options.certificate;
  const peer = verifyCertificate(context.primitives, certificate, session.caPublicKey, now.wall);
  if (typeof peer === 'string') return peer;
  const { initiator, responder } = options.pathEnds;
  const [own, other] = role === 'initiator' ? [initiator, responder] : [responder, initiator];
  if (own !== session.nodeId || other !== peer.nodeId || other === own) return 'certificate-name';
  const port = options.relayPorts?.port ?? Port.trs;
  const addresses = [body.trs4, body.trs6].filter((address) => address !== null);
  const relays = addresses.map((address): Endpoint => ({ address, port }));
  const { port: streamPort = 0 } = options.streamPort ?? {};
  const streams = addresses.map((address): Endpoint => ({ address, port: streamPort, over: 'tls' }));
  return {
    pathId: body.pathId,
    role,
    processCode: body.processCode,
    suite,
    tunnelKey: body.tunnelKey,
    temporaryKey: body.temporaryKey,
    relayId: options.relayPorts?.nodeId ?? null,
    relays: context.shared(relays.filter((relay) => context.isOuter(relay))),
    streams: context.shared(streams.filter((stream) => context.isOuter(stream))),
    candidates: context.usable(options.candidates?.list ?? []),
    peer,
    expires: Math.min(Date.parse(body.expires ?? '') || 0, peer.notAfter * 1_000),
    fresh: true,
    noPortPrediction: options.portPrediction?.role === PredictionRole.neither,
  };
}

/** Whether the pair starts through the relay, so that the responder binds to it before it confirms. */
export function startsRelayed({ processCode }: Direction): boolean {
  return processCode === ProcessCode.relayThenOptimise || processCode === ProcessCode.relay;
}

/** Whether datagrams with the relayed flag come from there, and others of the peer do not. */
export function isRelayOf({ relays, streams }: Direction, endpoint: Endpoint): boolean {
  const isIt = (relay: Endpoint): boolean => sameEndpoint(relay, endpoint);
  return relays.some(isIt) || streams.some(isIt);
}

export function sameDirection(a: Direction, b: Direction): boolean {
  return (
    a.pathId === b.pathId &&
    a.role === b.role &&
    a.peer.nodeId === b.peer.nodeId &&
    sameOctets(a.tunnelKey, b.tunnelKey) &&
    sameOctets(a.temporaryKey, b.temporaryKey)
  );
}
