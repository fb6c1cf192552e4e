/** The machine's share of `status --json`. */

import { type Endpoint, formatEndpoint } from '../../lib/ip.ts';
import type { Now } from '../../lib/time.ts';
import { suiteNames } from '../../proto/constants.ts';
import type { NodeContext } from './context.ts';
import type { Directory } from './directory.ts';
import type { Path } from './path.ts';
import type { Peer } from './peer.ts';
import type { Registrar } from './registrar.ts';
import type { NodeSnapshot, PeerSnapshot, ServiceSnapshot } from './types.ts';

export function snapshotOf(
  context: NodeContext,
  registrar: Registrar,
  directory: Directory,
  isSeeking: (peer: Peer) => boolean,
  now: Now,
): NodeSnapshot {
  const { session } = context;
  const { registrations } = registrar;
  const nats = registrations.flatMap(({ nat }) => (nat === null ? [] : [nat]));
  return {
    state: registrar.state,
    nodeId: session?.nodeId ?? null,
    fqdn: session?.fqdn ?? null,
    vip4: session?.vip4 ?? null,
    vip6: session?.vip6 ?? null,
    suite: suiteNames[context.options.suite],
    nat: nats.length === 0 ? null : nats.includes(true),
    real: context.local.map((candidate) => formatEndpoint(candidate)),
    mapped: registrations.flatMap(({ mapped }) => (mapped === null ? [] : [formatEndpoint(mapped)])),
    services: [
      ...registrations.map(
        ({ nms, state, lastContact, rttMs }): ServiceSnapshot => ({
          role: 'nms',
          address: formatEndpoint(nms),
          transport: transportOf(nms),
          state: state === 'up' ? 'up' : 'down',
          lastContactMs: lastContact === null ? null : Math.round(now.ms - lastContact),
          rttMs,
        }),
      ),
      ...relaySnapshots(context, now),
    ],
    peers: [...directory.peers].map((peer) => peerSnapshot(peer, isSeeking(peer), now)),
  };
}

function peerSnapshot(peer: Peer, seeking: boolean, now: Now): PeerSnapshot {
  const { path, traffic } = peer;
  return {
    fqdn: peer.fqdn,
    nodeId: peer.nodeId,
    ...peer.virtual,
    state: path === null && seeking ? 'directing' : stateOf(path),
    path: path?.kind ?? null,
    endpoint: path?.chosen == null ? null : formatEndpoint(path.chosen.endpoint),
    transport: path?.chosen == null ? null : transportOf(path.chosen.endpoint),
    suite: path === null ? null : suiteNames[path.direction.suite],
    epoch: path?.epoch ?? null,
    since: path?.upSince == null ? null : new Date(path.upSince.wall).toISOString(),
    rttMs: path?.rttMs ?? null,
    mtu: path?.mtu ?? null,
    handshakeAgeMs: path?.keyedAt == null ? null : Math.round(now.ms - path.keyedAt),
    tx: { packets: traffic.txPackets, bytes: traffic.txBytes, dropped: traffic.txDropped },
    rx: {
      packets: traffic.rxPackets,
      bytes: traffic.rxBytes,
      dropped: traffic.rxDropped,
      replayed: traffic.rxReplayed,
      rejected: traffic.rxRejected,
    },
  };
}

/** TRSs that paths were bound to, and those that were only measured. */
function relaySnapshots({ relays, relayTimes }: NodeContext, now: Now): ServiceSnapshot[] {
  const spoken = [...relays.values()].map(
    ({ endpoint, answers, lastContact, rttMs }): ServiceSnapshot => ({
      role: 'trs',
      address: formatEndpoint(endpoint),
      transport: transportOf(endpoint),
      state: answers ? 'up' : 'down',
      lastContactMs: lastContact === null ? null : Math.round(now.ms - lastContact),
      rttMs,
    }),
  );
  const measured = relayTimes
    .filter((time) => !spoken.some(({ address }) => address === formatEndpoint(time)))
    .map(
      (time): ServiceSnapshot => ({
        role: 'trs',
        address: formatEndpoint(time),
        transport: 'udp',
        state: time.rttMs === null ? 'down' : 'up',
        lastContactMs: null,
        rttMs: time.rttMs,
      }),
    );
  return [...spoken, ...measured];
}

function transportOf({ over }: Endpoint): 'udp' | 'tls' {
  return over ?? 'udp';
}

function stateOf(path: Path | null): PeerSnapshot['state'] {
  if (path === null) return 'idle';
  if (path.isUp) return 'up';
  return path.wasUp ? 'idle' : 'establishing';
}
