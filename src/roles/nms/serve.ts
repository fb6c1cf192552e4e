/** Runs the NMS on its port and register. */

import { NmsMachine } from '../../core/nms/machine.ts';
import { identityOf, type RunningService, runService, type ServiceOptions } from '../service.ts';

export async function startNms(options: ServiceOptions): Promise<RunningService> {
  const { address4, address6 } = options.file;
  const machine = new NmsMachine({ ...identityOf(options.file), ipv4: address4 !== null, ipv6: address6 !== null });
  return runService(options, machine);
}
