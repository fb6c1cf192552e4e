/** `cloud serve`: the AS, and the services beside it, in one process on one register. */

import { createLog } from '../../lib/log.ts';
import { MetricsPort } from '../../proto/constants.ts';
import type { Register } from '../../store/register.ts';
import { notifyReady } from '../../sys/notify.ts';
import { startAs } from '../as/serve.ts';
import type { Context, Running } from '../context.ts';
import { startController } from '../controller/serve.ts';
import { type NetworkFile, readServiceFile } from '../network-files.ts';
import { startNms } from '../nms/serve.ts';
import { chooseTelemetry, type Observed, startTelemetry } from '../telemetry.ts';
import { startTrs } from '../trs/serve.ts';

export type OpenNetwork = { readonly register: Register; readonly file: NetworkFile };

export async function serveCloud(
  { register, file }: OpenNetwork,
  metrics: string | undefined,
  context: Context,
): Promise<void> {
  const choice = chooseTelemetry(metrics, file.metrics, MetricsPort.cloud, createLog('cloud'));
  const telemetry = await startTelemetry(choice);
  const running: (Running & { readonly observed: Observed })[] = [];
  try {
    const services = file.serviceFiles.map((path) => readServiceFile(path));
    for (const service of services) {
      const start = { nms: startNms, trs: startTrs }[service.role];
      running.push(await start({ file: service, register, log: createLog(service.name) }));
    }
    running.push(await startController({ file, register, log: createLog('controller') }));
    // Devices come to the AS first, so it is the last to be there.
    running.push(await startAs({ file, register, log: createLog('as') }));
    telemetry.serving(running.map(({ observed }) => observed));
    const ports = services.map(({ name, port }) => `${name} ${port}/udp`);
    const controller = `controller ${file.controllerPort}/tcp`;
    context.print(`ready cloud ${file.network.domain}: ${[`as ${file.asPort}/tcp`, ...ports, controller].join(', ')}`);
    notifyReady(context.env.NOTIFY_SOCKET);
    await context.stopped;
  } finally {
    telemetry.stopping();
    for (const service of running.reverse()) await service.stop();
    await register.close();
    await telemetry.stop();
  }
}
