/** Runs the NMS on its port and register. */

import { NmsMachine } from '../../core/nms/machine.ts';
import { sample } from '../metrics.ts';
import { identityOf, type RunningService, runService, type ServiceOptions } from '../service.ts';

export async function startNms(options: ServiceOptions): Promise<RunningService> {
  const { address4, address6 } = options.file;
  const machine = new NmsMachine({ ...identityOf(options.file), ipv4: address4 !== null, ipv6: address6 !== null });
  const gauges = () => [
    sample('cyphonic_nodes_present', machine.sizes.nodes),
    sample('cyphonic_paths_known', machine.sizes.paths),
    sample('cyphonic_register_questions_waiting', machine.sizes.questions),
  ];
  return runService(options, machine, gauges);
}
