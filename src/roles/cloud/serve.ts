/** `cloud serve`: the AS, and the services beside it, in one process on one register. */

import { createLog } from '../../lib/log.ts';
import type { Register } from '../../store/register.ts';
import { notifyReady } from '../../sys/notify.ts';
import { startAs } from '../as/serve.ts';
import type { Context, Running } from '../context.ts';
import { type NetworkFile, readServiceFile } from '../network-files.ts';
import { startNms } from '../nms/serve.ts';
import { startTrs } from '../trs/serve.ts';

export type OpenNetwork = { readonly register: Register; readonly file: NetworkFile };

export async function serveCloud({ register, file }: OpenNetwork, context: Context): Promise<void> {
  const running: Running[] = [];
  try {
    const services = file.serviceFiles.map((path) => readServiceFile(path));
    for (const service of services) {
      const start = { nms: startNms, trs: startTrs }[service.role];
      running.push(await start({ file: service, register, log: createLog(service.name) }));
    }
    // Devices come to the AS first, so it is the last to be there.
    running.push(await startAs({ file, register, log: createLog('as') }));
    const ports = services.map(({ name, port }) => `${name} ${port}/udp`);
    context.print(`ready cloud ${file.network.domain}: ${[`as ${file.asPort}/tcp`, ...ports].join(', ')}`);
    notifyReady(context.env.NOTIFY_SOCKET);
    await context.stopped;
  } finally {
    for (const service of running.reverse()) await service.stop();
    await register.close();
  }
}
