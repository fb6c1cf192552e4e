/** Runs the NMS on its port and register, beside its replicas. */

import type { ReplicaAction } from '../../core/nms/actions.ts';
import { NmsMachine } from '../../core/nms/machine.ts';
import { Counters } from '../../lib/counters.ts';
import { sample } from '../metrics.ts';
import { watchRelays } from '../relay-presence.ts';
import { identityOf, type RunningService, runService, type ServiceOptions } from '../service.ts';
import { type Input, Replica } from './replicas.ts';

export async function startNms(options: ServiceOptions): Promise<RunningService> {
  const { file, shared, log, counters = new Counters() } = options;
  const { address4, address6 } = file;
  const replica = new Replica(shared, file.nodeId, counters, log);
  const machine = new NmsMachine({
    ...identityOf(file),
    ipv4: address4 !== null,
    ipv6: address6 !== null,
    replica: () => replica.number,
    // One that shares with nobody is all there is behind it, and was in its earlier lives.
    behindBalancer: file.behindBalancer && !shared.alone,
    alone: shared.alone,
    noPortPrediction: file.noPortPrediction,
  });
  const gauges = () => [
    sample('cyphonic_nodes_present', machine.sizes.nodes),
    sample('cyphonic_paths_known', machine.sizes.paths),
    sample('cyphonic_register_questions_waiting', machine.sizes.questions),
    sample('cyphonic_shared_reachable', shared.reachable ? 1 : 0),
  ];
  const service = await runService<ReplicaAction>({ ...options, counters }, machine, gauges, (action, { shell }) => {
    const input: Input = (give) => shell.input((_, now) => give(now));
    replica.perform(action, machine, input);
  });
  const input: Input = (give) => service.shell.input((_, now) => give(now));
  const deafen = await replica.listen(machine, input, service.udp.send);
  const unwatch = watchRelays(shared, (relays) => input((now) => machine.relaysPresent(relays, now)));
  return {
    ...service,
    async stop() {
      deafen();
      unwatch();
      await service.stop();
    },
  };
}
