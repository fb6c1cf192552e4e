/** How two nodes start to talk: which path (protocol section 4, "Which path"), which suite, and the Route Direction. */

import type { Service } from '../../lib/device.ts';
import type { Family } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import { Suite } from '../../proto/constants.ts';
import { type Body, ExecMode, ProcessCode } from '../../proto/messages.ts';
import type { Options } from '../../proto/options.ts';
import type { PresentNode } from './presence.ts';

const families = [4, 6] as const;

/** Everything but who is told. */
export type Route = {
  readonly pathId: string;
  readonly initiator: PresentNode;
  readonly responder: PresentNode;
  readonly processCode: number;
  readonly suite: Suite;
  readonly tunnelKey: Uint8Array;
  readonly temporaryKey: Uint8Array;
  /** `YYYY-MM-DD`. */
  readonly expires: string;
  readonly relay: Service | null;
};

/** `cbc-md5` only if neither end runs anything else (section 2.2); null if they share nothing. */
export function chooseSuite(initiator: number, responder: number): Suite | null {
  const common = initiator & responder;
  for (const suite of [Suite.aes256Gcm, Suite.chacha20Poly1305]) if ((common & (1 << suite)) !== 0) return suite;
  const only = 1 << Suite.cbcMd5;
  return initiator === only && responder === only ? Suite.cbcMd5 : null;
}

/** The figure's Process Code; `relayed` = a relay both can reach is there. */
export function chooseProcess(initiator: PresentNode, responder: PresentNode, relayed: boolean, now: Now): number {
  const shared = families.filter((f) => initiator.reachable(f, now) !== null && responder.reachable(f, now) !== null);
  if (shared.length === 0) return ProcessCode.relay;
  const behindOneNat = (f: Family): boolean =>
    initiator.natted(f, now) &&
    responder.natted(f, now) &&
    initiator.reachable(f, now)!.address === responder.reachable(f, now)!.address;
  if (shared.some(behindOneNat)) return ProcessCode.lan;
  if (shared.some((f) => !responder.natted(f, now))) return ProcessCode.direct;
  // Without a relay, two ends behind NATs have nothing better than to punch towards each other.
  if (!relayed || shared.some((f) => !initiator.natted(f, now))) return ProcessCode.responderPunches;
  return ProcessCode.relayThenOptimise;
}

/** Whether the pair can start only through a relay. */
export function needsRelay(processCode: number): boolean {
  return processCode === ProcessCode.relay;
}

/** Whether the pair is better off with a relay from the start. */
export function startsRelayed(processCode: number): boolean {
  return needsRelay(processCode) || processCode === ProcessCode.relayThenOptimise;
}

/** Whether a node can be reached from, and reach, a service. */
export function shareFamily(node: PresentNode, service: Service, now: Now): boolean {
  const { address4, address6, tlsPort } = service;
  if (tlsPort !== null && node.streamed(now)) return true;
  return (address4 !== null && node.mapped(4, now) !== null) || (address6 !== null && node.mapped(6, now) !== null);
}

export function routeBody(route: Route, now: Now): Body<'routeDirection'> {
  const { initiator, responder, relay } = route;
  const [mappedInitiator4, mappedInitiator6] = families.map((f) => initiator.reachable(f, now));
  const [mappedResponder4, mappedResponder6] = families.map((f) => responder.reachable(f, now));
  return {
    pathId: route.pathId,
    processCode: route.processCode,
    execMode: { dual: ExecMode.dual, ipv4: ExecMode.ipv4, ipv6: ExecMode.ipv6 }[responder.device.mode],
    generalNode: (initiator.device.kind === 'general' ? 1 : 0) | (responder.device.kind === 'general' ? 2 : 0),
    natInitiatorPort: (mappedInitiator4 ?? mappedInitiator6)?.port ?? 0,
    natResponderPort: (mappedResponder4 ?? mappedResponder6)?.port ?? 0,
    natInitiator4: mappedInitiator4?.address ?? null,
    natInitiator6: mappedInitiator6?.address ?? null,
    natResponder4: mappedResponder4?.address ?? null,
    natResponder6: mappedResponder6?.address ?? null,
    realInitiator4: initiator.real(4),
    realInitiator6: initiator.real(6),
    realResponder4: responder.real(4),
    realResponder6: responder.real(6),
    virtualInitiator4: initiator.device.vip4,
    virtualInitiator6: initiator.device.vip6,
    virtualResponder4: responder.device.vip4,
    virtualResponder6: responder.device.vip6,
    trs4: relay?.address4 ?? null,
    trs6: relay?.address6 ?? null,
    cipherType: route.suite,
    expires: route.expires,
    tunnelKey: route.tunnelKey,
    temporaryKey: route.temporaryKey,
    initiatorFqdn: initiator.device.fqdn,
    responderFqdn: responder.device.fqdn,
  };
}

/** What the seed's Route Direction has no room for. `peer` is the end that is not told. */
export function routeOptions(route: Route, peer: PresentNode, now: Now): Options {
  const { initiator, responder, relay } = route;
  return {
    certificate: { certificate: peer.device.certificate! },
    candidates: { list: peer.candidates(now) },
    realPorts: { initiator: initiator.port, responder: responder.port },
    pathEnds: { initiator: initiator.nodeId, responder: responder.nodeId },
    ...(relay !== null && { relayPorts: { port: relay.port, nodeId: relay.nodeId } }),
    ...(relay?.tlsPort != null && { streamPort: { port: relay.tlsPort } }),
  };
}

/** A Route Direction that says only that there is none. */
export function noRoute(pathId: string): Body<'routeDirection'> {
  return {
    pathId,
    processCode: 0,
    execMode: 0,
    generalNode: 0,
    natInitiatorPort: 0,
    natResponderPort: 0,
    natInitiator4: null,
    natInitiator6: null,
    natResponder4: null,
    natResponder6: null,
    realInitiator4: null,
    realInitiator6: null,
    realResponder4: null,
    realResponder6: null,
    virtualInitiator4: null,
    virtualInitiator6: null,
    virtualResponder4: null,
    virtualResponder6: null,
    trs4: null,
    trs6: null,
    cipherType: 0,
    expires: null,
    tunnelKey: new Uint8Array(0),
    temporaryKey: new Uint8Array(0),
    initiatorFqdn: '',
    responderFqdn: '',
  };
}
