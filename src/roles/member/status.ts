/** `status --json` as the interface documentation lists it: every field always there, unknown = null, lists = []. */

import { suiteNames } from '../../proto/constants.ts';
import { readClock } from '../../sys/clock.ts';
import { version } from '../../version.ts';
import type { LiveNode } from './live.ts';
import { loginService, silenceWarnings } from './services.ts';
import type { DaemonState } from './state.ts';

export function buildStatus(state: DaemonState, live: LiveNode | null, role: 'node' | 'adapter') {
  const status = live?.status() ?? null;
  const snapshot = status?.snapshot ?? null;
  const services = [...(snapshot?.services ?? []), loginService(state, readClock())];
  const extension = status?.extension ?? null;
  return {
    role,
    version,
    state: snapshot?.state ?? 'authenticating',
    deviceId: state.network.deviceId,
    nodeId: snapshot?.nodeId ?? state.session?.nodeId ?? null,
    fqdn: snapshot?.fqdn ?? state.session?.fqdn ?? null,
    vip4: snapshot?.vip4 ?? state.session?.vip4 ?? null,
    vip6: snapshot?.vip6 ?? state.session?.vip6 ?? null,
    interface: status?.interface ?? null,
    mtu: status?.mtu ?? null,
    resolver: status?.resolver ?? null,
    suite: snapshot?.suite ?? suiteNames[state.session?.suite ?? 2],
    nat: snapshot?.nat ?? null,
    natType: status?.natType ?? null,
    real: snapshot?.real ?? [],
    mapped: snapshot?.mapped ?? [],
    services,
    offload: status?.offload ?? { tunTcp: false, tunUdp: false, udpSegment: false, udpGro: false },
    workers: status?.workers ?? 0,
    warnings: [...(status?.warnings ?? []), ...silenceWarnings(services)],
    peers: snapshot?.peers ?? [],
    inner: extension?.inner ?? null,
    gateway4: extension?.gateway4 ?? null,
    gateway6: extension?.gateway6 ?? null,
    generalNodes: extension?.generalNodes ?? [],
    counters: status?.counters ?? {},
  };
}

export type Status = ReturnType<typeof buildStatus>;
