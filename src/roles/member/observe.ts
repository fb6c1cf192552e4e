/** What a node shows of itself as metrics. */

import type { PeerSnapshot } from '../../core/node/types.ts';
import type { Sample } from '../../lib/exposition.ts';
import { familyOf, parseEndpoint } from '../../lib/ip.ts';
import { counterSamples, sample } from '../metrics.ts';
import type { Observed } from '../telemetry.ts';
import type { LiveStatus } from './live.ts';

export function observeNode(status: () => LiveStatus | null, role: 'node' | 'adapter' = 'node'): Observed {
  return {
    role,
    service: role,
    samples() {
      const current = status();
      return current === null ? [] : samplesOf(current);
    },
    obstacle() {
      const state = status()?.snapshot.state ?? 'not logged in';
      return state === 'online' ? null : state;
    },
  };
}

export function samplesOf({ snapshot, counters, extension }: LiveStatus): Sample[] {
  const { peers, services } = snapshot;
  const rtts = services.filter(({ role, rttMs }) => role === 'nms' && rttMs !== null);
  return [
    ...counterSamples(counters),
    ...countPeers(peers),
    ...rtts.map(({ address, rttMs }) => sample('cyphonic_node_nms_round_trip_seconds', rttMs! / 1000, { address })),
    ...peers.flatMap(peerSamples),
    ...countGeneralNodes(extension?.generalNodes ?? []),
  ];
}

function countGeneralNodes(nodes: readonly { readonly state: string }[]): Sample[] {
  const groups = Map.groupBy(nodes, ({ state }) => state);
  return [...groups].map(([state, group]) => sample('cyphonic_adapter_general_nodes', group.length, { state }));
}

function countPeers(peers: readonly PeerSnapshot[]): Sample[] {
  const groups = Map.groupBy(peers, ({ state, path, endpoint }) => `${state} ${path ?? 'none'} ${family(endpoint)}`);
  return [...groups].map(([key, group]) => {
    const [state, path, familyName] = key.split(' ') as [string, string, string];
    return sample('cyphonic_node_peers', group.length, { state, path, family: familyName });
  });
}

function peerSamples({ fqdn: peer, rttMs, handshakeAgeMs, tx, rx }: PeerSnapshot): Sample[] {
  return [
    ...(rttMs === null ? [] : [sample('cyphonic_node_peer_round_trip_seconds', rttMs / 1000, { peer })]),
    ...(handshakeAgeMs === null
      ? []
      : [sample('cyphonic_node_peer_handshake_age_seconds', handshakeAgeMs / 1000, { peer })]),
    sample('cyphonic_node_peer_bytes_total', tx.bytes, { peer, direction: 'sent' }),
    sample('cyphonic_node_peer_bytes_total', rx.bytes, { peer, direction: 'received' }),
  ];
}

function family(endpoint: string | null): string {
  const parsed = endpoint === null ? null : parseEndpoint(endpoint);
  return parsed === null ? 'none' : `ipv${familyOf(parsed.address)}`;
}
